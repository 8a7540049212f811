# SPDX-License-Identifier: Apache-2.0
"""Networks from the literature, with random weights."""

from .small import lenet5 as lenet5
from .small import mnist_cnn as mnist_cnn

__all__ = ["lenet5", "mnist_cnn"]
