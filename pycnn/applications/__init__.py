# SPDX-License-Identifier: Apache-2.0
"""Networks from the literature, with random weights."""

from .mobilenet import mobilenetv2 as mobilenetv2
from .resnet import resnet18 as resnet18
from .resnet import resnet20 as resnet20
from .resnet import resnet50 as resnet50
from .small import lenet5 as lenet5
from .small import mnist_cnn as mnist_cnn
from .unet import unet as unet
from .vgg import vgg16 as vgg16

__all__ = [
    "lenet5",
    "mnist_cnn",
    "mobilenetv2",
    "resnet18",
    "resnet20",
    "resnet50",
    "unet",
    "vgg16",
]
