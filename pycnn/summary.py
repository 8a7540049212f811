# SPDX-License-Identifier: Apache-2.0
"""The table model.summary() prints."""

from __future__ import annotations

from collections import Counter

from .network import Network
from .tensors import Tensor

Row = tuple[str, str, str, str, str]


def table(name: str, network: Network) -> str:
    """One line a layer: name (class), output shape, parameters, multiply-adds a sample."""
    graph, _ = network.build(training=False)
    macs: Counter[str] = Counter()
    for node in graph.core.nodes():
        macs[node.get("name", "")] += node.get("macs", 0)
    _ = network.store  # its layers have their weights from now on
    sizes = Counter({layer.name: layer.count_params() for layer in network.layers})
    rows: list[Row] = [("layer", "output shape", "parameters", "MACs", "input from")]
    branching = any(len(tensor.inputs) > 1 for tensor in network.tensors)
    for tensor in network.tensors:
        rows.append(_row(tensor, sizes[tensor.layer.name], macs[tensor.layer.name]))
    lines = _align(rows, 5 if branching else 4)
    rule = "-" * max(map(len, lines))
    trainable = sum(v.size for layer in network.layers for v in layer.weights if v.trainable)
    total = sum(sizes.values())
    totals = (
        f"parameters: {total:,} ({trainable:,} trainable, {total - trainable:,} not), "
        f"{4 * total / 1024:,.1f} KiB"
    )
    footer = [totals, f"MACs a sample: {sum(macs.values()):,}"]
    return "\n".join([f"Model: {name}", rule, lines[0], rule, *lines[1:], rule, *footer])


def _row(tensor: Tensor, size: int, macs: int) -> Row:
    layer = tensor.layer
    sources = ", ".join(x.layer.name for x in tensor.inputs)
    return (
        f"{layer.name} ({type(layer).__name__})",
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
