# SPDX-License-Identifier: Apache-2.0
"""The compiled core: graphs (what to compute), parameters, and plans (how to compute it).

Values of a graph are integers. Shapes are tuples whose first extent is None where it is the batch.
Padding is "valid", "same" or (top, bottom, left, right). Images are NHWC, kernels HWIO.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str

class Graph:
    def __init__(self) -> None: ...
    def input(self, name: str, shape: Sequence[int | None], dtype: str = "float32") -> int: ...
    def parameter(
        self,
        name: str,
        shape: Sequence[int],
        trainable: bool = True,
        dtype: str = "float32",
    ) -> int: ...
    # The ops: tests/stub.py wrote these.
    def constant(
        self, shape: Sequence[int | None], *, values: Sequence[float], name: str = ""
    ) -> int: ...
    def slot(self, parameter: int, *, name: str = "") -> int: ...
    def conv2d(
        self,
        x: int,
        w: int,
        b: int | None = None,
        *,
        strides: tuple[int, int] = (1, 1),
        padding: str | tuple[int, int, int, int] = "valid",
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        name: str = "",
    ) -> int: ...
    def conv2d_backward_data(
        self,
        dy: int,
        w: int,
        x: int,
        *,
        strides: tuple[int, int] = (1, 1),
        padding: str | tuple[int, int, int, int] = "valid",
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        name: str = "",
    ) -> int: ...
    def conv2d_backward_weights(
        self,
        x: int,
        dy: int,
        w: int,
        *,
        strides: tuple[int, int] = (1, 1),
        padding: str | tuple[int, int, int, int] = "valid",
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        name: str = "",
    ) -> int: ...
    def conv2d_transpose(
        self,
        x: int,
        w: int,
        b: int | None = None,
        *,
        strides: tuple[int, int] = (1, 1),
        padding: str | tuple[int, int, int, int] = "valid",
        output_padding: tuple[int, int] | None = None,
        dilation: tuple[int, int] = (1, 1),
        name: str = "",
    ) -> int: ...
    def dense(self, x: int, w: int, b: int | None = None, *, name: str = "") -> int: ...
    def dense_backward_data(self, dy: int, w: int, x: int, *, name: str = "") -> int: ...
    def dense_backward_weights(self, x: int, dy: int, w: int, *, name: str = "") -> int: ...
    def matmul(
        self,
        a: int,
        b: int,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
        name: str = "",
    ) -> int: ...
    def bias_backward(self, dy: int, *, name: str = "") -> int: ...
    def max_pool2d(
        self,
        x: int,
        pool_size: tuple[int, int],
        *,
        strides: tuple[int, int],
        padding: str | tuple[int, int, int, int] = "valid",
        name: str = "",
    ) -> int: ...
    def max_pool2d_backward(
        self,
        arg: int,
        dy: int,
        x: int,
        pool_size: tuple[int, int],
        *,
        strides: tuple[int, int],
        padding: str | tuple[int, int, int, int] = "valid",
        name: str = "",
    ) -> int: ...
    def avg_pool2d(
        self,
        x: int,
        pool_size: tuple[int, int],
        *,
        strides: tuple[int, int],
        padding: str | tuple[int, int, int, int] = "valid",
        name: str = "",
    ) -> int: ...
    def avg_pool2d_backward(
        self,
        dy: int,
        x: int,
        pool_size: tuple[int, int],
        *,
        strides: tuple[int, int],
        padding: str | tuple[int, int, int, int] = "valid",
        name: str = "",
    ) -> int: ...
    def global_avg_pool2d(self, x: int, *, name: str = "") -> int: ...
    def global_avg_pool2d_backward(self, dy: int, x: int, *, name: str = "") -> int: ...
    def reshape(
        self, x: int, like: int | None = None, *, shape: Sequence[int | None] = (), name: str = ""
    ) -> int: ...
    def stop_gradient(self, x: int, *, name: str = "") -> int: ...
    def add(self, a: int, b: int, *, name: str = "") -> int: ...
    def concatenate(self, inputs: Sequence[int], *, axis: int = -1, name: str = "") -> int: ...
    def slice_channels(self, x: int, first: int, *, count: int, name: str = "") -> int: ...
    def slice_channels_backward(
        self, dy: int, x: int, first: int, *, count: int, name: str = ""
    ) -> int: ...
    def slice(
        self,
        x: int,
        start: Sequence[int],
        *,
        count: Sequence[int | None],
        steps: Sequence[int] = (),
        name: str = "",
    ) -> int: ...
    def slice_backward(
        self,
        dy: int,
        x: int,
        start: Sequence[int],
        *,
        count: Sequence[int | None],
        steps: Sequence[int] = (),
        name: str = "",
    ) -> int: ...
    def transpose(self, x: int, axes: Sequence[int], *, name: str = "") -> int: ...
    def pad(
        self,
        x: int,
        pads: Sequence[int],
        *,
        mode: str = "constant",
        value: float = 0.0,
        name: str = "",
    ) -> int: ...
    def pad_backward(
        self,
        dy: int,
        x: int,
        pads: Sequence[int],
        *,
        mode: str = "constant",
        value: float = 0.0,
        name: str = "",
    ) -> int: ...
    def resize(
        self,
        x: int,
        size: tuple[int, int],
        *,
        interpolation: str = "bilinear",
        coordinates: str = "half_pixel",
        rounding: str = "round_prefer_ceil",
        name: str = "",
    ) -> int: ...
    def resize_backward(
        self,
        dy: int,
        x: int,
        size: tuple[int, int],
        *,
        interpolation: str = "bilinear",
        coordinates: str = "half_pixel",
        rounding: str = "round_prefer_ceil",
        name: str = "",
    ) -> int: ...
    def gather(self, x: int, indices: int, *, axis: int = 0, name: str = "") -> int: ...
    def gather_backward(
        self, dy: int, indices: int, x: int, *, axis: int = 0, name: str = ""
    ) -> int: ...
    def upsample2d(self, x: int, size: tuple[int, int], *, name: str = "") -> int: ...
    def upsample2d_backward(
        self, dy: int, x: int, size: tuple[int, int], *, name: str = ""
    ) -> int: ...
    def map(
        self,
        inputs: Sequence[int],
        expression: Sequence[str],
        *,
        shape: Sequence[int | None] = (),
        dtype: str = "float32",
        name: str = "",
    ) -> int: ...
    def reduce(
        self,
        inputs: Sequence[int],
        kind: str,
        *,
        axes: Sequence[int] | None = None,
        keepdims: bool = False,
        expression: Sequence[str] = ("x0",),
        name: str = "",
    ) -> int: ...
    def activation(
        self, x: int, kind: str, *, alpha: float | None = None, name: str = ""
    ) -> int: ...
    def activation_backward(
        self, y: int, dy: int, kind: str, *, alpha: float | None = None, name: str = ""
    ) -> int: ...
    def softmax(self, x: int, *, name: str = "") -> int: ...
    def softmax_backward(self, y: int, dy: int, *, name: str = "") -> int: ...
    def dropout(self, x: int, rate: float, *, stream: int, name: str = "") -> int: ...
    def dropout_backward(self, dy: int, rate: float, *, stream: int, name: str = "") -> int: ...
    def batch_norm_training(
        self,
        x: int,
        gamma: int | None = None,
        beta: int | None = None,
        *,
        epsilon: float,
        name: str = "",
    ) -> tuple[int, int, int]: ...
    def batch_norm_inference(
        self,
        x: int,
        gamma: int | None,
        beta: int | None,
        mean: int | None,
        var: int,
        *,
        epsilon: float,
        name: str = "",
    ) -> int: ...
    def batch_norm_backward(
        self,
        x: int,
        gamma: int | None,
        mean: int,
        var: int,
        dy: int,
        *,
        epsilon: float,
        name: str = "",
    ) -> tuple[int, int, int]: ...
    def loss_backward(
        self, y_true: int, y_pred: int, kind: str, *, from_logits: bool = False, name: str = ""
    ) -> int: ...
    def sgd(
        self,
        parameter: int,
        gradient: int,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        name: str = "",
    ) -> None: ...
    def adam(
        self,
        parameter: int,
        gradient: int,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-07,
        weight_decay: float = 0.0,
        name: str = "",
    ) -> None: ...
    def moving_average(
        self, parameter: int, sample: int, momentum: float, *, name: str = ""
    ) -> None: ...
    def assign(self, target: int, value: int, *, name: str = "") -> None: ...
    # That were the ops.
    def flatten(self, x: int, *, name: str = "") -> int: ...
    def loss(
        self,
        kind: str,
        y_true: int,
        y_pred: int,
        *,
        from_logits: bool = False,
        name: str = "",
    ) -> int: ...
    def metric(
        self,
        kind: str,
        y_true: int,
        y_pred: int,
        *,
        threshold: float = 0.5,
        name: str = "",
    ) -> int: ...
    def gradients(self, loss: int, wrt: Sequence[int]) -> list[int | None]: ...
    def mark_output(self, value: int) -> None: ...
    def shape(self, value: int) -> tuple[int | None, ...]: ...
    def dtype(self, value: int) -> str: ...
    def nodes(self) -> list[dict[str, Any]]: ...
    def program(self) -> dict[str, Any]: ...
    @staticmethod
    def from_program(program: dict[str, Any]) -> Graph: ...

class Variable:
    """A weight, in the layout the kernels of one ISA read. Reading and writing see whole steps.

    `groups` is that of the convolution whose kernel it is (1 for dense); None: as its shape says.
    Graphs know it as a parameter of `graph_shape`, of as many elements; None: of its shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        groups: int | None = None,
        graph_shape: Sequence[int] | None = None,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def version(self) -> int: ...
    def get(self) -> NDArray[np.float32]: ...
    def set(self, array: NDArray[np.float32]) -> None: ...

class OptimizerState:
    """Slots of the variables an optimizer trains, zero at first, and the steps it has taken."""

    iterations: int
    def __init__(self) -> None: ...
    def slots_of(self, variable: Variable) -> list[str]:
        """Names of those it has so far."""
    def get(self, variable: Variable, slot: str) -> NDArray[np.float32]: ...
    def set(self, variable: Variable, slot: str, array: NDArray[np.float32]) -> None: ...

def read(
    variables: Sequence[Variable],
    optimizer: OptimizerState | None = None,
    slots: Sequence[tuple[Variable, str]] = (),
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], int]:
    """(weights, slots, iterations) of one and the same step."""

def write(variables: Sequence[Variable], arrays: Sequence[NDArray[np.float32]]) -> None:
    """Sets all, between two steps; none where a shape does not fit."""

def groups_of(graph: Graph) -> dict[str, int | None]:
    """For each parameter of a graph what Variable takes as groups."""

class Parameters:
    """The variables that a graph calls its parameters, by name."""

    def __init__(self, graph: Graph, isa: str | None = None, memory: str = "planned") -> None: ...
    @staticmethod
    def of(variables: Mapping[str, Variable]) -> Parameters: ...
    @property
    def isa(self) -> str: ...
    def names(self) -> list[str]: ...
    def get(self, name: str, slot: str = "") -> NDArray[np.float32]: ...
    def set(self, name: str, array: NDArray[np.float32], slot: str = "") -> None: ...

class Plan:
    """A graph made ready to run at one batch size. Runs allocate nothing and release the GIL."""

    def __init__(
        self,
        graph: Graph,
        parameters: Parameters,
        batch: int,
        memory: str = "planned",
        *,
        optimizer: OptimizerState | None = None,
        operations_per_thread: float = 4e6,
        max_arena_bytes: int | None = None,
        max_scratch_bytes: int | None = None,
        max_operations: float | None = None,
    ) -> None:
        """Raises MemoryError, before it allocates, for a plan that needs more than a maximum."""
    @property
    def batch(self) -> int: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def arena_lower_bound(self) -> int: ...
    @property
    def useful_threads(self) -> int: ...
    @property
    def scratch_bytes(self) -> int:
        """Of each thread, beside the arena, allocated by the first run."""
    @property
    def operations(self) -> float:
        """Multiply-adds of convolutions and dense layers, and taps of pools, in one run."""
    @property
    def kernels_packed(self) -> int:
        """How often runs have packed a kernel of a transposed convolution anew."""
    def run(
        self,
        inputs: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[np.float32] | None] = (),
        *,
        rows: NDArray[np.int64] | None = None,
        start: int = 0,
        learning_rate: float = 0.0,
        seed: int = 0,
        step: int | None = None,
        check_finite: bool = True,
    ) -> tuple[float, ...]:
        """The scalars among the outputs.

        NumericError, with nothing changed, for a loss, a gradient or an update that is not finite;
        check_finite=False takes such steps.
        """
    def output(self, index: int) -> NDArray[Any]: ...
    def profile(
        self, inputs: Sequence[NDArray[Any]], *, repeats: int = 10, step: int | None = None
    ) -> list[tuple[str, str, float]]: ...
    def capsule(self) -> object: ...
    def steps(self) -> list[str]: ...

def isas() -> list[str]: ...
def ops() -> dict[str, dict[str, Any]]: ...
def functions() -> dict[str, int]: ...
def default_isa() -> str: ...
def available_threads() -> int: ...
def num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def random_uniform(seed: int, stream: int, step: int, count: int) -> NDArray[np.float32]: ...
def probe_fma(isa: str, threads: int, seconds: float = 0.05) -> float: ...
def probe_copy(threads: int, megabytes: int = 256) -> float: ...
def kernels(isa: str) -> list[str]: ...
