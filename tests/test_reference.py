# SPDX-License-Identifier: Apache-2.0
"""The NumPy definitions against naive loops, finite differences, adjoints and known answers."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import conv_shapes, dense_shapes, pool_shapes, random_array, seeds, small_integers

from pycnn import reference

small_convs = conv_shapes(max_batch=2, max_channels=4, max_window=3)
few = settings(max_examples=25)
BACKWARD = [name for name in dir(reference) if name.endswith("_backward")]
LOSSES = [n.removesuffix("_backward") for n in BACKWARD if "entropy" in n or "squared" in n]
KINDS = [kind for kind in reference.ACTIVATIONS if kind != "step"]
FANS = {"glorot": 2 / (9 * 16 + 9 * 64), "he": 2 / (9 * 16), "lecun": 1 / (9 * 16)}  # variances


def check_gradient(f, x, dx, seed, h=1e-4):
    """Directional derivative of f along a random v: central differences (4th order) vs dx."""
    assert dx.shape == x.shape
    v = random_array(x.shape, seed, 99)
    near, far = f(x + h * v) - f(x - h * v), f(x + 2 * h * v) - f(x - 2 * h * v)
    tolerance = 1e-6 * np.abs(dx * v).sum() + 1e-10 * (1 + abs(f(x)))  # rounding of f, over h
    assert abs((8 * near - far) / (12 * h) - (dx * v).sum()) <= tolerance


def dot(a, b):
    return float((a * b).sum())


def test_lecture_convolution():
    """The slide's 7x7 image and 3x3 kernel; its row 5, column 3 is misprinted as 1."""
    rows = "0000001 0101100 0010011 0010000 0000100 0111110 0000000".split()
    image = np.array([[int(v) for v in row] for row in rows])
    kernel = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 1]])
    y = reference.conv2d(image[None, :, :, None], kernel[:, :, None, None])
    expected = [[1, 2, 0, 2, 4], [1, 2, 2, 0, 0], [1, 0, 2, 2, 1], [3, 2, 2, 2, 2], [0, 1, 2, 1, 1]]
    assert y[0, :, :, 0].tolist() == expected


def naive_conv2d(x, w, case):
    y = np.zeros(case.y_shape)
    (top, _), (left, _) = case.pads
    (u, v), (e, f) = case.strides, case.dilation
    (H, W), (R, S, C, K) = x.shape[1:3], w.shape
    for n, p, q, k in np.ndindex(y.shape):
        group = k // (K // case.groups)
        for r, s, c in product(range(R), range(S), range(C)):
            i, j = p * u + r * e - top, q * v + s * f - left
            if 0 <= i < H and 0 <= j < W:
                y[n, p, q, k] += x[n, i, j, group * C + c] * w[r, s, c, k]
    return y


@few
@given(conv_shapes(max_batch=1, max_size=7, max_channels=3, max_window=3), seeds)
def test_conv2d_is_the_naive_loop(case, seed):
    x, w = small_integers(case.x_shape, seed), small_integers(case.w_shape, seed, 1)
    b = small_integers(case.w_shape[3:], seed, 2)
    y = reference.conv2d(x, w, b, **case.arguments)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, naive_conv2d(x, w, case) + b)


@given(small_convs, seeds)
def test_conv2d_adjoints_are_exact(case, seed):
    x, w = small_integers(case.x_shape, seed), small_integers(case.w_shape, seed, 1)
    dy = small_integers(case.y_shape, seed, 2)
    forward = dot(reference.conv2d(x, w, **case.arguments), dy)
    dx = reference.conv2d_backward_data(dy, w, case.x_shape, **case.arguments)
    dw = reference.conv2d_backward_weights(x, dy, case.w_shape, **case.arguments)
    assert forward == dot(x, dx) == dot(w, dw)


@few
@given(small_convs, seeds)
def test_conv2d_gradients(case, seed):
    x, w = random_array(case.x_shape, seed), random_array(case.w_shape, seed, 1)
    b, dy = random_array(case.w_shape[3:], seed, 2), random_array(case.y_shape, seed, 3)

    def loss(x, w, b):
        return dot(reference.conv2d(x, w, b, **case.arguments), dy)

    dx = reference.conv2d_backward_data(dy, w, case.x_shape, **case.arguments)
    dw = reference.conv2d_backward_weights(x, dy, case.w_shape, **case.arguments)
    check_gradient(lambda x: loss(x, w, b), x, dx, seed)
    check_gradient(lambda w: loss(x, w, b), w, dw, seed)
    check_gradient(lambda b: loss(x, w, b), b, reference.bias_backward(dy), seed)


def test_same_padding_puts_the_odd_pixel_last():
    cases = {(5, 3, 1, 1): (1, 1), (6, 3, 2, 1): (0, 1), (7, 2, 1, 1): (0, 1), (8, 3, 1, 3): (3, 3)}
    for rows, pads in cases.items():  # (size, kernel, stride, dilation)
        assert reference.conv_padding("same", *((v, 1) for v in rows)) == (pads, (0, 0))


def test_padding_is_not_multiplied():
    y = reference.conv2d(np.ones((1, 2, 2, 1)), np.full((3, 3, 1, 1), np.inf), padding="same")
    assert np.all(y == np.inf)


@few
@given(dense_shapes(max_rank=4), seeds)
def test_dense_gradients(case, seed):
    x, w = random_array(case.x_shape, seed), random_array(case.w_shape, seed, 1)
    b, dy = random_array(case.w_shape[1:], seed, 2), random_array(case.y_shape, seed, 3)
    assert reference.dense(x, w, b).shape == case.y_shape
    dx, dw = reference.dense_backward_data(dy, w), reference.dense_backward_weights(x, dy)
    check_gradient(lambda x: dot(reference.dense(x, w, b), dy), x, dx, seed)
    check_gradient(lambda w: dot(reference.dense(x, w, b), dy), w, dw, seed)
    db = reference.bias_backward(dy)
    check_gradient(lambda b: dot(reference.dense(x, w, b), dy), b, db, seed)


def test_dense_and_flatten_by_hand():
    assert reference.dense([[1, 2]], [[3, 4, 5], [6, 7, 8]], [1, 0, -1]).tolist() == [[16, 18, 20]]
    x = np.arange(24.0).reshape(2, 2, 3, 2)
    flat = reference.reshape(x)
    assert flat.tolist() == [list(range(12)), list(range(12, 24))]
    np.testing.assert_array_equal(reference.reshape(flat, x), x)


def pool_windows(x, case):
    """Yield ((n, p, q, c), pixels inside the window, their positions in x), row-major."""
    (top, _), (left, _) = case.pads
    for n, p, q, c in np.ndindex(case.y_shape):
        i, j = p * case.strides[0] - top, q * case.strides[1] - left
        taps = product(range(i, i + case.pool_size[0]), range(j, j + case.pool_size[1]))
        at = [(n, h, w, c) for h, w in taps if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]]
        yield (n, p, q, c), [x[a] for a in at], at


@few
@given(pool_shapes(max_batch=1, max_size=7, max_channels=2, max_window=3), seeds, st.booleans())
def test_pools_are_the_naive_loops(case, seed, with_nan):
    x = small_integers(case.x_shape, seed, limit=2)  # few values: many ties
    average = reference.avg_pool2d(x, **case.arguments)
    if with_nan:
        x[x == 1] = np.nan
    highest, dy = reference.max_pool2d(x, **case.arguments), small_integers(case.y_shape, seed, 1)
    dx = np.zeros(x.shape)
    for at, pixels, positions in pool_windows(x, case):
        if not with_nan:
            assert average[at] == pytest.approx(np.mean(pixels), rel=1e-15, abs=1e-15)
        np.testing.assert_array_equal(highest[at], np.max(pixels))  # np.max propagates NaN
        dx[positions[np.argmax(pixels)]] += dy[at]  # first maximum, first NaN if any
    np.testing.assert_array_equal(reference.max_pool2d_backward(x, dy, **case.arguments), dx)


@few
@given(pool_shapes(max_batch=2, max_channels=3, max_window=3), seeds)
def test_pool_gradients(case, seed):
    count = math.prod(case.x_shape)
    x = np.random.default_rng(seed).permutation(count).reshape(case.x_shape) * 0.1  # no ties
    dy = random_array(case.y_shape, seed, 1)
    dx = reference.max_pool2d_backward(x, dy, **case.arguments)
    check_gradient(lambda x: dot(reference.max_pool2d(x, **case.arguments), dy), x, dx, seed)
    dx = reference.avg_pool2d_backward(dy, x.shape, **case.arguments)
    check_gradient(lambda x: dot(reference.avg_pool2d(x, **case.arguments), dy), x, dx, seed)
    dy = dy[:, 0, 0, :]
    dx = reference.global_avg_pool2d_backward(dy, x.shape)
    check_gradient(lambda x: dot(reference.global_avg_pool2d(x), dy), x, dx, seed)


def test_max_pool_of_minus_infinity_still_has_a_winner():
    x = np.full((1, 2, 2, 1), -np.inf)
    dx = reference.max_pool2d_backward(x, np.ones((1, 1, 1, 1)), (2, 2))
    assert dx.ravel().tolist() == [1, 0, 0, 0]


@few
@given(conv_shapes(max_batch=3, max_channels=5), seeds)
def test_batch_norm(case, seed):
    x, dy = 3 + 2 * random_array(case.x_shape, seed), random_array(case.x_shape, seed, 1)
    gamma, beta = random_array(case.x_shape[3:], seed, 2), random_array(case.x_shape[3:], seed, 3)
    epsilon = 1e-3
    y, mean, var = reference.batch_norm_training(x, gamma, beta, epsilon)
    rows = x.reshape(-1, x.shape[-1])
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(var, ((rows - mean) ** 2).mean(axis=0), rtol=1e-12)
    inferred = reference.batch_norm_inference(x, gamma, beta, mean, var, epsilon)
    np.testing.assert_array_equal(inferred, y)

    def loss(x, gamma, beta):
        return dot(reference.batch_norm_training(x, gamma, beta, epsilon)[0], dy)

    dx, dgamma, dbeta = reference.batch_norm_backward(x, gamma, mean, var, dy, epsilon)
    if len(rows) > 2:  # below that var may be near 0 and the curvature too high for differences
        check_gradient(lambda x: loss(x, gamma, beta), x, dx, seed)
    check_gradient(lambda gamma: loss(x, gamma, beta), gamma, dgamma, seed)
    check_gradient(lambda beta: loss(x, gamma, beta), beta, dbeta, seed)
    assert reference.moving_average([1.0], [2.0], 0.75).tolist() == [1.25]


@few
@given(st.sampled_from(KINDS), st.sampled_from((None, 0.0, 0.3, 1.5)), seeds)
def test_activation_gradients(kind, alpha, seed):
    alpha = alpha if kind in ("leaky_relu", "elu") else None
    x = 4 * random_array((5, 17), seed)
    x[np.abs(x[..., None] - [-3, 0, 3, 6]).min(axis=-1) < 0.01] = 1.0  # away from the kinks
    dy = random_array(x.shape, seed, 1)
    dx = reference.activation_backward(kind, reference.activation(kind, x, alpha), dy, alpha)
    check_gradient(lambda x: dot(reference.activation(kind, x, alpha), dy), x, dx, seed)


def test_activations_by_hand():
    x = [-1000.0, -1.0, 0.0, 0.5, 7.0, np.nan]
    expected = {
        "step": [0, 0, 1, 1, 1, 0],
        "relu": [0, 0, 0, 0.5, 7, np.nan],
        "relu6": [0, 0, 0, 0.5, 6, np.nan],
        "leaky_relu": [-200, -0.2, 0, 0.5, 7, np.nan],
        "elu": [-1, math.expm1(-1), 0, 0.5, 7, np.nan],
        "hard_sigmoid": [0, 1 / 3, 0.5, 3.5 / 6, 1, np.nan],
        "sigmoid": [0, 1 / (1 + math.e), 0.5, 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(-7))],
    }
    for kind, values in expected.items():
        y = reference.activation(kind, x)[: len(values)]
        np.testing.assert_allclose(y, values, rtol=1e-15, err_msg=kind)


@few
@given(dense_shapes(max_rank=3), seeds)
def test_softmax(case, seed):
    x, dy = 3 * random_array(case.x_shape, seed), random_array(case.x_shape, seed, 1)
    y = reference.softmax(x)
    np.testing.assert_allclose(y.sum(axis=-1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(reference.softmax(x + 1e4), y, rtol=1e-9)
    dx = reference.softmax_backward(y, dy)
    check_gradient(lambda x: dot(reference.softmax(x), dy), x, dx, seed)


@given(st.sampled_from(LOSSES), dense_shapes(max_rank=3), seeds)
@settings(max_examples=70)
def test_loss_gradients(name, case, seed):
    rng, K = np.random.default_rng(seed), case.x_shape[-1]
    logits = name.endswith("_logits") or name.startswith("mean")
    y_pred = rng.normal(size=case.x_shape) if logits else rng.uniform(0.1, 0.9, case.x_shape)
    sparse = name.startswith("sparse")
    y_true = rng.integers(0, K, case.x_shape[:-1]) if sparse else rng.uniform(size=case.x_shape)
    dy_pred = getattr(reference, name + "_backward")(y_true, y_pred)
    check_gradient(lambda p: getattr(reference, name)(y_true, p), y_pred, dy_pred, seed)


def test_losses_by_hand():
    """Values from the Keras documentation, and the clipping at both ends."""
    t, p = [[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]
    mean = -(math.log(0.95) + math.log(0.1)) / 2
    assert reference.categorical_crossentropy(t, p) == pytest.approx(mean)
    assert reference.sparse_categorical_crossentropy([[1], [2]], p) == pytest.approx(mean)
    assert reference.categorical_crossentropy(t, np.multiply(p, 7)) == pytest.approx(mean)
    assert reference.mean_squared_error([1, 0, 1], [1, 1, 0]) == pytest.approx(2 / 3)
    assert reference.binary_crossentropy([1.0], [0.0]) == pytest.approx(16.118095)
    assert reference.binary_crossentropy([0.0], [1.0]) == pytest.approx(15.942385)  # float32 bound
    assert not reference.binary_crossentropy_backward([0.0, 1.0], [1.0, 0.0]).any()
    assert reference.binary_crossentropy_from_logits([0.0, 1.0], [900.0, -900.0]) == 900.0


@few
@given(dense_shapes(), seeds)
def test_from_logits_is_the_loss_of_the_activation(case, seed):
    x, t = random_array(case.x_shape, seed), np.abs(small_integers(case.x_shape, seed, 1)) / 4
    p = reference.activation("sigmoid", x)
    expected = reference.binary_crossentropy(t, p)
    assert reference.binary_crossentropy_from_logits(t, x) == pytest.approx(expected)
    expected = reference.categorical_crossentropy(t, reference.softmax(x))
    got = reference.categorical_crossentropy_from_logits(t, x)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)  # one class: p = 1 is clipped


def test_metrics_by_hand():
    assert reference.accuracy([1, 2, 3, 4], [0, 2, 3, 4]) == 3
    assert reference.binary_accuracy([[1], [1], [0], [0]], [[0.98], [0.5], [0.5], [0.6]]) == 2
    assert reference.binary_accuracy([1, 0], [[0.98], [0.2]]) == 2
    assert reference.binary_accuracy([[1, 0], [1, 1]], [[0.9, 0.9], [0.9, 0.9]]) == 1.5
    assert reference.categorical_accuracy([[0, 0, 1], [1, 0, 0]], [[0, 1, 1], [0.4, 0.4, 0.2]]) == 1
    assert reference.sparse_categorical_accuracy([[2], [1]], [[0.1, 0.6, 0.3], [0, 1, 0]]) == 1


def test_sgd_by_hand():
    assert [float(a[0]) for a in reference.sgd([1.0], [2.0], [5.0], 0.25)] == [0.5, 5.0]
    w, velocity = reference.sgd([1.0], [2.0], [4.0], 0.25, momentum=0.5)
    assert (w[0], velocity[0]) == (2.5, 1.5)
    w, velocity = reference.sgd([1.0], [2.0], [4.0], 0.25, momentum=0.5, nesterov=True)
    assert (w[0], velocity[0]) == (1.25, 1.5)
    assert reference.sgd([1.0], [0.0], [0.0], 0.5, weight_decay=0.5)[0][0] == 0.75


def test_adam_by_hand():
    """The first step is lr * sign(g), whatever the size of g; two steps by the textbook form."""
    w, m, v = reference.adam([1.0, 1.0], [3.0, -0.01], [0, 0], [0, 0], 1, 0.1, epsilon=0.0)
    np.testing.assert_allclose(w, [0.9, 1.1], rtol=1e-12)
    w, m, v = reference.adam(w, [1.0, 1.0], m, v, 2, 0.1, epsilon=0.0, weight_decay=0.01)
    first = 0.9 * np.array([0.3, -0.001]) + 0.1
    second = 0.999 * np.array([0.009, 1e-7]) + 0.001
    step = 0.1 * (first / (1 - 0.9**2)) / np.sqrt(second / (1 - 0.999**2))
    np.testing.assert_allclose(w, np.array([0.9, 1.1]) * 0.999 - step, rtol=1e-9)


PHILOX = """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""  # counter, key, output: the known answers of the Random123 distribution


def test_philox_known_answers():
    words = np.array([[int(word, 16) for word in line.split()] for line in PHILOX.split("\n")[1:4]])
    for line in words:
        assert reference.philox4x32(line[:4], line[4:6]).tolist() == line[6:].tolist()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 99), st.data())
def test_uniform_is_philox_by_index(seed, stream, step, data):
    count = data.draw(st.integers(1, 40))
    i = data.draw(st.integers(0, count - 1))
    words = reference.philox4x32([i // 4, 0, stream, step], [seed & 0xFFFFFFFF, seed >> 32])
    u = reference.uniform(seed, stream, step, count)
    assert u.dtype == np.float32 and u.shape == (count,)
    assert u[i] == (int(words[i % 4]) >> 8) / 2**24


def test_normal_is_box_muller():
    u, z = reference.uniform(7, 3, 0, 6).astype(float), reference.normal(7, 3, 5)
    radius = np.sqrt(-2 * np.log(1 - u[0::2]))
    pairs = radius * np.cos(2 * np.pi * u[1::2]), radius * np.sin(2 * np.pi * u[1::2])
    np.testing.assert_allclose(z, np.stack(pairs, axis=1).ravel()[:5], rtol=1e-14)


def test_distributions():
    count = 40_000
    u, z = reference.uniform(1, 2, 3, count), reference.normal(1, 2, count)
    cut = reference.truncated_normal(1, 2, count)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.006
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.015
    assert np.abs(cut).max() <= 2 and abs(cut.mean()) < 0.02
    assert abs(cut.std() - 0.87962566103423978) < 0.012
    np.testing.assert_array_equal(cut[np.abs(z) <= 2], z[np.abs(z) <= 2])  # only others redrawn
    np.testing.assert_array_equal(reference.truncated_normal(1, 2, 999), cut[:999])


def test_dropout():
    x, args = np.full((40, 50), 3.0), (0.25, 5, 1, 2)
    y = reference.dropout(x, *args)
    keep = reference.uniform(5, 1, 2, x.size).reshape(x.shape) >= 0.25
    np.testing.assert_array_equal(y, np.where(keep, 4.0, 0.0))
    np.testing.assert_array_equal(reference.dropout_backward(x, *args), y)
    assert abs(keep.mean() - 0.75) < 0.04


@pytest.mark.parametrize("family, distribution", [*product(FANS, ("uniform", "normal"))])
def test_scaled_initializers(family, distribution):
    w = reference.initialize(f"{family}_{distribution}", (3, 3, 16, 64), 1, 0)
    deviation = math.sqrt(FANS[family])
    limit = math.sqrt(3) if distribution == "uniform" else 2 / 0.87962566103423978
    assert w.dtype == np.float32 and w.shape == (3, 3, 16, 64)
    assert w.std() == pytest.approx(deviation, rel=0.03)
    assert 0.98 * limit * deviation < np.abs(w).max() <= limit * deviation * 1.000001


def test_fixed_initializers():
    args = ((50, 80), 1, 0)
    assert not reference.initialize("zeros", *args).any()
    assert (reference.initialize("ones", *args) == 1).all()
    assert np.abs(reference.initialize("random_uniform", *args)).max() <= 0.05
    assert np.abs(reference.initialize("truncated_normal", *args)).max() <= 0.1
    assert reference.initialize("random_normal", *args).std() == pytest.approx(0.05, rel=0.05)


X, W = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 4))
REFUSED = [
    ("conv2d: x must be of rank 4", "conv2d", X[0], W),
    ("conv2d: strides must be >= 1, got 0", "conv2d", X, W, None, (0, 1)),
    ("conv2d: w must be for 2 input channels", "conv2d", X, W[:, :, :1]),
    ("conv2d: padding must be", "conv2d", X, W, None, (1, 1), "full"),
    ("conv2d: w must be no larger", "conv2d", X, W, None, (1, 1), "valid", (2, 2)),
    ("conv2d_backward_data: dy must be of shape", "conv2d_backward_data", X, W, X.shape),
    ("conv2d_backward_weights: dy must", "conv2d_backward_weights", X, X, W.shape),
    ("dense: b must be of shape", "dense", [[1, 2]], [[1], [2]], [1, 2]),
    ("max_pool2d: padding must be less", "max_pool2d", X, (2, 2), None, (2, 0, 0, 0)),
    ("add: b must be of shape", "add", [1, 2], [1]),
    ("activation: kind must be one of", "activation", "gelu", X),
    ("activation_backward: kind must be diff", "activation_backward", "step", X, X),
    ("labels must be integers in", "sparse_categorical_accuracy", [2], [[0, 1]]),
    ("adam: step must be >= 1, got 0", "adam", [1], [1], [1], [1], 0),
    ("dropout: rate must be in .0, 1., got 1.0", "dropout", X, 1.0, 0, 0, 0),
    ("initialize: name must be one of", "initialize", "magic", (1,), 0, 0),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_bad_arguments_are_named(case):
    message, op, *arguments = case
    with pytest.raises(ValueError, match=message):
        getattr(reference, op)(*arguments)
