# SPDX-License-Identifier: Apache-2.0
"""The NumPy definition of every op, forward and backward, under the names the engine uses.

Clear rather than fast; computed and returned in float64. Imports numpy only, so it works without
the compiled extension. Layouts: x (N,H,W,C), w (R,S,C/G,K), y (N,P,Q,K).
"""

from .activation import activation, activation_backward, add, softmax, softmax_backward
from .channels import concatenate, slice_channels, slice_channels_backward
from .conv import conv2d, conv2d_backward_data, conv2d_backward_weights
from .dense import bias_backward, dense, dense_backward_data, dense_backward_weights, reshape
from .init import initialize
from .loss import (
    binary_crossentropy,
    binary_crossentropy_backward,
    binary_crossentropy_from_logits,
    binary_crossentropy_from_logits_backward,
    categorical_crossentropy,
    categorical_crossentropy_backward,
    categorical_crossentropy_from_logits,
    categorical_crossentropy_from_logits_backward,
    mean_squared_error,
    mean_squared_error_backward,
    sparse_categorical_crossentropy,
    sparse_categorical_crossentropy_backward,
    sparse_categorical_crossentropy_from_logits,
    sparse_categorical_crossentropy_from_logits_backward,
)
from .metric import accuracy, binary_accuracy, categorical_accuracy, sparse_categorical_accuracy
from .norm import batch_norm_backward, batch_norm_inference, batch_norm_training, moving_average
from .optimizer import adam, sgd
from .pool import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    upsample2d,
    upsample2d_backward,
)
from .rng import dropout, dropout_backward, normal, philox4x32, truncated_normal, uniform
from .transpose import (
    conv2d_transpose,
    conv2d_transpose_backward_data,
    conv2d_transpose_backward_weights,
)
from .window import conv_padding

__all__ = [
    "accuracy",
    "activation",
    "activation_backward",
    "adam",
    "add",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm_backward",
    "batch_norm_inference",
    "batch_norm_training",
    "bias_backward",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_crossentropy_backward",
    "binary_crossentropy_from_logits",
    "binary_crossentropy_from_logits_backward",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_crossentropy_backward",
    "categorical_crossentropy_from_logits",
    "categorical_crossentropy_from_logits_backward",
    "concatenate",
    "conv2d",
    "conv2d_backward_data",
    "conv2d_backward_weights",
    "conv2d_transpose",
    "conv2d_transpose_backward_data",
    "conv2d_transpose_backward_weights",
    "conv_padding",
    "dense",
    "dense_backward_data",
    "dense_backward_weights",
    "dropout",
    "dropout_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "initialize",
    "max_pool2d",
    "max_pool2d_backward",
    "mean_squared_error",
    "mean_squared_error_backward",
    "moving_average",
    "normal",
    "philox4x32",
    "reshape",
    "sgd",
    "slice_channels",
    "slice_channels_backward",
    "softmax",
    "softmax_backward",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_categorical_crossentropy_backward",
    "sparse_categorical_crossentropy_from_logits",
    "sparse_categorical_crossentropy_from_logits_backward",
    "truncated_normal",
    "uniform",
    "upsample2d",
    "upsample2d_backward",
]
