# SPDX-License-Identifier: Apache-2.0
"""Types of the compiled predictor."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

class Predictor:
    def __init__(self, model: Any, batch: int = 1) -> None: ...
    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]: ...
    def into(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None: ...
