# SPDX-License-Identifier: Apache-2.0
"""fit, evaluate, predict: the loop around a model's programs.

Arrays are checked and converted once; then each step is one call into the core, which gathers the
rows of the batch itself. An interrupt or error between steps leaves the last complete step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..callbacks import NO_CALLBACKS, Callback, CallbackList, History, call_all
from ..engine.programs import make_plan
from ..engine.tensors import core_dtype
from ..errors import NumericError
from ..ground.arrays import checked_batch
from ..ground.checks import checked_flag, checked_int, checked_share
from ..ground.seeding import epoch_permutation
from . import door
from .compiling import Compilable
from .door import P, R
from .progress import Progress, RunningMeans

Arrays = list[NDArray[Any]]
Logs = dict[str, Any]


class Trainer(Compilable):
    """The part of a model that runs it."""

    history: History | None = None  # of the last fit()
    stop_training = False

    def __init__(self) -> None:
        super().__init__()
        self.fitting: dict[int, list[Any]] = {}  # by process, who fits: first come, first served

    # ---- data at the door ----

    def as_first_call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the call returns. Where it builds the model: one thread at a time, and a call that
        is refused leaves nothing of it.
        """
        return call(*args, **kwargs)

    def _inputs(self, x: Any) -> Arrays:
        """One checked float32 array for each input, all of the same length."""
        return door.inputs(self.name, self.network.inputs, x)

    def _samples(self, x: Any, y: Any) -> Arrays:
        """Checked inputs and labels, at least one sample."""
        return self.as_first_call(self._checked_samples, x, y)

    def _checked_samples(self, x: Any, y: Any) -> Arrays:
        arrays, output, loss = self._inputs(x), self.network.outputs[0], self.objective.loss
        labels = door.labels(self.name, output, loss, y, len(arrays[0]))
        if loss.kind == "custom":
            self.take_label_shape(labels.shape[1:])
        return [*arrays, labels]

    # ---- steps ----

    def _train_step(self, arrays: Arrays, batch: int, **where: Any) -> tuple[float, ...]:
        plan = self._program("train").plan(batch)
        rate, check = self.optimizer.learning_rate, self.on_nonfinite != "ignore"
        return plan.run(arrays, learning_rate=rate, seed=self.seed, check_finite=check, **where)

    def _batch(self, x: Any, y: Any) -> Arrays:
        arrays = self._checked_samples(x, y)
        self._program("train").check_batch(len(arrays[0]))
        return arrays

    def train_on_batch(self, x: Any, y: Any, return_dict: bool = False) -> Any:
        """One step on one batch: the loss, or [loss, metrics...], before the update.

        They are NaN where the step was skipped, see on_nonfinite of compile().
        """
        return_dict = checked_flag("train_on_batch", "return_dict", return_dict)
        arrays = self.as_first_call(self._batch, x, y)
        try:
            values: Sequence[float] = self._train_step(arrays, len(arrays[0]))
        except NumericError:
            if self.on_nonfinite != "skip":
                raise
            values = [nan] * len(self.metrics_names)
        return _results(self.metrics_names, values, return_dict)

    def test_on_batch(self, x: Any, y: Any, return_dict: bool = False) -> Any:
        """The loss, or [loss, metrics...], of one batch."""
        return_dict = checked_flag("test_on_batch", "return_dict", return_dict)
        arrays = self._samples(x, y)
        plan = self._program("evaluate").plan(len(arrays[0]))
        return _results(self.metrics_names, plan.run(arrays), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for the samples of one batch, in one run."""
        arrays = self._inputs(x)
        return self.predict(arrays if len(arrays) > 1 else arrays[0], max(1, len(arrays[0])))

    def prediction_plan(self, batch: int) -> tuple[_core.Plan, tuple[int, ...]]:
        """A plan of its own for one batch size, and the shape of one output: for Predictor."""
        network = self.network
        if len(network.inputs) != 1 or len(network.outputs) != 1:
            raise ValueError(f"{self.name}: a predictor needs 1 input and 1 output")
        graph, parameters = self._program("predict").graph, network.parameters
        plan = make_plan(graph, parameters, checked_batch(batch))
        return plan, tuple(extent or 0 for extent in network.outputs[0].shape[1:])

    # ---- whole data sets ----

    @door.one_at_a_time
    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        *,
        initial_epoch: int = 0,
    ) -> History:
        """Trains for `epochs` passes over the samples.

        Args:
            verbose: 0 silent, 1 a bar on a terminal, 2 one line an epoch; "auto" is 1.
            validation_split: this share is taken from the end, before shuffling.
            validation_data: (x, y), instead of a share.
            shuffle: a new order each epoch, a function of the model's seed and its steps so far.
            initial_epoch: the number of the first epoch, to continue an earlier fit.
        """
        batch = checked_batch(batch_size)
        epochs = checked_int("fit", "epochs", epochs, low=0)
        initial_epoch = checked_int("fit", "initial_epoch", initial_epoch, low=0)
        shuffle = checked_flag("fit", "shuffle", shuffle)
        progress = Progress(verbose)  # refuses a bad one
        arrays, validation = self.as_first_call(
            self._prepared, batch, x, y, validation_split, validation_data
        )
        steps = -(-len(arrays[0]) // batch)
        hooks = CallbackList(callbacks, self, verbose=verbose, epochs=epochs, steps=steps)
        hooks.expect(self.metrics_names, validation is not None)
        history = hooks.with_history()
        self.history, self.stop_training = history, False
        logs: Logs = {}
        hooks.call("on_train_begin")
        try:
            for epoch in range(initial_epoch, epochs):
                hooks.call("on_epoch_begin", epoch)
                progress.begin(f"Epoch {epoch + 1}/{epochs}", steps)
                logs = self._epoch(arrays, batch, shuffle, hooks, progress)
                if validation:
                    scores = self._evaluate(validation, batch, hooks)
                    logs.update((f"val_{name}", value) for name, value in scores.items())
                hooks.call("on_epoch_end", epoch, logs=logs)
                progress.end(logs)
                if self.stop_training:
                    break
        finally:
            progress.close()
        hooks.call("on_train_end", logs=logs)
        return history

    def _prepared(
        self, batch: int, x: Any, y: Any, share: float, given: tuple[Any, Any] | None
    ) -> tuple[Arrays, Arrays | None]:
        """As _split(); makes the plans of an epoch's full and last batch: errors come early."""
        arrays, validation = self._split(x, y, share, given)
        samples = len(arrays[0])
        self._program("train").check_batch(min(batch, samples))
        for count in {min(batch, samples), samples % batch} - {0}:
            self._program("train").plan(count)
        return arrays, validation

    def _split(
        self, x: Any, y: Any, share: float, given: tuple[Any, Any] | None
    ) -> tuple[Arrays, Arrays | None]:
        """Training and validation samples."""
        share = checked_share("fit", "validation_split", share)
        arrays = self._samples(x, y)
        if given is not None:
            return arrays, self._samples(*door.pair(given))
        return door.split(arrays, share)

    def _epoch(
        self, arrays: Arrays, batch: int, shuffle: bool, hooks: CallbackList, progress: Progress
    ) -> Logs:
        samples = len(arrays[0])
        order = None
        if shuffle:
            order = epoch_permutation(samples, self.seed, self.optimizer.iterations)
        begin = hooks.overridden("on_train_batch_begin")
        end = hooks.overridden("on_train_batch_end")
        means = RunningMeans(self.metrics_names)
        skipped: list[NumericError] = []
        for step, start in enumerate(range(0, samples, batch)):
            if begin:
                call_all(begin, step, {})
                self._check_columns(means)
            count = min(batch, samples - start)
            where = {"start": start} if order is None else {"rows": order[start : start + count]}
            try:
                means.add(self._train_step(arrays, count, **where), count)
            except NumericError as error:
                if self.on_nonfinite != "skip":
                    raise
                skipped.append(error)
            progress.step(means.logs)
            if end:
                call_all(end, step, means.logs())
                self._check_columns(means)
            if self.stop_training:
                break
        if skipped:
            text = f"fit: skipped {len(skipped)} of {step + 1} steps; the first: {skipped[0]}"
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        return means.logs()

    def _check_columns(self, means: RunningMeans) -> None:
        """Refuses what hooks of a batch must not do: the means of the epoch have their columns."""
        if self.metrics_names != means.names:
            raise RuntimeError(
                f"{self.name}: compile() with other metrics in a hook of a batch; "
                "do it in a hook of an epoch"
            )

    def _evaluate(
        self, arrays: Arrays, batch: int, hooks: CallbackList, progress: Progress | None = None
    ) -> Logs:
        hooks.call("on_test_begin")
        program = self._program("evaluate")
        begin = hooks.overridden("on_test_batch_begin")
        end = hooks.overridden("on_test_batch_end")
        means = RunningMeans(self.metrics_names)
        samples = len(arrays[0])
        for step, start in enumerate(range(0, samples, batch)):
            if begin:
                call_all(begin, step, {})
                self._check_columns(means)
            count = min(batch, samples - start)
            means.add(program.plan(count).run(arrays, start=start), count)
            if progress is not None:
                progress.step(means.logs)
            if end:
                call_all(end, step, means.logs())
                self._check_columns(means)
        logs = means.logs()
        hooks.call("on_test_end", logs=logs)
        return logs

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        *,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or [loss, metrics...], over the samples."""
        batch = checked_batch(batch_size)
        return_dict = checked_flag("evaluate", "return_dict", return_dict)
        arrays, names = self._samples(x, y), self.metrics_names
        progress = Progress(verbose)
        steps = -(-len(arrays[0]) // batch)
        hooks = CallbackList(callbacks, self, verbose=verbose, epochs=1, steps=steps)
        progress.begin("Evaluate", steps)
        try:
            logs = self._evaluate(arrays, batch, hooks, progress)
            progress.end(logs)
        finally:
            progress.close()
        return _results(names, [logs[name] for name in names], return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        *,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> Any:
        """The outputs for all samples; a list of arrays where the model has several outputs."""
        batch = checked_batch(batch_size)
        arrays = self._inputs(x)
        samples = len(arrays[0])
        tensors = self.network.outputs
        outputs = [
            np.empty((samples, *(extent or 0 for extent in t.shape[1:])), core_dtype(t.dtype))
            for t in tensors
        ]
        progress, steps = Progress(verbose), -(-samples // batch)
        hooks = NO_CALLBACKS
        if callbacks is not None:
            hooks = CallbackList(callbacks, self, verbose=verbose, epochs=1, steps=steps)
        begin = hooks.overridden("on_predict_batch_begin")
        end = hooks.overridden("on_predict_batch_end")
        hooks.call("on_predict_begin")
        progress.begin("Predict", steps)
        try:
            for step, start in enumerate(range(0, samples, batch)):
                if begin:
                    call_all(begin, step, {})
                count = min(batch, samples - start)
                self._program("predict").plan(count).run(arrays, outputs, start=start)
                progress.step(dict)
                if end:
                    call_all(end, step, {"outputs": _rows(outputs, start, count)})
            progress.end({})
        finally:
            progress.close()
        hooks.call("on_predict_end")
        pairs = zip(outputs, tensors, strict=True)
        outputs = [y.astype(np.bool_) if t.dtype == "bool" else y for y, t in pairs]
        return outputs if len(outputs) > 1 else outputs[0]


def _results(names: Sequence[str], values: Sequence[float], return_dict: bool) -> Any:
    """What a batch or a data set scored, as the caller wants it."""
    if return_dict:
        return dict(zip(names, values, strict=True))
    return list(values) if len(values) > 1 else values[0]


def _rows(outputs: Arrays, start: int, count: int) -> Any:
    """What predict() returns for one batch."""
    rows = [array[start : start + count] for array in outputs]
    return rows if len(rows) > 1 else rows[0]
