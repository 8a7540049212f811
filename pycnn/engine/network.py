# SPDX-License-Identifier: Apache-2.0
"""A model's layers in the order they run, their names, and the graphs made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import Any, cast

from .. import _core
from ..errors import ShapeError
from .builder import Body, GraphBuilder, Node, leaf_of
from .tensors import Extents, Tensor, ancestors
from .weights import Leaf, Variable

MAX_SIZE = 1_000_000  # layers of a model, those of its models counted at each call
_building: dict[int, AbstractContextManager[Any]] = {}  # by process: a fork begins afresh


class Tree:
    """The nodes of a model, and what the models among them are made of.

    Args:
        inner: trees of the models, by id: as they were when they were called.
    """

    def __init__(self, layers: Sequence[Node], inner: Mapping[int, Tree]) -> None:
        self.layers, self.inner = list(layers), dict(inner)

    def nodes(self) -> Iterator[Node]:
        """All nodes, those inside of models too."""
        for node in self.layers:
            yield node
            if id(node) in self.inner:
                yield from self.inner[id(node)].nodes()
            else:
                yield from nodes_below(node)

    def leaves(self) -> Iterator[Leaf]:
        """The layers, those inside of models too."""
        for node in self.layers:
            yield from self.leaves_of(node)

    def content(self, node: Node) -> Tree | Leaf:
        """What one of the nodes is made of; itself, where it is a layer."""
        return self.inner.get(id(node)) or cast(Leaf, node)

    def leaves_of(self, node: Node) -> Iterator[Leaf]:
        """The layers that one of the nodes is made of; itself, where it is one."""
        content = self.content(node)
        yield from content.leaves() if isinstance(content, Tree) else leaves_below(content)

    def trained(self) -> Iterator[Leaf]:
        """The layers that fit() would change, were they compiled now."""
        for node in self.layers:
            if node.trainable:
                content = self.content(node)
                yield from (
                    content.trained() if isinstance(content, Tree) else trained_below(content)
                )


class Network(Tree):
    """What lies between the input and the output tensors of a model. It owns no weights.

    It never changes: a model that changes gets another one.

    Args:
        names: what the layers are called, where that is settled.
    """

    def __init__(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], names: Names | None = None
    ) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.tensors = ancestors(self.outputs)
        self._check_ends()
        layers = list({id(t.layer): t.layer for t in self.tensors}.values())
        super().__init__(layers, self._bodies())
        self._check_size()
        self.names = names or Names()
        if names is None:  # layers that other models know first: they keep their names
            for layer in sorted(self.layers, key=lambda layer: not layer.holders):
                self.names.claim(layer)
        paths: dict[str, Variable] = {}
        for layer in self.layers:
            add_paths(paths, self.names.of(layer), self.content(layer))
        unique = {id(variable): path for path, variable in reversed(paths.items())}
        # all weights by path, layer by layer; each under its first path
        self.variables = {path: v for path, v in paths.items() if unique[id(v)] == path}

    def _bodies(self) -> dict[int, Network]:
        """What the models among the layers were when they were called."""
        bodies: dict[int, Network] = {}
        for tensor in self.tensors:
            body = tensor.call.body
            if isinstance(body, Network):
                known = bodies.setdefault(id(tensor.layer), body)
                if (known.inputs, known.outputs) != (body.inputs, body.outputs):
                    raise ValueError(f"Model: {tensor.layer.name} was changed between its calls")
        return bodies

    def _check_size(self) -> None:
        """A few calls of models that call models ... may stand for any number of layers."""
        calls = {id(tensor.call): tensor.call for tensor in self.tensors}.values()
        sizes = [c.body.size if isinstance(c.body, Network) else 1 for c in calls]
        self.size: int = sum(sizes)
        if self.size > MAX_SIZE:
            raise ValueError(
                f"Model: {self.size} layers, counted at each call of a model, limit {MAX_SIZE}"
            )

    def _check_ends(self) -> None:
        if not self.inputs or not self.outputs:
            raise ValueError("Model: expected at least one input and one output")
        known = {id(t) for t in self.tensors}
        given = {id(t) for t in self.inputs}
        if len(given) != len(self.inputs):
            raise ValueError("Model: an input is listed twice")
        for tensor in self.inputs:
            if not is_input(tensor):
                raise ValueError(f"Model: inputs must come from Input(), got {tensor!r}")
            if id(tensor) not in known:
                raise ValueError(f"Model: input {tensor!r} is not used by any output")
        for tensor in self.tensors:
            if not tensor.inputs and id(tensor) not in given:
                raise ValueError(f"Model: disconnected: {tensor!r} is not among the inputs")

    def add_to(self, graph: GraphBuilder, inputs: Sequence[int]) -> dict[int, int]:
        """Adds all layers to a graph, under the path it is at; the value of each tensor, by id."""
        scope = f"{graph.name}/" if graph.name else ""
        values = {id(tensor): value for tensor, value in zip(self.inputs, inputs, strict=True)}
        for tensor in self.tensors:
            if id(tensor) in values:
                continue
            call = tensor.call
            path = scope + self.names.of(call.layer)
            results = graph.apply(call.body, path, [values[id(x)] for x in call.inputs])
            for output, value in zip(call.outputs, results, strict=True):
                values[id(output)] = value
        return values

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> list[int]:
        """Adds all layers to the graph of another model; its outputs."""
        self.output_shapes(graph.name, [graph.core.shape(value) for value in inputs])
        values = self.add_to(graph, inputs)
        return [values[id(tensor)] for tensor in self.outputs]

    def output_shapes(self, name: str, shapes: Sequence[Extents]) -> list[Extents]:
        """What a call with inputs of these shapes gives; it takes those it was made for only."""
        if len(shapes) != len(self.inputs):
            raise ValueError(f"{name}: expected {len(self.inputs)} inputs, got {len(shapes)}")
        for tensor, got in zip(self.inputs, shapes, strict=True):
            if got != tensor.shape:
                raise ShapeError(f"{name}: expected shape {tensor.shape}, got {got}")
        return [tensor.shape for tensor in self.outputs]

    def build(
        self, training: bool, trainable: Callable[[Leaf], bool] | None = None
    ) -> tuple[GraphBuilder, dict[int, int]]:
        """A fresh graph of all layers, and the value of every tensor (by its id)."""
        graph = GraphBuilder(training, trainable)
        inputs = [graph.core.input(self.names.of(t.layer), t.shape) for t in self.inputs]
        return graph, self.add_to(graph, inputs)

    def networks(self) -> Iterator[Network]:
        """This one, and those of the models among its layers; each once."""
        seen: set[int] = set()
        left = [self]
        while left:
            network = left.pop()
            if id(network) not in seen:
                seen.add(id(network))
                yield network
                left += [n for n in network.inner.values() if isinstance(n, Network)]

    def paths(self) -> Iterator[tuple[str, Leaf]]:
        """All layers, those inside of models too, with their paths."""
        for node in self.layers:
            yield from paths_below(self.names.of(node), self.content(node))

    def inner_paths(self) -> Iterator[tuple[str, str]]:
        """The path of each layer, and what of it lies inside a model ("" or "/dense")."""
        for node in self.layers:
            name = self.names.of(node)
            for path, _ in paths_below(name, self.content(node)):
                yield path, path.removeprefix(name)

    @property
    def parameters(self) -> _core.Parameters:
        """The weights as the plans of this network find them."""
        # no cached_property: its lock, held while others train, stays closed in a forked child
        made: _core.Parameters | None = self.__dict__.get("_made")
        if made is None:
            made = _core.Parameters.of({path: v.core for path, v in self.variables.items()})
            made = self.__dict__.setdefault("_made", made)  # another thread's, if it was first
        return made


def children_of(leaf: Leaf) -> list[Any]:
    """The layers and models that a layer of a user is made of."""
    return list(getattr(leaf, "children", ()))


def nodes_below(node: Any) -> Iterator[Node]:
    """What is in a layer, and in that."""
    for child in children_of(node):
        yield child
        tree = getattr(child, "layer_tree", None)
        yield from tree.nodes() if tree is not None else nodes_below(child)


def leaves_below(node: Any) -> Iterator[Leaf]:
    """A layer and those in it."""
    tree = getattr(node, "layer_tree", None)
    if tree is not None:
        yield from tree.leaves()
        return
    yield node
    for child in children_of(node):
        yield from leaves_below(child)


def trained_below(node: Any) -> Iterator[Leaf]:
    """Those of them that fit() would change."""
    if not node.trainable:
        return
    tree = getattr(node, "layer_tree", None)
    if tree is not None:
        yield from tree.trained()
        return
    yield node
    for child in children_of(node):
        yield from trained_below(child)


def is_input(tensor: Tensor) -> bool:
    return not tensor.inputs


def paths_below(path: str, body: Body | Tree | Leaf) -> Iterator[tuple[str, Leaf]]:
    """The layers of what is at a path, with theirs."""
    if isinstance(body, Network):
        yield from ((f"{path}/{inner}", leaf) for inner, leaf in body.paths())
        return
    leaf = leaf_of(cast(Body, body))
    yield path, leaf
    for child in children_of(leaf):
        yield from paths_below(f"{path}/{child.name}", getattr(child, "layer_tree", child))


def add_paths(known: dict[str, Variable], name: str, body: Body | Tree | Leaf) -> list[str]:
    """Adds the weights of what has this name by path, or none; which are new."""
    found = {
        f"{path}/{variable.name}": variable
        for path, leaf in paths_below(name, body)
        for variable in leaf.variables.values()
    }
    for path, variable in found.items():
        if known.get(path, variable) is not variable:
            raise ValueError(f"{name}: two layers have a weight {path}; rename one of them")
    new = [path for path in found if path not in known]
    known.update(found)
    return new


def begin_at(seed: int, stream: int, leaves: Iterable[Leaf]) -> int:
    """Gives weights that have no initial values yet theirs, and returns the next free stream."""
    for leaf in leaves:
        for variable in leaf.variables.values():
            variable.begin_at(seed, stream)
            stream += 1
    return stream


def building() -> AbstractContextManager[Any]:
    """One thread at a time, so that none takes back what another was given.

    A lock to be entered itself: inside of a generator an interrupt could leave it closed.
    """
    return _building.setdefault(os.getpid(), RLock())


@contextmanager
def all_or_nothing(nodes: Iterable[Node]) -> Iterator[None]:
    """Where what is inside is refused, the nodes keep nothing of it: no weights, no calls.

    Inside of building() only.
    """
    undo = [node.undo_calls() for node in nodes]
    try:
        yield
    except BaseException:
        for restore in undo:
            restore()
        raise


class Names:
    """Hands out names that are unique in a model."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}  # by id of the layer
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def copy(self) -> Names:
        """The same names; what becomes of one changes nothing in the other."""
        made = Names()
        made._names, made._taken, made._last = dict(self._names), set(self._taken), dict(self._last)
        return made

    def of(self, layer: Node) -> str:
        return self._names[id(layer)]

    def holds(self, layer: Node) -> bool:
        return id(layer) in self._names

    def claim(self, layer: Node) -> None:
        """Takes the layer's name, or name_1, name_2, ... where the user chose none.

        Layers take that name over, unless another model knows them by the one they have.
        """
        name, base = layer.name, layer.name
        if name in self._taken and layer.named:
            raise ValueError(f"Model: layer names must be unique, got {name!r} twice")
        while name in self._taken:
            self._last[base] = self._last.get(base, 0) + 1
            name = f"{base}_{self._last[base]}"
        if name != base and not layer.holders:
            layer.rename(name)
        self._names[id(layer)] = name
        self._taken.add(name)
        layer.holders += 1

    def release(self, layer: Node) -> None:
        """Gives the name of a claimed layer back."""
        self._taken.discard(self._names.pop(id(layer)))
        layer.holders = max(0, layer.holders - 1)
        self._last.clear()  # start again from the lowest free number
