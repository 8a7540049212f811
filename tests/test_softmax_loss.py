# SPDX-License-Identifier: Apache-2.0
"""Softmax, the losses, their gradients and the metrics against the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from engine import (
    CHANNELS,
    GUARDS,
    TINY,
    UNIT,
    Array,
    Check,
    Net,
    Setting,
    assert_guarded,
    assert_within,
    mse_gradients,
    rounded,
    run,
)
from hypothesis import given
from strategies import dense_shapes, random_array, seeds

from pycnn import _core, reference
from pycnn.reference.loss import P_MAX, P_MIN

SHAPES = dense_shapes(max_rank=4).map(lambda case: case.x_shape)
PICKED = [
    *((3, K) for K in CHANNELS),
    *((M, 1) for M in CHANNELS),
    (900, 10),  # several tasks
    (2, 3, 2, 5),
    (2, 5000),
]


def softmax(graph: _core.Graph, v: dict[str, int]) -> list[int]:
    return [graph.softmax(v["x"])]


def check_softmax(shape: tuple[int, ...], seed: int, setting: Setting) -> None:
    """K additions, an exponential of a difference up to |x|, a division."""
    K = shape[-1]
    for scale in (1.0, 10.0):
        x = rounded(scale * random_array(shape, seed))
        (y,), dy, (dx,) = mse_gradients(softmax, {"x": x}, {}, ["x"], setting)
        expected = reference.softmax(x)
        shifted = np.abs(x - x.max(axis=-1, keepdims=True))
        bound = (K + 8 + shifted + (expected * shifted).sum(axis=-1, keepdims=True)) * UNIT
        assert_within(y, expected, bound * expected + TINY, "y")
        y, dy = y.astype(np.float64), dy.astype(np.float64)
        magnitude = y * (np.abs(dy) + (np.abs(y * dy)).sum(axis=-1, keepdims=True))
        bound = (K + 6) * UNIT * magnitude + 2 * TINY
        assert_within(dx, reference.softmax_backward(y, dy), bound, "dx")


@dataclass(frozen=True)
class Kind:
    """A loss by its name in the reference, and how it is drawn and bounded."""

    name: str

    @property
    def from_logits(self) -> bool:
        return self.name.endswith("_from_logits")

    @property
    def sparse(self) -> bool:
        return self.name.startswith("sparse")

    @property
    def binary(self) -> bool:
        return self.name.startswith("binary")

    def draw(self, shape: tuple[int, ...], seed: int) -> tuple[Array, Array]:
        """(y_true, y_pred): labels, or soft and hard targets; probabilities not at the clip."""
        rng, x = np.random.default_rng(seed), 3 * random_array(shape, seed)
        if self.sparse:
            y_true = rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
        else:
            y_true = rounded(np.where(rng.random(shape) < 0.3, rng.random(shape), 1.0))
            y_true = np.where(rng.random(shape) < 0.4, 0.0, y_true)
        if self.from_logits or self.name.startswith("mean"):
            return y_true, rounded(x)
        p = reference.activation("sigmoid", x) if self.binary else np.exp(x)
        return y_true, rounded(np.clip(p, 1e-3, None if not self.binary else 1 - 1e-3))

    def dense_target(self, y_true: Array, K: int) -> Array:
        return np.eye(K)[y_true] if self.sparse else y_true

    def bounds(self, y_true: Array, p: Array) -> tuple[float, Array]:
        """(of the loss, of its gradient): roundings times the sizes of the terms."""
        t, K = np.abs(self.dense_target(y_true, p.shape[-1])), p.shape[-1]
        rows, rounds = p.size // K, (K + 10) * UNIT
        gradient = np.abs(getattr(reference, self.name + "_backward")(y_true, p))
        if self.name.startswith("mean"):
            size = float(np.mean((np.abs(p) + t) ** 2))
            return rounds * size, 6 * UNIT * gradient + TINY
        if self.binary:
            e = (np.abs(p) if self.from_logits else np.abs(np.log(p)) + np.abs(np.log(1 - p))) + 1
            sizes = (1 if self.from_logits else 1 / (p * (1 - p))) * (1 + t) / p.size
            return rounds * float(np.mean(e * (1 + t))), 6 * UNIT * sizes + TINY
        q = reference.softmax(p) if self.from_logits else p / p.sum(axis=-1, keepdims=True)
        shift = np.abs(p - p.max(axis=-1, keepdims=True)) if self.from_logits else 0 * p
        loss = rounds * float(np.sum(t * (2 + np.abs(np.log(q)) + shift))) / rows
        total = t.sum(axis=-1, keepdims=True)
        if self.from_logits:
            extra = shift + (q * shift).sum(axis=-1, keepdims=True)
            return loss, (rounds * (q * total + t) + UNIT * extra * q * total) / rows + TINY
        return loss, rounds * (total + t / q) / p.sum(axis=-1, keepdims=True) / rows + TINY


PROBABILITIES = (
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)
KINDS = [
    Kind(name)
    for name in (
        "mean_squared_error",
        *PROBABILITIES,
        *(name + "_from_logits" for name in PROBABILITIES),
    )
]


def loss_and_gradient(kind: Kind):
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        name = kind.name.removesuffix("_from_logits")
        loss = graph.loss(name, v["y_true"], v["y_pred"], from_logits=kind.from_logits)
        (gradient,) = graph.gradients(loss, [v["y_pred"]])
        assert gradient is not None
        return [loss, gradient]

    return build


def check_losses(shape: tuple[int, ...], seed: int, setting: Setting) -> None:
    for kind in KINDS:
        y_true, p = kind.draw(shape, seed)
        inputs = {"y_true": y_true, "y_pred": p}
        loss, gradient = run(loss_and_gradient(kind), inputs, {}, setting)
        bound, gradient_bound = kind.bounds(y_true, p)
        expected = getattr(reference, kind.name)(y_true, p)
        assert_within(loss, expected, bound + TINY, kind.name)
        expected = getattr(reference, kind.name + "_backward")(y_true, p)
        assert_within(gradient, expected, gradient_bound, kind.name + " gradient")


METRICS = (
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
)


def check_metrics(shape: tuple[int, ...], seed: int, setting: Setting) -> None:
    """Counts are exact: many ties, and values at the threshold."""
    rng, rows = np.random.default_rng(seed), math.prod(shape[:-1])
    p = rounded(rng.integers(0, 5, shape) / 4)
    labels = rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
    truth = {"sparse_categorical_accuracy": labels, "categorical_accuracy": rng.random(shape)}
    for name in METRICS:
        y_true = truth.get(name, rng.integers(0, 2, shape).astype(np.float64))
        for threshold in (0.5, 0.75) if name == "binary_accuracy" else (0.5,):

            def build(graph: _core.Graph, v: dict[str, int], name=name, threshold=threshold):
                return [graph.metric(name, v["y_true"], v["y_pred"], threshold=threshold)]

            got = run(build, {"y_true": y_true, "y_pred": p}, {}, setting)[0]
            option = (threshold,) if name == "binary_accuracy" else ()
            y_true = rounded(y_true) if y_true.dtype == np.float64 else y_true
            expected = getattr(reference, name)(y_true, p, *option) / rows
            assert_within(got, expected, 2 * UNIT * expected, name)


ALL = (check_softmax, check_losses, check_metrics)


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_shapes(check, case, isa):
    check(case, 0, Setting(isa))


@pytest.mark.parametrize("check", ALL)
@given(SHAPES, seeds)
def test_drawn_shapes(isa, check, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, SHAPES, PICKED) for check in ALL]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_threads_change_no_bit(kind, isa):
    y_true, p = kind.draw((3000, 7), 1)
    inputs = {"y_true": y_true, "y_pred": p}
    results = [run(loss_and_gradient(kind), inputs, {}, Setting(isa, threads=n)) for n in (1, 2, 5)]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_softmax_of_special_rows(isa):
    """A row with NaN, with +inf or of -inf alone is a NaN row; its neighbours are not."""
    for K in (1, 3, 7, 8, 9, 17):
        x = np.zeros((5, K))
        x[1, K // 2], x[2, -1], x[3] = np.nan, np.inf, -np.inf
        y = run(softmax, {"x": x}, {}, Setting(isa))[0]
        assert np.isnan(y[1:4]).all(), K
        np.testing.assert_allclose(y[[0, 4]], 1 / K, rtol=4 * UNIT)


def test_softmax_far_from_zero(isa):
    x = rounded(random_array((4, 9), 1)) * 8
    for offset in (1e4, -1e4, 1e6):
        moved = rounded(x + offset)
        y = run(softmax, {"x": moved}, {}, Setting(isa))[0]
        np.testing.assert_allclose(y, reference.softmax(moved), rtol=100 * UNIT)
        (y0,) = run(softmax, {"x": moved - offset}, {}, Setting(isa))
        np.testing.assert_array_equal(y, y0)


@pytest.mark.parametrize("kind", KINDS[1:4], ids=lambda kind: kind.name)
def test_clipped_probabilities(kind, isa):
    """At 0 and 1 the loss is that of the clip, and the gradient 0 where it was clipped."""
    p = rounded([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [P_MIN, P_MAX]])
    for label in (0, 1):
        labels = np.full(4, label, np.int32)
        y_true = labels if kind.sparse else np.eye(2)[labels]
        inputs = {"y_true": y_true, "y_pred": p}
        loss, gradient = run(loss_and_gradient(kind), inputs, {}, Setting(isa))
        expected = getattr(reference, kind.name)(y_true, p)
        np.testing.assert_allclose(loss, expected, rtol=16 * UNIT)
        expected = getattr(reference, kind.name + "_backward")(y_true, p)
        np.testing.assert_array_equal(gradient[:2], expected[:2])
        np.testing.assert_allclose(gradient[2], expected[2], rtol=16 * UNIT)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_nan_reaches_the_loss(kind, isa):
    """Wherever in a row or a batch it stands."""
    for shape in ((1, 1), (3, 5), (2, 17), (9, 1)):
        y_true, p = kind.draw(shape, 3)
        y_true = np.ones(shape) if not kind.sparse else y_true
        for at in np.ndindex(shape):
            bad = p.copy()
            bad[at] = np.nan
            inputs = {"y_true": y_true, "y_pred": bad}
            loss, gradient = run(loss_and_gradient(kind), inputs, {}, Setting(isa))
            assert np.isnan(loss), (shape, at)
            assert np.isnan(gradient[at]), (shape, at)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.sparse], ids=lambda k: k.name)
def test_rows_of_unknown_labels_read_no_memory_of_others(isa, kind):
    """Their gradient is NaN, of the same bits whatever lay there before."""
    inputs = {"y_true": np.array([0, -1, 7], np.int32), "y_pred": np.full((3, 7), 0.5)}
    found = {}
    for memory in ("planned", "guard_end", "guard_begin"):  # guarded memory begins as 0xFF
        _, gradient = run(loss_and_gradient(kind), inputs, {}, Setting(isa, memory))
        assert np.isfinite(gradient[0]).all() and np.isnan(gradient[1:]).all()
        found[gradient.tobytes()] = memory
    assert len(found) == 1, found


def test_huge_logits_have_finite_losses(isa):
    for kind in KINDS[4:]:
        x = np.array([[1e4, -1e4], [-1e4, 1e4]])
        y_true = np.array([0, 0], np.int32) if kind.sparse else np.array([[1.0, 0.0]] * 2)
        inputs = {"y_true": y_true, "y_pred": x}
        loss, gradient = run(loss_and_gradient(kind), inputs, {}, Setting(isa))
        np.testing.assert_allclose(loss, getattr(reference, kind.name)(y_true, x), rtol=4 * UNIT)
        expected = getattr(reference, kind.name + "_backward")(y_true, x)
        np.testing.assert_allclose(gradient, expected, rtol=4 * UNIT)


def test_loss_is_the_mean_of_its_rows_in_any_batch(isa):
    kind = KINDS[-1]
    y_true, x = kind.draw((33, 10), 5)
    inputs = {"y_true": y_true, "y_pred": x}
    net = Net(loss_and_gradient(kind), inputs, {}, Setting(isa))
    whole = net.run()[0]
    single = net.make_plan(1)
    rows = [single.run(net.inputs, start=i)[0] for i in range(33)]
    assert whole == np.float32(np.mean(np.array(rows, np.float64)))
