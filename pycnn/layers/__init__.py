# SPDX-License-Identifier: Apache-2.0
"""Layers, under their Keras 3 names. Each is a spec that adds nodes to a graph."""

from __future__ import annotations

from . import base, convolution, core, normalization, pooling
from .base import *
from .convolution import *
from .core import *
from .normalization import *
from .pooling import *

__all__ = ["LAYERS"]
__all__ += base.__all__ + convolution.__all__ + core.__all__
__all__ += normalization.__all__ + pooling.__all__

# The closed table saved models are read with.
LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (globals()[name] for name in __all__ if name != "LAYERS")
    if isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer
}
