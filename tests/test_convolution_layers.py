# SPDX-License-Identifier: Apache-2.0
"""Conv1D and DepthwiseConv2D: kernels whose shape is not the one that graphs know."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_layers import assert_near, random, run

import pycnn
from pycnn import Sequential, layers, reference
from pycnn.errors import ShapeError
from pycnn.layers import Conv1D, DepthwiseConv2D, Input


@st.composite
def sequences(draw):
    """(x, arguments of Conv1D)"""
    groups = draw(st.integers(1, 3))
    size, dilation = draw(st.sampled_from((1, 2, 3, 5))), draw(st.integers(1, 3))
    padding = draw(st.sampled_from(("valid", "same", "causal")))
    least = (size - 1) * dilation + 1 if padding == "valid" else 1
    width = draw(st.integers(least, least + 9))
    arguments = {
        "filters": groups * draw(st.integers(1, 3)),
        "kernel_size": size,
        "strides": draw(st.integers(1, 3)),
        "padding": padding,
        "dilation_rate": dilation,
        "groups": groups,
    }
    return random((draw(st.integers(1, 3)), width, groups * draw(st.integers(1, 3)))), arguments


@given(sequences())
def test_conv1d(case):
    x, arguments = case
    got, w = run(Conv1D(**arguments, activation="tanh"), x)
    S, dilation = arguments["kernel_size"], arguments["dilation_rate"]
    assert w["kernel"].shape == (S, x.shape[2] // arguments["groups"], arguments["filters"])
    padding = arguments["padding"]
    if padding == "causal":
        padding = (0, 0, (S - 1) * dilation, 0)
    y = reference.conv2d(
        x[:, None],
        w["kernel"][None],
        w["bias"],
        strides=(1, arguments["strides"]),
        padding=padding,
        dilation=(1, dilation),
        groups=arguments["groups"],
    )
    assert_near(got, np.tanh(y[:, 0]), terms=S * x.shape[2])


@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 3)])
def test_causal_means_that_the_future_changes_nothing(strides, dilation):
    layer = Conv1D(3, 4, strides, "causal", dilation_rate=dilation)
    x = random((1, 20, 2))
    model = Sequential([Input((20, 2)), layer])
    before = model.predict(x)
    for column in range(20):
        changed = x.copy()
        changed[:, column:] += 1
        after = model.predict(changed)
        seen = -(-column // strides)  # outputs that end before it
        np.testing.assert_array_equal(after[:, :seen], before[:, :seen])
        if seen < after.shape[1]:
            assert (after[:, seen] != before[:, seen]).any()


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(("valid", "same", (1, 0, 2, 1))),
    st.sampled_from(((1, 1), (2, 1), (3, 2))),
    st.sampled_from(((1, 1), (1, 2))),
)
def test_depthwise_conv2d(channels, multiplier, padding, strides, dilation):
    x = random((2, 7, 8, channels))
    layer = DepthwiseConv2D(
        (3, 2),
        strides,
        padding if isinstance(padding, str) else (padding[:2], padding[2:]),
        multiplier,
        dilation_rate=dilation,
    )
    got, w = run(layer, x)
    assert w["kernel"].shape == (3, 2, channels, multiplier)
    window = {"strides": strides, "padding": padding, "dilation": dilation}
    alone = [
        reference.conv2d(x[..., [c]], w["kernel"][:, :, [c]], None, **window)
        for c in range(channels)
    ]
    assert_near(got, np.concatenate(alone, axis=-1) + w["bias"], terms=6)


def sequence_model(optimizer="adam"):
    pycnn.set_seed(5)
    stack = [Input((12, 3)), Conv1D(4, 3, padding="causal", activation="relu")]
    model = Sequential([*stack, Conv1D(2, 2, 2), layers.Flatten(), layers.Dense(2)])
    model.compile(optimizer, "mse")
    return model, random((10, 12, 3)), random((10, 2), 1)


def image_model(optimizer="adam"):
    pycnn.set_seed(5)
    model = Sequential(
        [
            Input((6, 6, 3)),
            DepthwiseConv2D(3, depth_multiplier=2, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    model.compile(optimizer, "mse")
    return model, random((10, 6, 6, 3)), random((10, 2), 1)


@pytest.mark.parametrize("make", [sequence_model, image_model])
def test_they_train_are_saved_and_go_on(make, tmp_path):
    model, x, y = make()
    losses = model.fit(x, y, 5, 30, verbose=0).history["loss"]
    assert losses[-1] < losses[0] * 0.9
    model.save(tmp_path / "m.pycnn")
    again = pycnn.load_model(tmp_path / "m.pycnn")
    for one in (model, again):
        one.fit(x, y, 5, 2, verbose=0)
    for mine, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(copy.deepcopy(model).predict(x), again.predict(x))


def test_the_gradient_step_is_that_of_the_reference():
    model, x, y = sequence_model(pycnn.optimizers.SGD(0.5))
    w = [a.astype(np.float64) for a in model.get_weights()]
    model.train_on_batch(x, y)
    first = model.layers[1] if type(model.layers[0]).__name__ == "InputLayer" else model.layers[0]
    h = reference.conv2d(x[:, None], w[0][None], w[1], padding=(0, 0, 2, 0))
    a = np.maximum(h, 0)
    z = reference.conv2d(a, w[2][None], w[3], strides=(1, 2))
    out = z.reshape(10, -1) @ w[4] + w[5]
    dz = ((2 / out.size) * (out - y) @ w[4].T).reshape(z.shape)
    shape = a.shape
    da = reference.conv2d_backward_data(dz, w[2][None], shape, strides=(1, 2)) * (h > 0)
    dw = reference.conv2d_backward_weights(x[:, None], da, w[0][None].shape, padding=(0, 0, 2, 0))
    assert_near(first.weights[0].numpy(), w[0] - 0.5 * dw[0], terms=200)


def test_fans_are_those_of_keras():
    """Of (S, C, K): S*C and S*K. Of (R, S, C, M): R*S*C and R*S*M."""
    for layer, shape, limit in (
        (Conv1D(8, 5), (40, 4), np.sqrt(6 / (5 * 4 + 5 * 8))),
        (DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 16), np.sqrt(6 / (9 * 16 + 9 * 2))),
    ):
        Sequential([Input(shape), layer])
        values = layer.weights[0].numpy()
        assert limit * 0.9 < np.abs(values).max() <= limit


def test_bad_arguments():
    for bad, message in (
        ({"padding": "full"}, "padding must be 'valid', 'same' or 'causal', got 'full'"),
        ({"kernel_size": 0}, "kernel_size must be >= 1"),
        ({"kernel_size": (3, 3)}, "kernel_size must be an integer"),
        ({"groups": 3}, r"groups must divide filters \(4\), got 3"),
        ({"data_format": "channels_first"}, "data_format must be 'channels_last'"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"conv1d: {message}"):
            Conv1D(**{"filters": 4, "kernel_size": 3, **bad})
    with pytest.raises(ShapeError, match=r"conv1d: input must have shape \(N, W, C\), got"):
        Conv1D(4, 3)(Input((5, 5, 1)))
    with pytest.raises(ShapeError, match="conv1d: groups must divide the input's channels"):
        Conv1D(4, 3, groups=2)(Input((5, 3)))
    with pytest.raises(ShapeError, match="output width"):
        Conv1D(4, 3)(Input((2, 3)))
    with pytest.raises(ValueError, match="depthwise_conv2d: depth_multiplier must be >= 1 "):
        DepthwiseConv2D(3, depth_multiplier=0)
    with pytest.raises(ShapeError, match=r"variable: \(2, 3\) cannot be seen as \(5,\)"):
        pycnn._core.Variable((2, 3), None, (5,))
    with pytest.raises(ShapeError, match=r"depthwise_conv2d: input must have shape"):
        DepthwiseConv2D(3)(Input((5, 3)))
