# SPDX-License-Identifier: Apache-2.0
"""Callbacks, with Keras' hook names. A callback that raises ends fit() after a whole step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import checked_suffix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .models import Model

Logs = Mapping[str, float]


class Callback:
    """Base: override the hooks you need. Logs hold the running means of the epoch."""

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
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...


class CallbackList:
    """Calls one hook of all callbacks; hooks nobody overrides cost nothing."""

    def __init__(self, callbacks: Iterable[Callback], model: Model, params: dict[str, Any]) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected Callback objects, got {callback!r}")
            callback.set_model(model)
            callback.set_params(params)

    def call(self, hook: str, *arguments: Any) -> None:
        for method in self.overridden(hook):
            method(*arguments)

    def overridden(self, hook: str) -> list[Callable[..., None]]:
        """The hook of those callbacks that define it."""
        base = getattr(Callback, hook)
        methods = (getattr(callback, hook) for callback in self.callbacks)
        return [method for method in methods if getattr(method, "__func__", method) is not base]


class History(Callback):
    """What fit() returns: history[name] lists the value of each epoch."""

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

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
        if mode == "auto":
            mode = "max" if monitor.endswith(("accuracy", "acc")) else "min"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best = -math.inf if mode == "max" else math.inf

    def value(self, logs: Logs | None) -> float | None:
        logs = logs or {}
        if self.monitor not in logs:
            warnings.warn(
                f"{type(self).__name__}: {self.monitor} is not among {', '.join(logs)}",
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
        mode: "min", "max" or "auto" (max for accuracies).
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
        self.best = -math.inf if self.mode == "max" else math.inf
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

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.better(value):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **(logs or {}))
        self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")
