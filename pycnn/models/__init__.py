# SPDX-License-Identifier: Apache-2.0
"""Models: layers connected into a network, trained and run by pycnn.training."""

import sys
from pathlib import Path

from ..files import saving, topology
from ..ground.checks import checked_int
from .model import Model
from .sequential import Sequential

__all__ = ["Model", "Sequential", "load_model"]

topology.MODELS.update(Model=Model, Sequential=Sequential)


def load_model(
    filepath: str | Path, *, max_activations: int | None = saving.MAX_ACTIVATIONS
) -> Model:
    """The model that save() wrote, compiled as it was; refuses files that are not exactly so.

    Args:
        max_activations: bytes that a layer may read and write for one sample; a small file can ask
            for any amount. None: no limit.
    """
    if max_activations is not None:
        checked_int("load_model", "max_activations", max_activations, 0, sys.maxsize)
    return saving.load_file(filepath, max_activations)
