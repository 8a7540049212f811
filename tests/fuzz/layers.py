#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the Python layers: random models put through random calls.

What is refused is refused by a named error; copies and files predict the same bits, and train to
the same bits; a damaged file loads to a model that works or raises ModelFormatError.
"""

from __future__ import annotations

import copy
import json
import pickle
import random
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import Finding, main
from model_cases import REFUSALS, ModelMaker
from mutations import mutated
from numpy.typing import NDArray

import pycnn
from pycnn import errors, limits, reference
from pycnn.files import saving

Array = NDArray[Any]

LIMIT = 1 << 27
MAX_WEIGHTS = 1 << 20
MAX_CLASSES = 512  # the reference makes a square of labels
LOSSES = ("mse", "binary_crossentropy", "categorical_crossentropy")
SPARSE = "sparse_categorical_crossentropy"
METRICS = ("accuracy", "mse", "binary_accuracy", "categorical_accuracy")


class Session:
    """A model, data for it, and what may be done with both."""

    def __init__(self, seed: int, number: int, say: Callable[[str], None]) -> None:
        self.rng = random.Random(f"{seed}/{number}")
        self.numbers = np.random.default_rng([seed, number])
        self.say = say
        self.maker = ModelMaker(self.rng, self.rng.choice((0.0, 0.0, 0.05, 0.3)), say)
        pycnn.set_seed(self.rng.randrange(2**31))
        self.model: Any = self.maker.model()
        self.outcomes: set[str] = set()
        self.loss = ""

    def data(self, samples: int | None = None) -> tuple[Any, Any]:
        """Inputs, and labels that suit the loss."""
        N = samples or self.rng.choice((1, 2, 3, 5, 8))
        inputs = [self.images((N, *t.shape[1:])) for t in self.model.network.inputs]
        x = inputs if len(inputs) > 1 else inputs[0]
        shape = (N, *self.model.output_shape[1:])
        if self.loss == SPARSE:
            return x, self.numbers.integers(0, shape[-1], shape[:-1])
        if self.loss == "categorical_crossentropy":
            ones = np.zeros(shape)
            places = self.numbers.integers(0, shape[-1], (*shape[:-1], 1))
            np.put_along_axis(ones, places, 1, -1)
            return x, ones
        if self.loss == "binary_crossentropy":
            return x, self.numbers.integers(0, 2, shape)
        return x, self.images(shape)

    def images(self, shape: tuple[int, ...]) -> Array:
        return self.numbers.standard_normal(shape).astype(np.float32)

    def predict(self, model: Any, x: Any, batch_size: int | None = None) -> list[Array]:
        result = model.predict(x, batch_size)
        return result if isinstance(result, list) else [result]

    # ---- actions ----

    def compile(self) -> None:
        rng = self.rng
        self.loss = rng.choice((*LOSSES, SPARSE))
        rate = rng.choice((0.01, 0.1, 0.0, 1e-4))
        optimizer: Any = rng.choice(("sgd", "adam"))
        if rng.random() < 0.6:
            optimizer = pycnn.optimizers.Adam(rate)
            if rng.random() < 0.5:
                optimizer = pycnn.optimizers.SGD(rate, rng.choice((0.0, 0.9)), rng.random() < 0.5)
        metrics = rng.sample(METRICS, rng.randint(0, 2))
        self.model.compile(optimizer, self.loss, metrics=metrics)

    def fit(self) -> None:
        x, y = self.data()
        options = {"batch_size": self.rng.choice((1, 2, 3, None)), "epochs": 1, "verbose": 0}
        if self.rng.random() < 0.3:
            options["validation_split"] = 0.4
        self.model.fit(x, y, **options)

    def train(self) -> None:
        self.model.train_on_batch(*self.data())

    def evaluate(self) -> None:
        """The loss is the reference's of the prediction."""
        x, y = self.data()
        got = self.model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
        p = self.predict(self.model, x)[0]
        # a saturated output is taken of the logits, and not clipped as the reference has it
        probabilities = p.min() > 1e-5 and p.max() < 1 - 1e-5
        if p.shape[-1] > MAX_CLASSES or not (probabilities or self.loss == "mse"):
            return
        names = {"mse": "mean_squared_error"}
        want = getattr(reference, names.get(self.loss, self.loss))(y, p)
        if not abs(got - want) <= 1e-3 * max(1.0, abs(want)):
            raise Finding(f"evaluate: {self.loss} {got!r}, reference {want!r}")

    def predict_in_batches(self) -> None:
        x, _ = self.data(self.rng.choice((1, 5, 7)))
        first = self.predict(self.model, x)
        pycnn.set_num_threads(self.rng.choice((1, 2, 3)))
        same("batches", first, self.predict(self.model, x, self.rng.choice((1, 2, 3))))
        pycnn.set_num_threads(0)

    def predictor(self) -> None:
        x, _ = self.data(1)
        same("predictor", self.predict(self.model, x), [pycnn.Predictor(self.model)(x)])

    def copied(self) -> None:
        """A copy predicts the same bits, and trains to the same."""
        how = self.rng.choice(("file", "deepcopy", "pickle"))
        if how == "file":
            other = saving.from_bytes(saving.to_bytes(self.model, allow_nonfinite=True))
        elif how == "deepcopy":
            other = copy.deepcopy(self.model)
        else:
            other = pickle.loads(pickle.dumps(self.model))
        x, y = self.data()
        same(how, self.predict(self.model, x), self.predict(other, x))
        same(f"{how}: weights", self.model.get_weights(), other.get_weights())
        if self.model.is_compiled:
            outcomes = [outcome_of(m.train_on_batch, x, y) for m in (self.model, other)]
            if outcomes[0] != outcomes[1]:
                raise Finding(f"{how}: training gives {outcomes[0]} and {outcomes[1]}")
            same(f"{how}: weights trained", self.model.get_weights(), other.get_weights())
        if self.rng.random() < 0.5:
            self.model = other

    def damaged(self) -> None:
        data = saving.to_bytes(self.model, allow_nonfinite=True)
        for _ in range(5):
            bad = mutated(data, self.rng)
            try:
                model = saving.from_bytes(bad)
            except errors.ModelFormatError as error:
                if not str(error) or len(str(error)) > 1000:
                    raise Finding(f"message of {len(str(error))} characters") from error
                continue
            self.say("a damaged file loads")
            self.outcomes.add("damaged file loaded")
            if model.count_params() > MAX_WEIGHTS:
                continue
            shapes = [t.shape[1:] for t in model.network.inputs]
            arrays = [np.zeros((1, *shape), np.float32) for shape in shapes]
            model.predict(arrays if len(arrays) > 1 else arrays[0])

    def grow(self) -> None:
        if isinstance(self.model, pycnn.Sequential):
            self.maker.grow(self.model)

    def pop(self) -> None:
        if isinstance(self.model, pycnn.Sequential) and len(self.model.layers) > 1:
            self.model.pop()

    def freeze(self) -> None:
        target = self.rng.choice([self.model, *self.model.layers])
        target.trainable = self.rng.random() < 0.5

    def new_head(self) -> None:
        """Another model over some of the layers; both go on."""
        layer = self.rng.choice(self.model.layers)
        y = layer.output
        y = y[0] if isinstance(y, list) else y
        if len(y.shape) == 4:
            y = pycnn.layers.Flatten()(y)
        other = pycnn.Model(self.model.input, pycnn.layers.Dense(2)(y))
        x, _ = self.data()
        before = self.predict(self.model, x)
        self.predict(other, x)
        same("after another head", before, self.predict(self.model, x))
        if self.rng.random() < 0.5:
            self.model = other

    def weights(self) -> None:
        before = self.model.get_weights()
        self.model.set_weights(before)
        same("set_weights(get_weights())", before, self.model.get_weights())
        if before and self.rng.random() < 0.3:
            self.model.set_weights(before[:-1])

    def described(self) -> None:
        lines: list[str] = []
        self.model.summary(print_fn=lines.append)
        for layer in self.model.layers:
            if hasattr(layer, "get_config"):
                again = type(layer).from_config(layer.get_config())
                if json.dumps(again.get_config()) != json.dumps(layer.get_config()):
                    raise Finding(f"{layer!r}: its config makes another layer")

    def attribute(self) -> None:
        target = self.rng.choice([self.model, *self.model.layers])
        name = self.rng.choice(("lr", "units", "name", "kernel", "trainable", "activation"))
        try:
            setattr(target, name, self.rng.choice((1, "x", None, [], 0.5)))
        except AttributeError:
            self.outcomes.add("AttributeError")


def same(what: str, expected: list[Array], got: list[Array]) -> None:
    """To the bit."""
    if len(expected) != len(got):
        raise Finding(f"{what}: {len(got)} arrays, expected {len(expected)}")
    for i, (a, b) in enumerate(zip(expected, got, strict=True)):
        if a.shape != b.shape:
            raise Finding(f"{what}: array {i} has shape {b.shape}, expected {a.shape}")
        if a.tobytes() != b.tobytes() and not np.array_equal(a, b, equal_nan=True):
            wrong = int((a != b).sum())
            raise Finding(f"{what}: array {i} differs in {wrong} of {a.size} places")


def outcome_of(call: Callable[..., Any], *arguments: Any) -> str:
    try:
        return repr(call(*arguments))
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"


ACTIONS = (
    (Session.compile, 4),
    (Session.fit, 3),
    (Session.train, 3),
    (Session.evaluate, 2),
    (Session.predict_in_batches, 3),
    (Session.predictor, 1),
    (Session.copied, 5),
    (Session.damaged, 2),
    (Session.grow, 3),
    (Session.pop, 2),
    (Session.freeze, 2),
    (Session.new_head, 2),
    (Session.weights, 1),
    (Session.described, 1),
    (Session.attribute, 1),
)


def run_case(seed: int, number: int, say: Callable[[str], None]) -> str:
    limits.max_arena_bytes = limits.max_scratch_bytes = LIMIT
    limits.max_operations = 5e7
    warnings.simplefilter("error")
    pycnn.set_num_threads(0)
    session = Session(seed, number, say)
    if session.model is None or not session.model.layers:
        return "no model"
    actions, weights = zip(*ACTIONS, strict=True)
    chosen = session.rng.choices(actions, weights, k=session.rng.randint(3, 9))
    if session.rng.random() < 0.8:
        chosen = [Session.compile, *chosen]
    for action in chosen:
        if session.model.count_params() > MAX_WEIGHTS:
            return "too large"
        say(action.__name__)
        try:
            action(session)
        except REFUSALS as error:
            if not str(error) or isinstance(error, RecursionError):
                raise
            say(f"{type(error).__name__}: {error}")
            session.outcomes.add(type(error).__name__)
    return "+".join(sorted(session.outcomes)) or "right"


if __name__ == "__main__":
    sys.exit(main(run_case))
