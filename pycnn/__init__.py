# SPDX-License-Identifier: Apache-2.0
"""pycnn: convolutional networks on the CPU, with Keras' names.

Example:
    >>> from pycnn.models import Sequential
    >>> from pycnn.layers import Dense
    >>> model = Sequential([Dense(12, activation="relu", input_dim=8), Dense(1)])
"""

from .ground.openmp import short_waits

with short_waits():
    from . import _core  # noqa: F401

from . import (
    activations,
    callbacks,
    datasets,
    initializers,
    layers,
    limits,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    regularizers,
)
from ._core import __version__, isas, num_threads
from ._predictor import Predictor
from .errors import (
    ChecksumError,
    DTypeError,
    ModelFormatError,
    ModelVersionError,
    NumericError,
    ShapeError,
)
from .ground.registry import register_serializable
from .ground.seeding import set_seed
from .ground.threads import set_num_threads
from .layers import Input
from .models import Model, Sequential, load_model

__all__ = [
    "ChecksumError",
    "DTypeError",
    "Input",
    "Model",
    "ModelFormatError",
    "ModelVersionError",
    "NumericError",
    "Predictor",
    "Sequential",
    "ShapeError",
    "__version__",
    "activations",
    "callbacks",
    "datasets",
    "initializers",
    "isas",
    "layers",
    "limits",
    "load_model",
    "losses",
    "metrics",
    "models",
    "num_threads",
    "ops",
    "optimizers",
    "register_serializable",
    "regularizers",
    "set_num_threads",
    "set_seed",
]
