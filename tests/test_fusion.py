# SPDX-License-Identifier: Apache-2.0
"""Each rule of csrc/plan/fuse.h on forward graphs: the steps, and of graphs that nearly fit."""

from __future__ import annotations

import pytest
from fusion import Cases, Values, check, conv, dense, norm, pool, relu

from pycnn import _core

cases = Cases()
Built = tuple[list[int], list[int]]

# --- batch norm in the weights before it ----------------------------------------------------------


@cases.add("conv2d")
def norm_of_conv2d(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [norm(g, v, y)], [y]


@cases.add("conv2d")
def norm_of_conv2d_with_bias(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, b="b")
    return [norm(g, v, y)], [y]


@cases.add("dense")
def norm_of_dense(g: _core.Graph, v: Values) -> Built:
    y = dense(g, v)
    return [norm(g, v, y)], [y]


@cases.add("conv2d")
def norm_then_relu(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    z = norm(g, v, y)
    return [relu(g, z)], [y, z]


@cases.add("conv2d batch_norm_inference")
def norm_twice(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [norm(g, v, norm(g, v, y))], [y]


@cases.add("conv2d global_avg_pool2d batch_norm_inference")
def norm_of_no_product(g: _core.Graph, v: Values) -> Built:
    y = g.global_avg_pool2d(conv(g, v))
    return [norm(g, v, y)], []


@cases.add("conv2d batch_norm_inference")
def norm_behind_activation(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v))
    return [norm(g, v, y)], []


@cases.add("conv2d batch_norm_inference")
def norm_behind_pool(g: _core.Graph, v: Values) -> Built:
    y = pool(g, conv(g, v))
    return [norm(g, v, y)], []


@cases.add("dense batch_norm_inference")
def norm_behind_reshape(g: _core.Graph, v: Values) -> Built:
    y = g.flatten(dense(g, v))
    return [norm(g, v, y)], []


@cases.add("conv2d conv2d batch_norm_inference")
def norm_behind_sum(g: _core.Graph, v: Values) -> Built:
    y = g.add(conv(g, v), conv(g, v, b="b"))
    return [norm(g, v, y)], []


@cases.add("conv2d conv2d_transpose batch_norm_inference")
def norm_of_transposed(g: _core.Graph, v: Values) -> Built:
    y = g.conv2d_transpose(conv(g, v), v["point"])
    return [norm(g, v, y)], []


@cases.add("conv2d activation batch_norm_inference")
def norm_of_computed_scale(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [norm(g, v, y, gamma=relu(g, v["gamma"]))], []


@cases.add("activation conv2d batch_norm_inference")
def norm_of_computed_bias(g: _core.Graph, v: Values) -> Built:
    y = g.conv2d(v["x"], v["w"], relu(g, v["b"]))
    return [norm(g, v, y)], []


@cases.add("conv2d batch_norm_inference")
def norm_of_what_is_read_twice(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [norm(g, v, y), y], []


@cases.add("conv2d batch_norm_inference check_finite check_updates moving_average")
def norm_in_a_plan_that_trains(g: _core.Graph, v: Values) -> Built:
    g.moving_average(v["b"], v["beta"], momentum=0.5)
    y = conv(g, v)
    return [norm(g, v, y)], []


# --- sums -----------------------------------------------------------------------------------------


@cases.add("conv2d conv2d")
def sum_with_input(g: _core.Graph, v: Values) -> Built:
    shortcut = conv(g, v)
    y = conv(g, v, w="w", b="b")
    return [g.add(shortcut, y)], [y]


@cases.add("conv2d conv2d")
def sum_on_the_other_side(g: _core.Graph, v: Values) -> Built:
    shortcut = conv(g, v)
    y = conv(g, v, b="b")
    return [g.add(y, shortcut)], [y]


@cases.add("dense dense")
def sum_in_dense(g: _core.Graph, v: Values) -> Built:
    shortcut = dense(g, v)
    y = dense(g, v, shortcut, "dense8")
    return [g.add(shortcut, y)], [y]


@cases.add("conv2d conv2d_transpose")
def sum_in_transposed(g: _core.Graph, v: Values) -> Built:
    x = conv(g, v)
    y = g.conv2d_transpose(x, v["point"])
    return [g.add(x, y)], [y]


@cases.add("conv2d")
def sum_in_depthwise(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, w="depthwise")
    return [g.add(v["x"], y)], [y]


@cases.add("conv2d conv2d")
def sum_and_relu(g: _core.Graph, v: Values) -> Built:
    shortcut = conv(g, v)
    y = conv(g, v, shortcut, "w8")
    total = g.add(y, shortcut)
    return [relu(g, total)], [y, total]


@cases.add("conv2d conv2d add")
def second_sum(g: _core.Graph, v: Values) -> Built:
    x = conv(g, v)
    y = conv(g, v, x, "w8")
    total = g.add(x, y)
    return [g.add(total, x)], [y]


@cases.add("conv2d add")
def sum_of_itself(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [g.add(y, y)], []


@cases.add("conv2d avg_pool2d add")
def sum_with_a_later_value(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, w="depthwise")
    later = g.avg_pool2d(v["x"], pool_size=(1, 1), strides=(1, 1))
    return [g.add(y, later)], []


@cases.add("conv2d conv2d add")
def sum_behind_activation(g: _core.Graph, v: Values) -> Built:
    x = conv(g, v)
    y = relu(g, conv(g, v, x, "w8"))
    return [g.add(x, y)], []


@cases.add("conv2d conv2d add")
def sum_of_what_is_read_twice(g: _core.Graph, v: Values) -> Built:
    x = conv(g, v)
    y = conv(g, v, x, "w8")
    return [g.add(x, y), y], []


# --- activations ----------------------------------------------------------------------------------


@cases.add("conv2d")
def relu_of_conv2d(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [relu(g, y)], [y]


@cases.add("conv2d")
def relu6_of_conv2d(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, b="b")
    return [g.activation(y, "relu6")], [y]


@cases.add("conv2d")
def relu_of_depthwise(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, w="depthwise")
    return [relu(g, y)], [y]


@cases.add("dense")
def relu_of_dense(g: _core.Graph, v: Values) -> Built:
    y = dense(g, v)
    return [relu(g, y)], [y]


@cases.add("conv2d conv2d_transpose")
def relu_of_transposed(g: _core.Graph, v: Values) -> Built:
    y = g.conv2d_transpose(conv(g, v), v["point"], v["b"])
    return [relu(g, y)], [y]


@cases.add("conv2d activation")
def relu_twice(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [relu(g, g.activation(y, "relu6"))], [y]


@cases.add("conv2d activation conv2d activation conv2d activation")
def other_activations(g: _core.Graph, v: Values) -> Built:
    kinds = ("tanh", "sigmoid", "leaky_relu")
    return [g.activation(conv(g, v), kind) for kind in kinds], []


@cases.add("activation")
def relu_of_no_product(g: _core.Graph, v: Values) -> Built:
    y = v["x"]
    return [relu(g, y)], []


@cases.add("conv2d activation")
def relu_of_pool(g: _core.Graph, v: Values) -> Built:
    y = pool(g, conv(g, v))
    return [relu(g, y)], []


@cases.add("conv2d activation")
def relu_of_what_is_read_twice(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [relu(g, y), y], []


# --- max pools ------------------------------------------------------------------------------------


@cases.add("conv2d")
def pool_of_conv2d(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [pool(g, y)], [y]


@cases.add("conv2d")
def pool_that_leaves_a_rest(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [pool(g, y, 3, 3)], [y]


@cases.add("conv2d")
def pool_of_relu(g: _core.Graph, v: Values) -> Built:
    y = relu(g, conv(g, v, b="b"))
    return [pool(g, y)], [y]


@cases.add("conv2d")
def pool_of_norm(g: _core.Graph, v: Values) -> Built:
    y = norm(g, v, conv(g, v))
    return [pool(g, y)], [y]


@cases.add("conv2d max_pool2d")
def pool_twice(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [pool(g, pool(g, y))], [y]


@cases.add("conv2d max_pool2d")
def pool_with_overlap(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [pool(g, y, 3, 2)], []


@cases.add("conv2d max_pool2d")
def pool_with_gaps(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [pool(g, y, 2, 3)], []


@cases.add("conv2d max_pool2d")
def pool_with_padding(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [pool(g, y, 3, 3, "same")], []


@cases.add("conv2d max_pool2d")
def pool_of_depthwise(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v, w="depthwise")
    return [pool(g, y)], []


@cases.add("conv2d conv2d_transpose max_pool2d")
def pool_of_transposed(g: _core.Graph, v: Values) -> Built:
    y = g.conv2d_transpose(conv(g, v), v["point"])
    return [pool(g, y)], []


@cases.add("conv2d conv2d max_pool2d")
def pool_of_sum(g: _core.Graph, v: Values) -> Built:
    x = conv(g, v)
    y = g.add(x, conv(g, v, x, "w8"))
    return [pool(g, y)], []


@cases.add("conv2d activation max_pool2d")
def pool_of_tanh(g: _core.Graph, v: Values) -> Built:
    y = g.activation(conv(g, v), "tanh")
    return [pool(g, y)], []


@cases.add("conv2d avg_pool2d")
def pool_of_means(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [g.avg_pool2d(y, pool_size=(2, 2), strides=(2, 2))], []


@cases.add("conv2d max_pool2d")
def pool_of_what_is_read_twice(g: _core.Graph, v: Values) -> Built:
    y = conv(g, v)
    return [pool(g, y), y], []


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases, ids=str)
def test_steps(case, isa):
    check(case, isa)
