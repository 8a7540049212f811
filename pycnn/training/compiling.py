# SPDX-License-Identifier: Apache-2.0
"""compile(): how a model is trained, and the programs that follow from it and from its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from .. import losses, metrics, optimizers
from ..engine.network import Network
from ..engine.programs import Objective, Plans, evaluate_graph, predict_graph, train_graph
from ..engine.weights import Leaf
from ..ground.checks import checked_flag
from ..ground.text import quoted
from ..metrics import check_metric

ON_NONFINITE = ("raise", "skip", "ignore")


class Compiled(NamedTuple):
    """What compile() was given."""

    optimizer: optimizers.Optimizer
    loss: losses.Loss
    metrics: list[Any]
    on_nonfinite: str


def resolve(compiled: Compiled, shape: Sequence[int | None]) -> Objective:
    """What is asked for, for this output; ValueError where it does not suit it or itself."""
    resolved = tuple(metrics.resolve(wanted, compiled.loss, shape) for wanted in compiled.metrics)
    names = metrics.column_names(resolved)  # refuses those that the logs cannot hold
    return Objective(compiled.optimizer, compiled.loss, resolved, names)


class Compilable:
    """The part of a model that knows what compile() was given. Models provide what is raised here.

    Several threads may call it: what they share is replaced as a whole, never changed in place.
    """

    def __init__(self) -> None:
        self._compiled: Compiled | None = None
        self._objective: tuple[Compiled, Network, Objective] | None = None  # what it follows from
        self._programs: dict[str, Plans] = {}
        self._flags: dict[Leaf, bool] = {}  # trainable or not, as compile() found them

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def network(self) -> Network:
        raise NotImplementedError

    def leaves(self) -> list[Leaf]:
        raise NotImplementedError

    def trained_layers(self) -> set[Leaf]:
        raise NotImplementedError

    @property
    def seed(self) -> int:
        raise NotImplementedError

    def compile(
        self,
        optimizer: Any,
        loss: Any,
        *,
        metrics: Any = None,
        on_nonfinite: str = "raise",
    ) -> None:
        """Chooses how to train: keeps the weights, and what an optimizer given as object knows.

        The layers that are trainable now are those that fit() will change.

        Args:
            optimizer: a name or an object of pycnn.optimizers.
            loss: a name or an object of pycnn.losses.
            metrics: names or objects of pycnn.metrics, or one; "accuracy" suits itself to the loss.
            on_nonfinite: what becomes of a step whose loss, gradient or update is NaN or infinite.
                "raise": NumericError; "skip": it changes and counts nothing, and fit() goes on
                and warns; "ignore": it is taken, and the weights may be lost.
        """
        if not isinstance(metrics, (list, tuple, type(None))):
            metrics = [metrics]
        if on_nonfinite not in ON_NONFINITE:
            got = quoted(on_nonfinite)
            raise ValueError(f"compile: on_nonfinite must be one of {ON_NONFINITE}, got {got}")
        wanted = Compiled(
            optimizers.get(optimizer), losses.get(loss), list(metrics or []), on_nonfinite
        )
        for metric in wanted.metrics:
            check_metric(metric)  # refused before anything has changed
        self._compiled = wanted
        thawed = self.trained_layers()
        self.set_trainable({layer: layer in thawed for layer in self.leaves()})

    def set_trainable(self, flags: dict[Leaf, bool]) -> None:
        """Says for each layer whether fit() changes it, whatever the layers' own flags say."""
        self._flags = flags
        self.forget_programs()

    def is_trained(self, layer: Leaf) -> bool:
        """Whether fit() changes the layer: as it was at compile(), or when it came later."""
        return self._flags.get(layer, layer.trainable)

    def forget_programs(self) -> None:
        """For when the layers have changed."""
        self._programs = {}

    def flag_new_layers(self) -> None:
        """For when the layers of a compiled model have changed: those that came are read now."""
        if self._compiled is not None:
            trained = self.trained_layers()
            known = self._flags
            self._flags = {leaf: known.get(leaf, leaf in trained) for leaf in self.leaves()}

    @property
    def is_compiled(self) -> bool:
        return self._compiled is not None

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """The optimizer given to compile()."""
        return self._require_compiled().optimizer

    @property
    def metrics_names(self) -> list[str]:
        return list(self.objective.names)

    def metric_directions(self) -> dict[str, str]:
        """Whether "min" or "max" is better, by the names in the logs; for callbacks."""
        if self._compiled is None:
            return {}
        names = self.metrics_names[1:]
        metrics = zip(names, self.objective.metrics, strict=True)
        return {"loss": "min", **{name: metric.direction for name, metric in metrics}}

    @property
    def on_nonfinite(self) -> str:
        """What compile() was told to do where numbers are not finite."""
        return self._require_compiled().on_nonfinite

    def _require_compiled(self) -> Compiled:
        if self._compiled is None:
            raise RuntimeError(f"{self.name}: call compile() first")
        return self._compiled

    @property
    def objective(self) -> Objective:
        """What compile() asked for, resolved for the shape of the output."""
        compiled, network, known = self._require_compiled(), self.network, self._objective
        if known is None or known[0] is not compiled or known[1] is not network:
            outputs = network.outputs
            if len(outputs) != 1:
                raise ValueError(f"{self.name}: fit needs 1 output, got {len(outputs)}")
            known = compiled, network, resolve(compiled, outputs[0].shape)
            self._objective = known
        return known[2]

    def take_label_shape(self, shape: tuple[int, ...]) -> None:
        """Labels of a user's loss have any shape: graphs are made for the one they have."""
        objective = self.objective
        if objective.label_shape == shape:
            return
        assert self._objective is not None
        self._objective = *self._objective[:2], replace(objective, label_shape=shape)
        for mode in ("train", "evaluate"):
            self._programs.pop(mode, None)

    def saved_objective(self) -> Objective:
        """As objective, but with several outputs, too: such a model may be saved and copied."""
        if len(self.network.outputs) == 1:
            return self.objective
        return resolve(self._require_compiled(), (None,))

    def program(self, *, training: bool = False) -> dict[str, Any]:
        """The graph that predicts, or that takes a training step, as plain data (JSON).

        {"nodes": [{"op", "name", "inputs", "attributes"}], "outputs"}: inputs and outputs are
        numbers of values, counted as nodes make them. The weights are apart: a node "parameter" is
        named as its weight in `variables`.
        """
        training = checked_flag("program", "training", training)
        return self._program("train" if training else "predict").graph.program()

    def _program(self, mode: str) -> Plans:
        programs = self._programs
        program = programs.get(mode)
        if program is None or (mode == "train" and program.changes != self.optimizer.changes):
            network = self.network
            if mode == "predict":
                program = Plans(predict_graph(network), network.parameters)
            elif mode == "evaluate":
                program = Plans(evaluate_graph(network, self.objective), network.parameters)
            else:
                optimizer, changes = self.optimizer, self.optimizer.changes
                graph = train_graph(network, self.objective, self.is_trained)
                program = Plans(graph, network.parameters, optimizer.state, changes)
            programs[mode] = program
        return program
