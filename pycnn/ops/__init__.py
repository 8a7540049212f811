# SPDX-License-Identifier: Apache-2.0
"""Functions of tensors, under the names and with the arguments of keras.ops.

On symbolic tensors and inside of call() they build the graph that the core runs; on arrays they run
at once and give arrays. `x + y`, `x[..., 0]`, `x @ w` and the like are these functions, too.

Example:
    >>> from pycnn import ops
    >>> ops.softmax([1.0, 2.0, 3.0])
    Array([0.09003057, 0.24472848, 0.66524094], dtype=float32)
"""

from . import creation, elementwise, indexing, nn, reductions, shapes, windows
from .creation import *
from .elementwise import *
from .indexing import *
from .nn import *
from .reductions import *
from .shapes import *
from .windows import *

__all__ = [*elementwise.__all__, *reductions.__all__, *shapes.__all__]
__all__ += creation.__all__ + indexing.__all__ + nn.__all__ + windows.__all__
