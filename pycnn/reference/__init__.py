# SPDX-License-Identifier: Apache-2.0
"""The NumPy definition of every op, forward and backward, under the names the engine uses.

Clear rather than fast; computed and returned in float64. Imports numpy only, so it works without
the compiled extension. Layouts: x (N,H,W,C), w (R,S,C/G,K), y (N,P,Q,K).
"""

from .activation import *
from .channels import *
from .conv import *
from .dense import *
from .init import *
from .loss import *
from .metric import *
from .norm import *
from .optimizer import *
from .pool import *
from .rng import *
from .transpose import *
from .window import *
