# SPDX-License-Identifier: Apache-2.0
"""Each rule of csrc/plan/fuse.h on gradients: the steps, and of graphs that nearly fit."""

from __future__ import annotations

import numpy as np
import pytest
from engine import Net, Setting
from fusion import (
    Cases,
    Values,
    check,
    conv,
    dense,
    gradients,
    norm,
    parameters,
    pool,
    relu,
)

from pycnn import _core

cases = Cases()
Built = tuple[list[int], list[int]]


# --- the gradient of relu in the backward_data that makes its dy ----------------------------------


@cases.add("conv2d conv2d", "loss_backward conv2d_backward_data conv2d_backward_weights")
def gate_in_conv2d_backward_data(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    z = conv(g, v, y, "w8")
    dw, dy = gradients(g, v, z, "w", y)
    return [dw], [dy]


@cases.add("conv2d conv2d", "loss_backward conv2d_backward_data conv2d_backward_weights")
def gate_of_relu6(g: _core.Graph, v: Values) -> Built:
    y = g.activation(conv(g, v), "relu6")
    z = conv(g, v, y, "w8")
    dw, dy = gradients(g, v, z, "w", y)
    return [dw], [dy]


@cases.add("dense dense", "loss_backward dense_backward_data dense_backward_weights")
def gate_in_dense_backward_data(g: _core.Graph, v: Values) -> Built:
    y = relu(g, dense(g, v))
    z = dense(g, v, y, "dense8")
    dw, dy = gradients(g, v, z, "dense", y)
    return [dw], [dy]


@cases.add(
    "conv2d activation conv2d",
    "loss_backward conv2d_backward_data activation_backward conv2d_backward_weights",
)
def gate_of_other_activations(g: _core.Graph, v: Values) -> Built:
    y = g.activation(conv(g, v), "tanh")
    z = conv(g, v, y, "w8")
    return gradients(g, v, z, "w"), []


@cases.add(
    "conv2d conv2d conv2d",
    "loss_backward conv2d_backward_data conv2d_backward_data add activation_backward",
    "conv2d_backward_weights",
)
def gate_of_what_is_read_twice(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    z = g.add(conv(g, v, y, "w8"), conv(g, v, y, "point"))
    return gradients(g, v, z, "w"), []


@cases.add(
    "conv2d activation conv2d",
    "loss_backward conv2d_backward_data activation_backward conv2d_backward_weights",
)
def gate_twice(g: _core.Graph, v: Values) -> Built:
    y = relu(g, g.activation(conv(g, v), "relu6"))
    z = conv(g, v, y, "w8")
    dw, dy = gradients(g, v, z, "w", y)
    return [dw], [dy]


@cases.add(
    "dense dense", "loss_backward dense_backward_data activation_backward dense_backward_weights"
)
def gate_behind_reshape(g: _core.Graph, v: Values) -> Built:
    y = relu(g, dense(g, v))
    z = dense(g, v, g.flatten(y), "dense8")
    return gradients(g, v, z, "dense"), []


@cases.add(
    "conv2d conv2d",
    "loss_backward conv2d_backward_data activation_backward conv2d_backward_weights",
)
def gate_of_a_gradient_that_is_an_output(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    z = conv(g, v, y, "w8")
    return gradients(g, v, z, "w", y), []


# --- what is done to the gradient of a max pool's input, done before it is spread out -------------


@cases.add(
    "conv2d max_pool2d",
    "loss_backward activation_backward max_pool2d_backward conv2d_backward_weights",
)
def activation_before_unpool(g: _core.Graph, v: Values) -> Built:
    y = g.activation(conv(g, v), "relu6")
    z = pool(g, y, 3, 2)
    dw, dy = gradients(g, v, z, "w", y)
    return [dw], [dy]


@cases.add("activation max_pool2d", "loss_backward activation_backward max_pool2d_backward")
def sigmoid_before_unpool(g: _core.Graph, v: Values) -> Built:
    y = g.activation(v["x"], "sigmoid")
    z = pool(g, y, 2, 2)
    dx, dy = gradients(g, v, z, "x", y)
    return [dx], [dy]


@cases.add(
    "conv2d concatenate add max_pool2d",
    "loss_backward max_pool2d_backward activation_backward conv2d_backward_weights",
)
def activation_of_something_else(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    z = pool(g, g.add(y, g.concatenate([v["x"], v["x"]])), 3, 2)
    return gradients(g, v, z, "w"), []


@cases.add(
    "conv2d max_pool2d max_pool2d add",
    "loss_backward max_pool2d_backward max_pool2d_backward add activation_backward",
    "conv2d_backward_weights",
)
def activation_of_what_is_read_twice(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    z = pool(g, y, 3, 2)
    z = g.add(z, pool(g, y, 3, 2, "valid"))
    return gradients(g, v, z, "w"), []


@cases.add(
    "conv2d max_pool2d",
    "loss_backward max_pool2d_backward activation_backward conv2d_backward_weights",
)
def activation_and_an_output(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    z = pool(g, y, 3, 2)
    return gradients(g, v, z, "w", y), []


@cases.add(
    "conv2d max_pool2d",
    "loss_backward max_pool2d_backward activation_backward conv2d_backward_weights",
    "conv2d conv2d_backward_data",
)
def activation_of_what_is_asked_for_its_shape(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    dw, dy = gradients(g, v, pool(g, y, 3, 2), "w", y)
    image = g.conv2d_backward_data(conv(g, v), v["point"], dy)  # as large as dy
    return [dw, image], []


@cases.add("conv2d", "loss_backward conv2d_backward_weights bias_backward")
def bias_before_unpool(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, b="b")
    z = pool(g, y)
    db, dw, dy = gradients(g, v, z, "b", "w", y)
    return [db, dw], [dy]


@cases.add("conv2d", "loss_backward activation_backward conv2d_backward_weights bias_backward")
def bias_and_activation_before_unpool(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, b="b")
    z = pool(g, relu(g, y))
    db, dw, dy = gradients(g, v, z, "b", "w", y)
    return [db, dw], [dy]


@cases.add(
    "conv2d max_pool2d", "loss_backward max_pool2d_backward conv2d_backward_weights bias_backward"
)
def bias_of_overlapping_windows(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, b="b")
    z = pool(g, y, 3, 2)
    return gradients(g, v, z, "b", "w"), []


# --- the gradients of max pools inside the products that read them --------------------------------


@cases.add(
    "conv2d conv2d",
    "loss_backward conv2d_backward_weights conv2d_backward_data conv2d_backward_weights",
)
def unpool_in_both_passes(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, conv(g, v), "w8")
    z = pool(g, y)
    dv, dw, dy = gradients(g, v, z, "w8", "w", y)
    return [dv, dw], [dy]


@cases.add("conv2d", "loss_backward conv2d_backward_weights")
def unpool_of_odd_images(g: _core.Graph, v: Values) -> Built:
    y = g.conv2d(v["x"], v["w"])
    z = pool(g, y, 4, 4)
    dw, dy = gradients(g, v, z, "w", y)
    return [dw], [dy]


@cases.add("conv2d max_pool2d", "loss_backward max_pool2d_backward conv2d_backward_weights")
def unpool_with_overlap(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    z = pool(g, y, 3, 2)
    return gradients(g, v, z, "w"), []


@cases.add("conv2d max_pool2d", "loss_backward max_pool2d_backward conv2d_backward_weights")
def unpool_in_depthwise(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, w="depthwise")
    z = pool(g, y)
    return gradients(g, v, z, "depthwise"), []


@cases.add(
    "conv2d", "loss_backward max_pool2d_backward loss_backward conv2d_backward_weights activation"
)
def unpool_for_another_reader(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    z = pool(g, y)
    (dy,) = gradients(g, v, z, y)
    return [*gradients(g, v, z, "w"), g.activation(dy, "tanh")], []


@cases.add("conv2d", "loss_backward max_pool2d_backward conv2d_backward_weights")
def unpool_that_is_an_output(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    z = pool(g, y)
    return gradients(g, v, z, "w", y), []


@cases.add(
    "conv2d conv2d max_pool2d", "loss_backward conv2d_backward_weights conv2d_backward_weights add"
)
def unpool_of_a_sum(g: _core.Graph, v: Values) -> Built:
    y = g.add(conv(g, v), conv(g, v, b="b"))
    z = pool(g, y)
    return gradients(g, v, z, "w"), []


@cases.add("conv2d", "loss_backward max_pool2d_backward conv2d_backward_weights")
def unpool_as_both_inputs(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    (dy,) = gradients(g, v, pool(g, y), y)
    return [g.conv2d_backward_weights(dy, dy, v["point"])], []


@cases.add("conv2d max_pool2d", "loss_backward max_pool2d_backward conv2d_backward_weights")
def unpool_as_the_image(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    (dy,) = gradients(g, v, pool(g, y), y)
    return [g.conv2d_backward_weights(dy, y, v["point"])], []


@cases.add("conv2d", "loss_backward max_pool2d_backward conv2d")
def unpool_in_a_forward_pass(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    (dy,) = gradients(g, v, pool(g, y), y)
    return [conv(g, v, dy, "w8")], []


# --- nodes that nothing needs, and inputs that are only asked for their shape ---------------------


@cases.add("conv2d", "loss_backward conv2d_backward_weights")
def nothing_of_a_pool_but_its_gradient(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    z = pool(g, y)
    dw, dy = gradients(g, v, z, "w", y)
    return [dw], [dy]


@cases.add("conv2d avg_pool2d loss")
def probabilities_behind_a_reshape_of_logits(g: _core.Graph, v: Values) -> Built:
    logits = g.avg_pool2d(conv(g, v), pool_size=(8, 8), strides=(1, 1))
    p = g.flatten(g.softmax(logits))  # the loss takes the logits in the shape of p
    t = g.input("target_shares", g.shape(p))
    return [g.loss("categorical_crossentropy", t, p)], []


# Through constants, the gradient of a norm is one without beta and mean: it is folded, too.
@cases.add("conv2d conv2d_transpose", "loss_backward conv2d conv2d_backward_weights")
def gradient_of_norm_and_transposed(g: _core.Graph, v: Values) -> Built:
    y = g.conv2d_transpose(norm(g, v, conv(g, v)), v["point"])
    return gradients(g, v, y, "w"), []


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases, ids=str)
def test_steps(case, isa):
    check(case, isa)


# Linear layers: forward and backward, their inputs are asked for nothing but their shape.
LINEAR = {
    "conv2d": lambda g, v, x: conv(g, v, x, "w8"),
    "depthwise": lambda g, v, x: g.conv2d(x, v["single"], groups=8),
    "dense": lambda g, v, x: g.dense(x, v["dense8"]),
    "max_pool2d": lambda g, v, x: pool(g, x, 1, 1),
    "avg_pool2d": lambda g, v, x: g.avg_pool2d(x, pool_size=(1, 1), strides=(1, 1)),
    "slice_channels": lambda g, v, x: g.concatenate(
        [g.slice_channels(x, first=first, count=4) for first in (0, 4)]
    ),
    "upsample2d": lambda g, v, x: g.avg_pool2d(
        g.upsample2d(x, size=(2, 2)), pool_size=(2, 2), strides=(2, 2)
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_only_asked_for_its_shape_is_not_kept(name):
    """However deep the stack of layers is, its training step needs no more memory."""

    def arena(depth: int) -> int:
        def build(g: _core.Graph, v: Values) -> list[int]:
            y = g.dense(v["x"], v["first"]) if name == "dense" else conv(g, v)
            for _ in range(depth):
                y = LINEAR[name](g, v, y)
            target = g.input("target", g.shape(y))
            loss = g.loss("mean_squared_error", target, y)
            (dw,) = g.gradients(loss, [v["first" if name == "dense" else "w"]])
            assert dw is not None
            return [dw]

        x = np.zeros((512, 64) if name == "dense" else (2, 32, 32, 4))
        weights = {**parameters(), "single": np.ones((1, 1, 1, 8)), "first": np.ones((64, 8))}
        return Net(build, {"x": x}, weights, Setting("scalar")).plan.arena_lower_bound

    args_of_a_pool = 2 * 32 * 32 * 8 if name == "max_pool2d" else 0  # bytes
    assert arena(9) == arena(5) + 4 * args_of_a_pool


def test_the_image_of_a_global_mean_is_not_kept():
    """Its gradient is as large, and takes its place."""

    def build(g: _core.Graph, v: Values) -> list[int]:
        y = g.global_avg_pool2d(conv(g, v))
        (dw,) = gradients(g, v, y, "w")
        return [dw]

    net = Net(build, {"x": np.zeros((2, 32, 32, 4))}, parameters(), Setting("scalar"))
    image = 2 * 32 * 32 * 8 * 4
    assert image < net.plan.arena_lower_bound < 2 * image
