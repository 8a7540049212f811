# SPDX-License-Identifier: Apache-2.0
"""Bad and odd input at the door: a clear error with everything unchanged, or the right result."""

from __future__ import annotations

import numpy as np
import pytest

import pycnn
from pycnn.errors import DTypeError, NumericError, ShapeError
from pycnn.layers import BatchNormalization, Conv2D, Dense, Flatten, Input
from pycnn.models import Sequential

SHAPE = (6, 5, 2)
X = np.random.default_rng(0).standard_normal((7, *SHAPE)).astype(np.float32)
Y = np.arange(7) % 4


def classifier(**options):
    model = Sequential(
        [Input(SHAPE), Conv2D(3, 3, activation="relu"), Flatten(), Dense(4, activation="softmax")],
        name="net",
    )
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def regression(outputs=1, loss="mse"):
    model = Sequential([Input((3,)), Dense(outputs, activation="sigmoid")], name="net")
    model.compile("sgd", loss)
    return model


@pytest.fixture(scope="module")
def model():
    return classifier()


@pytest.fixture
def unchanged(model):
    before = model.get_weights(), model.optimizer.iterations
    yield
    for got, want in zip(model.get_weights(), before[0], strict=True):
        np.testing.assert_array_equal(got, want)
    assert model.optimizer.iterations == before[1]


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(6, 5, 2), (7, 6, 5), (7, 6, 5, 3), (7, 5, 6, 2), (7, 6, 5, 2, 1), (), (7, 60)]
)
def test_row_1_wrong_rank_or_extent(model, unchanged, shape):
    x = np.zeros(shape, np.float32)
    for call in (model.predict, lambda x: model.fit(x, Y), lambda x: model.evaluate(x, Y)):
        with pytest.raises(
            ShapeError, match=r"net: input input_layer: expected shape \(N, 6, 5, 2\)"
        ):
            call(x)


def test_row_1_a_missing_channel_axis_is_pointed_out():
    gray = Sequential([Input((4, 4, 1)), Flatten()])
    with pytest.raises(ShapeError, match=r"add the channel axis with x\[\.\.\., None\]"):
        gray.predict(np.zeros((2, 4, 4)))


def test_row_2_kernel_larger_than_the_image():
    with pytest.raises(ShapeError, match="conv2d"):
        Sequential([Input((5, 5, 1)), Conv2D(1, 7)])


def test_row_3_batch_of_0(model, unchanged):
    assert model.predict(X[:0]).shape == (0, 4)
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match="expected at least one sample, got none"):
            call(X[:0], Y[:0])


def test_row_4_zero_sized_images(model):
    with pytest.raises(ShapeError, match="expected shape"):
        model.predict(np.zeros((3, 0, 5, 2)))
    with pytest.raises(ValueError, match="shape must be >= 1"):
        Input((0, 5, 2))


def test_row_5_variance_of_one_value():
    norm = Sequential([Input((3,)), BatchNormalization()])
    norm.compile("sgd", "mse")
    before = norm.get_weights()
    x = np.ones((1, 3))
    message = "batch_normalization: needs batches of >= 2 samples, got 1"
    with pytest.raises(ValueError, match=message):
        norm.fit(x, x, batch_size=2, verbose=0)
    for got, want in zip(norm.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)


def test_rows_6_and_7_models_beyond_memory():
    huge = 2**31 - 1
    with pytest.raises((ShapeError, MemoryError)):
        Sequential([Input((huge,)), Dense(huge), Dense(huge)]).get_weights()
    with pytest.raises((ShapeError, MemoryError)):
        Sequential([Input((huge, huge, huge)), Conv2D(huge, 1)]).get_weights()


# --- kinds of numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "<f8", np.longdouble])
def test_rows_13_and_15_floats_are_converted_once(model, dtype):
    want = model.predict(X.astype("f2").astype("f4"))
    np.testing.assert_array_equal(model.predict(X.astype("f2").astype(dtype)), want)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", ">i4", "i8", "u8", "?"])
def test_row_14_integers_are_cast_and_not_scaled(model, dtype):
    whole = (np.abs(X) > 0.5).astype(dtype)
    np.testing.assert_array_equal(model.predict(whole), model.predict(whole.astype("f4")))


class Unreadable:
    def __float__(self):
        raise AssertionError("objects must not be touched")


@pytest.mark.parametrize(
    "x",
    [
        X.astype(complex),
        np.full(X.shape, Unreadable(), object),
        np.full(X.shape, None),
        X.astype(str),
        X.astype("S8"),
        np.zeros(X.shape, "M8[s]"),
        np.zeros(X.shape, "m8[s]"),
        np.zeros(X.shape, [("a", "f4")]),
        np.zeros(7, "V4"),
    ],
    ids=lambda x: str(x.dtype),
)
def test_rows_14_and_16_other_types_are_refused(model, unchanged, x):
    labels = x.reshape(7, -1)[:, 0]
    for call in (
        lambda: model.predict(x),
        lambda: model.fit(x, Y),
        lambda: model.fit(X, labels),
    ):
        with pytest.raises(DTypeError, match=r"expected real numbers, got dtype"):
            call()


def test_row_14_values_beyond_float32(model, unchanged):
    with pytest.raises(ValueError, match="a value is beyond the range of float32"):
        model.predict(np.full(X.shape, 1e300))
    assert np.isnan(model.predict(np.full((1, *SHAPE), np.inf))).all()


# --- memory layouts -----------------------------------------------------------------------------


def odd_offset(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(np.float32).reshape(x.shape)
    view[...] = x
    return view


def field(x):
    record = np.zeros(x.shape, [("pad", "u1"), ("x", "f4")])
    record["x"] = x
    return record["x"]


LAYOUTS = {
    "row 17 every other": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "row 18 reversed": lambda x: np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1],
    "row 20 Fortran order": np.asfortranarray,
    "row 20 transposed": lambda x: np.ascontiguousarray(x.transpose(3, 1, 2, 0)).transpose(
        3, 1, 2, 0
    ),
    "row 21 unaligned": odd_offset,
    "row 21 in a record": field,
    "row 27 list": lambda x: x.tolist(),
    "row 27 subclass": lambda x: x.view(np.recarray),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_make_no_difference(model, layout):
    np.testing.assert_array_equal(model.predict(layout(X)), model.predict(X))
    x = np.linspace(-1, 1, 36, dtype=np.float32).reshape(12, 3)
    y = x[:, :1] * 2
    want, got = regression(), regression()
    got.set_weights(want.get_weights())
    got.restore_seed(want.seed)
    want.fit(x, y, epochs=2, batch_size=5, verbose=0)
    try:
        laid_out = layout(x)
    except (ValueError, IndexError):  # made for images only
        return
    got.fit(laid_out, y, epochs=2, batch_size=5, verbose=0)
    np.testing.assert_array_equal(got.get_weights()[0], want.get_weights()[0])


def test_row_19_broadcast_input(model):
    same = np.broadcast_to(X[:1], X.shape)
    np.testing.assert_array_equal(model.predict(same), model.predict(same.copy()))


def test_row_22_read_only_input_is_accepted_and_never_written(model):
    x, y = X.copy(), Y.astype(np.int32)
    x.flags.writeable = y.flags.writeable = False
    np.testing.assert_array_equal(model.predict(x), model.predict(X))
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(x, X)


def test_row_27_masked_and_ragged(model, unchanged):
    with pytest.raises(DTypeError, match="got a masked one"):
        model.predict(np.ma.masked_array(X))
    with pytest.raises(ValueError, match="net: input input_layer: expected an array"):
        model.predict([[1.0, 2.0], [3.0]])
    with pytest.raises(DTypeError, match="expected real numbers"):
        model.predict(None)


def test_row_27_memmap(model, tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(model.predict(mapped), model.predict(X))


# --- labels (row 29) ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(4, "got 4 at index 2"), (-1, "got -1 at index 2"), (10**12, "got 1000000000000 at index 2")],
)
def test_class_numbers_out_of_range(model, unchanged, value, text):
    y = Y.copy()
    y[2] = y[5] = value
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=f"net: y: labels must be integers in 0..3, {text}"):
            call(X, y)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -np.inf])
def test_class_numbers_that_are_no_integers(model, unchanged, value):
    y = Y.astype(float)
    y[3] = value
    with pytest.raises(
        ValueError, match=f"labels must be integers in 0..3, got {value} at index 3"
    ):
        model.fit(X, y)


def test_whole_floats_are_class_numbers(model):
    y = Y.astype(float)
    assert model.evaluate(X, y, verbose=0) == model.evaluate(X, Y, verbose=0)


def test_labels_of_the_wrong_form(model, unchanged):
    with pytest.raises(ShapeError, match="one-hot labels go with categorical_crossentropy"):
        model.fit(X, np.eye(4)[Y])
    with pytest.raises(ShapeError, match=r"net: y: expected shape \(N\), got \(7, 3\)"):
        model.fit(X, np.eye(4)[Y][:, :3])
    one_hot = regression(4, "categorical_crossentropy")
    x = X.reshape(7, -1)[:, :3]
    with pytest.raises(ShapeError, match="class numbers go with sparse_categorical_crossentropy"):
        one_hot.fit(x, Y)
    with pytest.raises(ShapeError, match=r"net: y: expected shape \(N, 4\), got \(7, 3\)"):
        one_hot.fit(x, np.eye(4)[Y][:, :3])


def test_numbers_of_samples_that_differ(model, unchanged):
    for x, y in ((X[:5], Y), (X, Y[:5])):
        with pytest.raises(ValueError, match=r"net: x has \d samples but y has \d"):
            model.fit(x, y)
    with pytest.raises(ValueError, match="net: x has 7 samples but y has 0"):
        model.fit(X, [])


def test_labels_that_are_not_finite_or_no_probabilities():
    x = np.zeros((4, 3))
    for loss, bad, text in (
        ("mse", np.nan, "labels must be finite, got nan at index 2"),
        ("mse", np.inf, "labels must be finite, got inf at index 2"),
        ("binary_crossentropy", 2.0, r"labels must be in \[0, 1\], got 2.0 at index 2"),
        ("binary_crossentropy", -1.0, r"labels must be in \[0, 1\], got -1.0 at index 2"),
        ("binary_crossentropy", np.nan, r"labels must be in \[0, 1\], got nan at index 2"),
    ):
        net = regression(loss=loss)
        before = net.get_weights()
        with pytest.raises(ValueError, match=text):
            net.fit(x, [0.0, 1.0, bad, bad])
        np.testing.assert_array_equal(net.get_weights()[0], before[0])


# --- values that are not finite -----------------------------------------------------------------


def test_row_30_nan_stays_in_its_sample(model):
    x = X.copy()
    x[3, 2, 2, 1] = np.nan
    got = model.predict(x)
    assert np.isnan(got[3]).all()
    rest = [0, 1, 2, 4, 5, 6]
    np.testing.assert_array_equal(got[rest], model.predict(X)[rest])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_row_34_training_stops_before_the_update(value):
    net = classifier()
    net.fit(X, Y, verbose=0, shuffle=False, batch_size=4)
    before = net.get_weights()
    x = X.copy()
    x[6, 0, 0, 0] = value
    with pytest.raises(NumericError, match=r"step 4"):
        net.fit(x, Y, verbose=0, shuffle=False, batch_size=4)
    assert net.optimizer.iterations == 3
    after = net.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert (after[0] != before[0]).any()  # by the good step before it
    net.fit(X, Y, verbose=0)


def test_row_34_diverging_training_is_noticed():
    net = regression(loss="mse")
    net = Sequential([Input((3,)), Dense(1)])
    net.compile(pycnn.optimizers.SGD(1e6), "mse")
    x = np.random.default_rng(0).standard_normal((64, 3))
    with pytest.raises(NumericError):
        net.fit(x, x.sum(axis=1), epochs=50, verbose=0)
    assert all(np.isfinite(w).all() for w in net.get_weights())


# --- other arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"batch_size": -3}, "batch_size must be >= 1"),
        ({"batch_size": 2.5}, "batch_size must be an integer"),
        ({"batch_size": True}, "batch_size must be an integer"),
        ({"epochs": -1}, "fit: epochs must be >= 0"),
        ({"epochs": 1.5}, "fit: epochs must be an integer"),
        ({"validation_split": 1.0}, r"validation_split must be in \[0, 1\)"),
        ({"validation_split": -0.1}, r"validation_split must be in \[0, 1\)"),
        ({"validation_split": 0.999}, "leaves a part of 7 empty"),
        ({"validation_data": (X[:, 1:], Y)}, "expected shape"),
        ({"validation_data": (X, Y + 9)}, "labels must be integers"),
        ({"verbose": "loud"}, "verbose must be"),
    ],
)
def test_bad_options_of_fit(model, unchanged, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, Y, **options)


@pytest.mark.parametrize("threads", [-1, 10**6, 1.5, None, "2"])
def test_row_85_bad_thread_counts(threads):
    before = pycnn.num_threads()
    with pytest.raises((ValueError, TypeError)):
        pycnn.set_num_threads(threads)
    assert pycnn.num_threads() == before


def test_bad_weights(model, unchanged):
    kernel, *others = model.get_weights()
    for bad, error in (
        (kernel[..., :2], ShapeError),
        (kernel.astype(complex), DTypeError),
        (np.full(kernel.shape, None), DTypeError),
    ):
        with pytest.raises(error, match="conv2d/kernel"):
            model.set_weights([bad, *others])


def test_row_40_ten_thousand_layers():
    x = y = Input((2,))
    from pycnn.layers import Activation
    from pycnn.models import Model

    for _ in range(10_000):
        y = Activation("relu")(y)
    np.testing.assert_array_equal(Model(x, y).predict([[1.0, -1.0]]), [[1.0, 0.0]])
