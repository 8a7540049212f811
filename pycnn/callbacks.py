# SPDX-License-Identifier: Apache-2.0
"""Callbacks, with Keras' hook names. A callback that raises ends fit() after a whole step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from . import metrics
from .files import checked_suffix
from .text import printable, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .models import Model

Logs = dict[str, Any]


class Callback:
    """Base: override the hooks you need. Logs hold the running means of the epoch.

    All callbacks of a hook get the same dict, one after the other: what one adds, the next sees,
    and what is added at the end of an epoch goes into the history.
    """

    model: Model
    params: dict[str, Any]

    def set_model(self, model: Model) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


def as_callbacks(given: Any) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, (list, tuple)):
        return [given]
    return [callback for entry in given for callback in as_callbacks(entry)]


class CallbackList:
    """Calls one hook of all callbacks; hooks nobody overrides cost nothing."""

    ALIASES: ClassVar = {
        "on_train_batch_begin": "on_batch_begin",
        "on_train_batch_end": "on_batch_end",
    }

    def __init__(self, given: Any, model: Any, **params: Any) -> None:
        """What a caller gave: None, one callback, or several, also in nested lists."""
        self.callbacks = as_callbacks(given)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected Callback objects, got {quoted(callback)}")
            callback.set_model(model)
            callback.set_params(params)

    def with_history(self) -> History:
        """The caller's History, or one at the end: it keeps what the others add to the logs."""
        for callback in self.callbacks:
            if isinstance(callback, History):
                return callback
        history = History()
        self.callbacks.append(history)
        return history

    def call(self, hook: str, *arguments: Any, logs: dict[str, Any] | None = None) -> None:
        if not self.callbacks:
            return
        logs = {} if logs is None else logs
        for method in self.overridden(hook):
            method(*arguments, logs)

    def overridden(self, hook: str) -> list[Callable[..., None]]:
        """The hook of those callbacks that define it, or what it calls."""
        if not self.callbacks:
            return []
        names = [name for name in (hook, self.ALIASES.get(hook)) if name]
        return [
            getattr(callback, hook)
            for callback in self.callbacks
            if any(_is_overridden(callback, name) for name in names)
        ]


NO_CALLBACKS = CallbackList(None, None)


def _is_overridden(callback: Callback, hook: str) -> bool:
    method = getattr(callback, hook)
    return getattr(method, "__func__", method) is not getattr(Callback, hook)


def call_all(hooks: Iterable[Callable[..., None]], step: int, logs: Logs) -> None:
    """The hooks of one step, all with the same dict."""
    for hook in hooks:
        hook(step, logs)


class History(Callback):
    """What fit() returns: history[name] lists the value of each epoch."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """Functions as hooks: LambdaCallback(on_epoch_end=lambda epoch, logs: ...)."""

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        for name, function in hooks.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                raise TypeError(f"LambdaCallback: unknown hook {name!r}")
            setattr(self, name, function)


class _Monitor(Callback):
    """Watches one logged value and knows when it got better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(
                f"{type(self).__name__}: mode must be 'auto', 'min' or 'max', got {mode!r}"
            )
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best = math.nan
        self._resolve_mode()

    def set_model(self, model: Model) -> None:
        super().set_model(model)
        self._resolve_mode(model.metric_directions())

    def _resolve_mode(self, directions: Mapping[str, str] | None = None) -> None:
        """What "auto" means, from the metric of that name: the model's, or a known one."""
        if self.mode == "auto":
            name = self.monitor.removeprefix("val_")
            known = {**metrics.DIRECTIONS, **(directions or {})}
            self.mode = known.get(name, "auto")
            if self.mode == "auto" and directions is not None:
                raise ValueError(
                    f"{type(self).__name__}: cannot tell whether a low or a high "
                    f"{quoted(self.monitor)} is better; pass mode='min' or mode='max'"
                )
        if math.isnan(self.best) and self.mode != "auto":
            self.best = self._worst

    @property
    def _worst(self) -> float:
        return -math.inf if self.mode == "max" else math.inf

    def value(self, logs: Logs | None) -> float | None:
        logs = logs or {}
        if self.monitor not in logs:
            warnings.warn(
                f"{type(self).__name__}: {printable(self.monitor)} is not among "
                f"{printable(', '.join(logs))}",
                stacklevel=2,
            )
        return logs.get(self.monitor)

    def better(self, value: float, than: float | None = None) -> bool:
        """Than the best so far, or than a given value. False for NaN."""
        than = self.best if than is None else than
        if self.mode == "max":
            return value - self.min_delta > than
        return value + self.min_delta < than


class EarlyStopping(_Monitor):
    """Stops when `monitor` has not improved for `patience` epochs.

    Args:
        min_delta: an improvement by less does not count.
        mode: "min", "max" or "auto": what suits the metric of that name; other names need one.
        baseline: values that do not beat it count as no improvement.
        restore_best_weights: at the end, go back to the weights of the best epoch.
        start_from_epoch: epochs before it are ignored.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._start()

    def _start(self) -> None:
        self.best = self._worst
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights: list[NDArray[np.float32]] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._start()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self.better(value):
            self.best = value
            self._keep(epoch)
            # Only beating the baseline too starts the waiting anew (as in Keras).
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Saves the model at the end of epochs.

    Args:
        filepath: may contain {epoch} and names of logs, as in "{epoch:02d}-{val_loss:.2f}.pycnn".
        save_best_only: only where `monitor` improved; a NaN never does.
    """

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = str(checked_suffix(filepath))
        self.verbose = verbose
        self.save_best_only = save_best_only

    def set_model(self, model: Model) -> None:
        if self.save_best_only:
            super().set_model(model)
        else:  # whatever `monitor` is
            self.model = model

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.better(value):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {printable(path)}")
