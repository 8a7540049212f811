# SPDX-License-Identifier: Apache-2.0
"""The table model.summary() prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .engine.tensors import Tensor

if TYPE_CHECKING:
    from .models import Model

Row = tuple[str, str, str, str, str]


def table(model: Model) -> str:
    """One line a layer: name (class), output shape, parameters, multiply-adds a sample."""
    network = model.network
    graph, _ = network.build(training=False)
    owners = {path: path.removesuffix(inner) for path, inner in network.inner_paths()}
    macs: Counter[str] = Counter()
    for node in graph.core.nodes():
        macs[owners.get(node["name"], "")] += node["macs"]
    names = network.names
    sizes: Counter[str] = Counter()
    for layer in network.layers:
        for leaf in network.leaves_of(layer):
            sizes[names.of(layer)] += sum(v.size for v in leaf.variables.values())
    rows: list[Row] = [("layer", "output shape", "parameters", "MACs", "input from")]
    branching = any(len(tensor.inputs) > 1 for tensor in network.tensors)
    for tensor in network.tensors:
        name = names.of(tensor.layer)
        sources = ", ".join(names.of(x.layer) for x in tensor.inputs)
        rows.append(_row(tensor, name, sizes[name], macs[name], sources))
    lines = _align(rows, 5 if branching else 4)
    rule = "-" * max(map(len, lines))
    trainable = sum(v.size for v in model.trainable_weights)
    total = model.count_params()
    totals = (
        f"parameters: {total:,} ({trainable:,} trainable, {total - trainable:,} not), "
        f"{4 * total / 1024:,.1f} KiB"
    )
    footer = [totals, f"MACs a sample: {sum(macs.values()):,}"]
    return "\n".join([f"Model: {model.name}", rule, lines[0], rule, *lines[1:], rule, *footer])


def _row(tensor: Tensor, name: str, size: int, macs: int, sources: str) -> Row:
    return (
        f"{name} ({type(tensor.layer).__name__})",
        str(tensor.shape),
        f"{size:,}",
        f"{macs:,}",
        sources,
    )


def _align(rows: list[Row], columns: int) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(columns)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in (2, 3) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
