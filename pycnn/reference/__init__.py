# SPDX-License-Identifier: Apache-2.0
"""The NumPy definition of every op, forward and backward, under the names the engine uses.

Clear rather than fast; computed and returned in float64. Imports numpy only, so it works without
the compiled extension. Layouts: x (N,H,W,C), w (R,S,C/G,K), y (N,P,Q,K).
"""

from .batchnorm import *
from .channels import *
from .conv2d import *
from .conv2d_transpose import *
from .dense import *
from .elementwise import *
from .gather import *
from .init import *
from .loss import *
from .map import *
from .matmul import *
from .metric import *
from .pad import *
from .pool2d import *
from .resize import *
from .rng import *
from .slice import *
from .softmax import *
from .transpose import *
from .update import *
from .upsample2d import *
from .window import *
