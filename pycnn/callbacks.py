# SPDX-License-Identifier: Apache-2.0
"""Callbacks, with Keras' hook names. A callback that raises ends fit() after a whole step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from . import metrics
from .ground.checks import checked_flag, checked_int, checked_number, checked_text, optional
from .ground.disk import checked_suffix
from .ground.filenames import FileTemplate
from .ground.specs import is_ours
from .ground.text import printable, quoted
from .training.progress import say

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

    model: Model = None  # type: ignore[assignment]  # as in Keras, until a model calls
    params: Mapping[str, Any] = MappingProxyType({})

    def set_model(self, model: Model) -> None:
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
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
        self.callbacks, self._params = as_callbacks(given), params
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected Callback objects, got {quoted(callback)}")
            callback.set_model(model)
            callback.set_params(params)

    def expect(self, columns: Sequence[str], validation: bool) -> None:
        """params["logs"] names what an epoch logs, unless callbacks of users may add to it."""
        if any(map(_may_add_logs, self.callbacks)):
            return
        scores = [f"val_{name}" for name in columns] if validation else []
        for callback in self.callbacks:
            callback.set_params({**self._params, "logs": [*columns, *scores]})

    def with_history(self) -> History:
        """The caller's History, or one at the end: it keeps what the others add to the logs."""
        for callback in self.callbacks:
            if isinstance(callback, History):
                return callback
        history = History()
        history.set_params(self._params)
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


def _may_add_logs(callback: Callback) -> bool:
    """Whether it has a hook of a user in which the logs of an epoch can get new names."""
    ours = is_ours(callback) and not isinstance(callback, LambdaCallback)
    return not ours and any(_is_overridden(callback, h) for h in ("on_epoch_end", "on_test_end"))


def call_all(hooks: Iterable[Callable[..., None]], step: int, logs: Logs) -> None:
    """The hooks of one step, all with the same dict."""
    for hook in hooks:
        hook(step, logs)


class History(Callback):
    """What fit() returns: history[name] lists the value of each epoch.

    Where fit() made it, its `model` is None: a copy or a pickle of it is small.
    """

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
    """Functions as hooks: LambdaCallback(on_epoch_end=lambda epoch, logs: ...); None is no hook."""

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, function in hooks.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                raise TypeError(f"LambdaCallback: unknown hook {name!r}")
            if function is None:
                continue
            if not callable(function):
                raise TypeError(f"LambdaCallback: {name} must be callable, got {quoted(function)}")
            setattr(self, name, function)


class _Monitor(Callback):
    """Watches one logged value and knows when it got better."""

    def __init__(self, monitor: str, mode: str, verbose: int, min_delta: float = 0.0) -> None:
        where = type(self).__name__
        self.monitor = checked_text(where, "monitor", monitor)
        self.min_delta = abs(checked_number(where, "min_delta", min_delta))
        if verbose not in (0, 1, 2):
            raise ValueError(f"{where}: verbose must be 0, 1 or 2, got {quoted(verbose)}")
        self.verbose = verbose
        self.mode = mode

    @property
    def mode(self) -> str:
        """What the value asked for means now: "min", "max", or "auto" where nothing tells yet."""
        return self._mode

    @mode.setter
    def mode(self, asked: str) -> None:
        if asked not in ("auto", "min", "max"):
            raise ValueError(
                f"{type(self).__name__}: mode must be 'auto', 'min' or 'max', got {quoted(asked)}"
            )
        self._asked, self._mode, self.best = asked, "", math.nan
        self._resolve_mode()

    def set_model(self, model: Model) -> None:
        super().set_model(model)
        self._resolve_mode(model.metric_directions())

    def _resolve_mode(self, directions: Mapping[str, str] | None = None) -> None:
        """What "auto" means, from the metric of that name: the model's, or a known one."""
        mode = self._asked
        if mode == "auto":
            name = self.monitor.removeprefix("val_")
            known = {**metrics.DIRECTIONS, **(directions or {})}
            mode = known.get(name, "auto")
            if mode == "auto" and directions is not None:
                raise ValueError(
                    f"{type(self).__name__}: cannot tell whether a low or a high "
                    f"{quoted(self.monitor)} is better; pass mode='min' or mode='max'"
                )
        if mode != self._mode:  # the best of before was the best of something else
            self._mode = mode
            self.best = math.nan if mode == "auto" else self._worst

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
        super().__init__(monitor, mode, verbose, min_delta)
        where = "EarlyStopping"
        self.patience = checked_int(where, "patience", patience, low=0)
        self.baseline: float | None = optional(checked_number)(where, "baseline", baseline)
        self.restore_best_weights = checked_flag(
            where, "restore_best_weights", restore_best_weights
        )
        self.start_from_epoch = checked_int(where, "start_from_epoch", start_from_epoch, low=0)
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
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Saves the model at the end of epochs.

    Args:
        filepath: may contain {epoch} and names of logs, as in "{epoch:02d}-{val_loss:.2f}.pycnn".
            Folders that are missing are made.
        save_best_only: only where `monitor` improved; a NaN never does.

    Weights that are not finite are saved where compile() was told to ignore that.
    """

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
    ) -> None:
        super().__init__(monitor, mode, verbose)
        self.filepath = str(checked_suffix(filepath))
        self.save_best_only = checked_flag("ModelCheckpoint", "save_best_only", save_best_only)

    @property
    def filepath(self) -> str:
        return self._template.text

    @filepath.setter
    def filepath(self, text: str) -> None:
        self._template = FileTemplate("ModelCheckpoint", str(checked_suffix(text)))

    def set_model(self, model: Model) -> None:
        if self.save_best_only:
            super().set_model(model)
        else:  # whatever `monitor` is
            self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """What would fail at the end of the first epoch, where that is known, fails now."""
        if "logs" in self.params:
            self._template.check_names(self.params["logs"])
        self._template.make_folder()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.better(value):
                return
            self.best = value
        path = self._template.make_path({**(logs or {}), "epoch": epoch + 1})
        lost = self.model.is_compiled and self.model.on_nonfinite == "ignore"
        self.model.save(path, allow_nonfinite=lost)
        if self.verbose:
            say(f"Epoch {epoch + 1}: saved {printable(str(path))}")
