# SPDX-License-Identifier: Apache-2.0
"""Layers as specs: Keras' arguments, checks, configs, and what one layer computes."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from strategies import conv_shapes, dense_shapes, pool_shapes, transposed_shapes

import pycnn
from pycnn import activations, initializers, layers, reference
from pycnn.errors import ShapeError
from pycnn.layers import Input
from pycnn.models import Model


@pycnn.register_serializable("tests")
def double(x):
    return 2 * x


EXAMPLES = {
    "Activation": "Activation('relu')",
    "Add": "Add()",
    "AveragePooling2D": "AveragePooling2D((3, 2), strides=2, padding='same')",
    "BatchNormalization": "BatchNormalization(momentum=0.9, center=False)",
    "Concatenate": "Concatenate()",
    "Conv1D": "Conv1D(6, 3, strides=2, padding='causal', groups=2)",
    "DepthwiseConv2D": "DepthwiseConv2D((3, 2), strides=2, padding='same', depth_multiplier=2)",
    "Conv2DTranspose": "Conv2DTranspose(4, 3, strides=2, padding='same', output_padding=1)",
    "Conv2D": "Conv2D(8, (3, 2), strides=2, padding=((1, 0), (2, 1)), dilation_rate=(1, 2))",
    "Dense": "Dense(3, 'elu', use_bias=False, kernel_initializer=initializers.HeNormal(seed=3))",
    "Dropout": "Dropout(0.25)",
    "Flatten": "Flatten()",
    "GlobalAveragePooling2D": "GlobalAveragePooling2D()",
    "InputLayer": "InputLayer((4, 4, 2))",
    "Lambda": "Lambda('tests>double')",
    "MaxPooling2D": "MaxPooling2D(3)",
    "UpSampling2D": "UpSampling2D((3, 1))",
}
NAMES = {**vars(layers), **vars(initializers), "initializers": initializers}

# the first arguments of Keras 3, in its order
KERAS_ORDER = {
    "Activation": ["activation"],
    "AveragePooling2D": ["pool_size", "strides", "padding", "data_format"],
    "BatchNormalization": ["axis", "momentum", "epsilon", "center", "scale", "beta_initializer",
                           "gamma_initializer", "moving_mean_initializer",
                           "moving_variance_initializer"],
    "Conv2D": ["filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate",
               "groups", "activation", "use_bias", "kernel_initializer", "bias_initializer",
               "kernel_regularizer", "bias_regularizer"],
    "Concatenate": ["axis"],
    "Conv1D": ["filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate",
               "groups", "activation", "use_bias", "kernel_initializer", "bias_initializer",
               "kernel_regularizer", "bias_regularizer"],
    "DepthwiseConv2D": ["kernel_size", "strides", "padding", "depth_multiplier", "data_format",
                        "dilation_rate", "activation", "use_bias", "depthwise_initializer",
                        "bias_initializer", "depthwise_regularizer", "bias_regularizer"],
    "Conv2DTranspose": ["filters", "kernel_size", "strides", "padding", "output_padding",
                        "data_format", "dilation_rate", "activation", "use_bias",
                        "kernel_initializer", "bias_initializer",
               "kernel_regularizer", "bias_regularizer"],
    "Dense": ["units", "activation", "use_bias", "kernel_initializer", "bias_initializer",
               "kernel_regularizer", "bias_regularizer"],
    "Dropout": ["rate"],
    "Flatten": ["data_format"],
    "GlobalAveragePooling2D": ["data_format"],
    "InputLayer": ["shape"],
    "Lambda": ["function", "arguments"],
    "MaxPooling2D": ["pool_size", "strides", "padding", "data_format"],
    "UpSampling2D": ["size", "data_format", "interpolation"],
}  # fmt: skip


def make(text):
    return eval(text, dict(NAMES))


def run(layer, *arrays):
    """What the layer computes, and its weights by name."""
    inputs = [Input(array.shape[1:]) for array in arrays]
    model = Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))
    generator = np.random.default_rng(1)
    for variable in layer.weights:
        variable.assign(generator.uniform(0.1, 1, variable.shape))
    result = model.predict(list(arrays) if len(arrays) > 1 else arrays[0])
    return result, {variable.name: variable.numpy() for variable in layer.weights}


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_near(got, want, terms=1):
    assert got.shape == want.shape
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=(terms + 8) * 2.0**-22 * scale)


@pytest.mark.parametrize("name", KERAS_ORDER)
def test_arguments_are_those_of_keras_in_its_order(name):
    parameters = inspect.signature(getattr(layers, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == KERAS_ORDER[name]


def test_every_layer_has_an_example():
    assert EXAMPLES.keys() == layers.LAYERS.keys()


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_repr_makes_the_layer_again(text):
    layer = make(text)
    again = make(repr(layer))
    assert again.get_config() == layer.get_config()
    assert repr(again) == repr(layer)


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_config_is_plain_data_and_makes_the_layer_again(text):
    layer = make(text)
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


def test_aliases():
    assert layers.MaxPool2D is layers.MaxPooling2D
    assert layers.AvgPool2D is layers.AveragePooling2D
    assert layers.GlobalAvgPool2D is layers.GlobalAveragePooling2D
    assert layers.Convolution2D is layers.Conv2D


def test_arguments_are_fixed_but_trainable_is_not():
    layer = layers.Dense(3)
    with pytest.raises(AttributeError, match="dense: units is fixed"):
        layer.units = 4
    layer.trainable = False
    assert "trainable=False" in repr(layer)


def test_first_layer_accepts_input_dim_and_input_shape():
    assert layers.Dense(3, input_dim=8).input_shape == (8,)
    assert layers.Conv2D(3, 2, input_shape=[9, 9, 1]).input_shape == (9, 9, 1)


@pytest.mark.parametrize("name", ["../../etc", "a b", "", "<script>", "x" * 256, "a\n", "a\0"])
def test_names_keep_the_rule(name):
    if not name:
        assert layers.Flatten(name=name).name == "flatten"
        return
    if name == "../../etc":  # a legal name: names are never paths
        assert layers.Flatten(name=name).name == name
        return
    with pytest.raises(ValueError, match="name must match"):
        layers.Flatten(name=name)


# --- values -------------------------------------------------------------------------------------


@given(conv_shapes(max_size=9, max_channels=8))
def test_conv2d(shape):
    x = random(shape.x_shape)
    padding = shape.padding
    if not isinstance(padding, str):
        padding = (padding[:2], padding[2:])
    layer = layers.Conv2D(
        shape.w_shape[3],
        shape.w_shape[:2],
        shape.strides,
        padding,
        dilation_rate=shape.dilation,
        groups=shape.groups,
    )
    got, w = run(layer, x)
    assert w["kernel"].shape == shape.w_shape
    want = reference.conv2d(x, w["kernel"], w["bias"], **shape.arguments)
    assert_near(got, want, terms=int(np.prod(shape.w_shape[:3])))


@given(pool_shapes(max_size=9, max_channels=8))
def test_pools(shape):
    x = random(shape.x_shape)
    for layer, op in (
        (layers.MaxPooling2D, reference.max_pool2d),
        (layers.AveragePooling2D, reference.avg_pool2d),
    ):
        made = layer(shape.pool_size, shape.strides, shape.padding)
        assert_near(run(made, x)[0], op(x, **shape.arguments))


@given(transposed_shapes(max_size=7, max_channels=8))
def test_conv2d_transpose(shape):
    x, padding = random(shape.x_shape), shape.padding
    layer = layers.Conv2DTranspose(
        shape.w_shape[2],
        shape.w_shape[:2],
        shape.strides,
        padding if isinstance(padding, str) else (padding[:2], padding[2:]),
        shape.output_padding,
        dilation_rate=shape.dilation,
        activation="tanh",
    )
    got, w = run(layer, x)
    assert w["kernel"].shape == shape.w_shape
    y = reference.conv2d_transpose(x, w["kernel"], w["bias"], **shape.arguments)
    assert_near(got, np.tanh(y), terms=int(np.prod(shape.w_shape)))


@given(dense_shapes(max_rows=5))
def test_dense(shape):
    x = random(shape.x_shape)
    got, w = run(layers.Dense(shape.w_shape[1]), x)
    assert_near(got, reference.dense(x, w["kernel"], w["bias"]), terms=shape.w_shape[0])


def test_strides_of_pools_default_to_the_window():
    x = random((2, 7, 9, 3))
    np.testing.assert_array_equal(
        run(layers.MaxPooling2D((2, 3)), x)[0], run(layers.MaxPooling2D((2, 3), (2, 3)), x)[0]
    )


@pytest.mark.parametrize("kind", (*activations.KERNELS, "softmax"))
def test_activations(kind):
    x = 3 * random((4, 10))
    want = reference.softmax(x) if kind == "softmax" else reference.activation(kind, x)
    assert_near(run(layers.Activation(kind), x)[0], want)
    inside = layers.Dense(10, activation=kind, kernel_initializer="zeros")
    got, w = run(inside, x)
    y = reference.dense(x, w["kernel"], w["bias"])
    want = reference.softmax(y) if kind == "softmax" else reference.activation(kind, y)
    assert_near(got, want, terms=10)


@pytest.mark.parametrize(("center", "scale"), [(True, True), (False, True), (False, False)])
def test_batch_normalization(center, scale):
    x = random((3, 4, 4, 5))
    layer = layers.BatchNormalization(center=center, scale=scale, epsilon=1e-2)
    got, w = run(layer, x)
    names = ["gamma"] * scale + ["beta"] * center + ["moving_mean", "moving_variance"]
    assert list(w) == names
    gamma, beta = w.get("gamma", np.ones(5)), w.get("beta", np.zeros(5))
    want = reference.batch_norm_inference(
        x, gamma, beta, w["moving_mean"], w["moving_variance"], 1e-2
    )
    assert_near(got, want, terms=8)


def test_layers_without_weights():
    x, z = random((3, 4, 5, 6)), random((3, 4, 5, 6), seed=1)
    np.testing.assert_array_equal(run(layers.Flatten(), x)[0], x.reshape(3, -1))
    np.testing.assert_array_equal(run(layers.Dropout(0.5), x)[0], x)
    np.testing.assert_array_equal(run(layers.Add(), x, z)[0], x + z)
    enlarged = x.repeat(2, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(run(layers.UpSampling2D((2, 3)), x)[0], enlarged)
    joined = np.concatenate([x, z, x], axis=-1)
    np.testing.assert_array_equal(run(layers.Concatenate(), x, z, x)[0], joined)
    np.testing.assert_array_equal(run(layers.Concatenate(axis=3), x, z, x)[0], joined)
    assert_near(run(layers.Add(), x, z, x)[0], (x.astype(float) + z) + x)
    assert_near(run(layers.GlobalAveragePooling2D(), x)[0], x.mean(axis=(1, 2), dtype=float), 20)


# --- initializers -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (5, 3), (3, 3, 4, 8), (1, 1, 1, 1)])
@pytest.mark.parametrize("name", reference.initialize.__globals__["INITIALIZERS"])
def test_initializers_are_those_of_the_reference(name, shape):
    got = initializers.get(name)(shape, seed=5 << 32 | 11, stream=3)
    want = reference.initialize(name, shape, 5 << 32 | 11, 3)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=2e-7, atol=1e-9)


def test_an_initializer_with_a_seed_ignores_the_models():
    fixed = initializers.HeNormal(seed=3)
    np.testing.assert_array_equal(fixed((4, 4), 1, 2), fixed((4, 4), 7, 8))
    free = initializers.HeNormal()
    assert (free((4, 4), 1, 2) != free((4, 4), 1, 3)).all()


def test_initializer_arguments():
    assert initializers.get("Zeros") == initializers.Zeros()
    assert initializers.get(initializers.GlorotUniform) == initializers.GlorotUniform()
    np.testing.assert_array_equal(initializers.Constant(2.5)((2,)), [2.5, 2.5])
    values = initializers.RandomUniform(-1, 3)((1000,))
    assert -1 <= values.min() < -0.9
    assert 2.9 < values.max() <= 3
    values = initializers.TruncatedNormal(mean=5.0, stddev=2.0)((2000,))
    assert np.abs(values - 5).max() <= 4
    with pytest.raises(ValueError, match="initializer: expected one of zeros, ones"):
        initializers.get("magic")


# --- refusals (robustness rows 1, 2, 4, 9) ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Dense(0)", "dense: units must be >= 1"),
        ("Dense(2.5)", "dense: units must be an integer"),
        ("Dense(True)", "dense: units must be an integer"),
        ("Dense(2**31)", "dense: units must be"),
        ("Dense(3, 'swash')", "dense: activation must be a function of pycnn.ops"),
        ("Dense(3, kernel_initializer='no')", "initializer: expected one of"),
        ("Conv2D(-1, 3)", "conv2d: filters must be >= 1"),
        ("Conv2D(8, 0)", "conv2d: kernel_size must be >= 1"),
        ("Conv2D(8, (3, 3, 3))", "conv2d: kernel_size must be 1 or 2 integers"),
        ("Conv2D(8, 3, strides=0)", "conv2d: strides must be >= 1"),
        ("Conv2D(8, 3, dilation_rate=(1, 0))", "conv2d: dilation_rate must be >= 1"),
        ("Conv2D(8, 3, groups=0)", "conv2d: groups must be >= 1"),
        ("Conv2D(8, 3, groups=3)", r"groups must divide filters \(8\), got 3"),
        ("Conv2D(8, 3, padding='full')", "conv2d: padding must be 'valid', 'same' or"),
        ("Conv2D(8, 3, padding=(1, 1, -1, 1))", "conv2d: padding must be >= 0"),
        ("Conv2D(8, 3, data_format='channels_first')", "must be 'channels_last'"),
        ("Conv2DTranspose(0, 3)", "conv2d_transpose: filters must be >= 1"),
        ("Conv2DTranspose(8, 3, 2, output_padding=2)", r"must be less than strides \(2, 2\), got"),
        ("Conv2DTranspose(8, 3, 2, output_padding=-1)", "output_padding must be >= 0"),
        ("Conv2DTranspose(8, 3, data_format='channels_first')", "must be 'channels_last'"),
        ("Concatenate(-2)", "concatenate: axis must be -1, the last one, or its number, got -2"),
        ("Concatenate(1.0)", "concatenate: axis must be an integer"),
        ("UpSampling2D(0)", "up_sampling2d: size must be >= 1"),
        ("UpSampling2D(interpolation='bilinear')", "interpolation must be 'nearest', got"),
        ("MaxPooling2D(0)", "max_pooling2d: pool_size must be >= 1"),
        ("AveragePooling2D(2, strides=-1)", "average_pooling2d: strides must be >= 1"),
        ("Dropout(1.0)", r"dropout: rate must be in \[0, 1\)"),
        ("Dropout(float('nan'))", r"dropout: rate must be in \[0, 1\)"),
        ("BatchNormalization(momentum=1.5)", "momentum must be in"),
        ("BatchNormalization(epsilon=0.0)", "epsilon must be > 0"),
        ("Input((4, 0))", "shape must be >= 1"),
        ("Input((None, 4))", "shape must be an integer"),
        ("Input(())", "shape must be 1 to 7 extents"),
    ],
)
def test_bad_arguments_are_refused_when_the_layer_is_made(text, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(text)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("Conv2D(8, 3)", (32, 32), r"conv2d: input must have shape \(N, H, W, C\), got"),
        ("Conv2D(8, 7)", (5, 9, 3), "conv2d"),
        ("Conv2D(8, 3, groups=2)", (9, 9, 3), r"input's channels \(3\), got 2"),
        ("Conv2DTranspose(8, 3)", (32, 32), r"must have shape \(N, P, Q, C\), got"),
        ("Conv2DTranspose(8, 1, padding=((1, 1), (0, 0)))", (2, 9, 3), "output height"),
        ("MaxPooling2D(3)", (2, 9, 3), "max_pool"),
        ("MaxPooling2D()", (9,), "max_pooling2d: input must have shape"),
        ("GlobalAveragePooling2D()", (9, 3), "global_average_pooling2d: input must have shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_when_the_layer_is_called(text, shape, message):
    with pytest.raises(ShapeError, match=message):
        make(text)(Input(shape))


def test_layers_of_several_inputs_refuse_different_shapes_and_single_inputs():
    with pytest.raises(ShapeError, match="add"):
        layers.Add()([Input((3,)), Input((4,))])
    with pytest.raises(ShapeError, match=r"inputs\[1\] must have shape"):
        layers.concatenate([Input((3, 4)), Input((4, 4))])
    with pytest.raises(ValueError, match=r"axis must be the last one \(-1 or 2\), got 1"):
        layers.concatenate([Input((3, 4)), Input((3, 4))], axis=1)
    with pytest.raises(ValueError, match="2 or more inputs"):
        layers.Concatenate()(Input((3,)))
    with pytest.raises(ValueError, match="2 or more inputs"):
        layers.Add()(Input((3,)))


def test_activation_none_is_linear():
    """As in Keras, and as every layer that takes an activation has it."""
    x = Input((3,))
    model = Model(x, layers.Activation(None)(x))
    np.testing.assert_array_equal(model.predict(np.ones((2, 3))), np.ones((2, 3)))


def test_a_layer_called_on_an_array_runs_at_once():
    layer = layers.Dense(3, activation="relu")
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    y = layer(x)
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(y, np.maximum(x @ kernel + bias, 0), rtol=1e-5, atol=1e-6)
    assert type(y.numpy()) is np.ndarray
    layer.set_weights([2 * kernel, bias])
    np.testing.assert_allclose(layer(x), 2 * y, rtol=1e-5, atol=1e-6)
    pool = layers.MaxPooling2D(2)
    assert pool(np.zeros((3, 4, 6, 5))).shape == (3, 2, 3, 5)
    both = layers.Add()([x, x])
    np.testing.assert_array_equal(both, 2 * x)
    with pytest.raises(TypeError, match="dense: expected the output of a layer"):
        layers.Dense(3)("text")
