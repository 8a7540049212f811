# SPDX-License-Identifier: Apache-2.0
"""Pictures. Needs matplotlib (pip install 'pycnn[demo]'); draws to files, opens no window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = 10  # misclassified images in a row
ROWS = 2


def confusion_matrix(y_true: NDArray[Any], y_pred: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """counts[i, j]: samples of class i taken for class j."""
    pairs = y_true.astype(np.int64) * classes + y_pred.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def save_report(
    path: str | Path,
    title: str,
    history: Mapping[str, Sequence[float]],
    images: NDArray[Any],
    y_true: NDArray[Any],
    probabilities: NDArray[Any],
) -> None:
    """Writes a PNG: learning curves, confusion matrix and some misclassified images.

    Shape: images (N, H, W, C), y_true (N), probabilities (N, K)
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    y_pred = probabilities.argmax(axis=-1)
    figure = Figure(figsize=(13, 7.5), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
    figure.suptitle(title, fontsize=15)
    halves = figure.add_gridspec(2, 1, height_ratios=(1.6, 1))
    top, bottom = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    loss, accuracy, confusion = top.subplots(1, 3)
    _curves(loss, history, "loss")
    _curves(accuracy, history, "accuracy")
    _confusion(confusion, confusion_matrix(y_true, y_pred, probabilities.shape[-1]))
    _mistakes(bottom, images, y_true, y_pred, probabilities)
    figure.savefig(path, dpi=110)


def _curves(axes: Any, history: Mapping[str, Sequence[float]], name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for key, label in ((name, "training"), (f"val_{name}", "validation")):
        if key in history:
            epochs = range(1, len(history[key]) + 1)
            axes.plot(epochs, history[key], label=label, marker="." if len(epochs) < 20 else "")
    axes.set(xlabel="epoch", ylabel=name, title=f"{name} by epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def _confusion(axes: Any, counts: NDArray[np.int64]) -> None:
    classes = range(len(counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in classes:
        for j in classes:
            if counts[i, j]:
                color = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color=color)
    axes.set(xlabel="predicted", ylabel="true", title="test samples")
    axes.set(xticks=classes, yticks=classes)


def _mistakes(
    figure: Any,
    images: NDArray[Any],
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    probabilities: NDArray[Any],
) -> None:
    """The mistakes the model was surest of."""
    wrong = np.flatnonzero(y_pred != y_true)
    wrong = wrong[np.argsort(-probabilities[wrong, y_pred[wrong]], kind="stable")]
    shown = wrong[: COLUMNS * ROWS]
    what = f"{len(wrong)} of {len(y_true)} test images misclassified"
    more = f", the {len(shown)} surest" if len(shown) < len(wrong) else ""
    figure.suptitle(f"{what}{more}", fontsize=12)
    rows = max(1, -(-len(shown) // COLUMNS))
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, i in zip(grid.flat, shown, strict=False):
        image = images[i]
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray_r")
        sure = 100 * probabilities[i, y_pred[i]]
        axes.set_title(f"true {y_true[i]}, got {y_pred[i]} ({sure:.0f} %)", fontsize=8)
