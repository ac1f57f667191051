"""Keras callbacks around a loop that takes many steps per call."""

from __future__ import annotations

import time
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from batchlab.backend import keras
from batchlab.history import History
from batchlab.loops.keras_private import profiles
from batchlab.parameters import shown
from batchlab.validation import check_labels

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
# Loggers that override batch hooks, and with which options they do nothing there: WandbMetricsLogger,
# MlflowCallback and MlflowModelCheckpointCallback, as read in W&B 0.31 and MLflow 3.18.
_PER_EPOCH = {"log_freq": None, "log_every_n_steps": None, "save_freq": "epoch"}
_LOGGERS = ("wandb", "mlflow")
_EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")
_PROGRESS_SECONDS = 0.05  # Keras's bar draws no more often


class LogSelection(keras.callbacks.Callback):
    """Add what was chosen to Keras's logs: TensorBoard, W&B, MLflow and the history then show it.

    Each epoch gets, wherever the callback stands in the list of :func:`train`:

    - ``coverage``, the share of the data that has been trained on so far,
    - ``repeats``, the share of the epoch's choices that fell on a sample again,
    - ``mix/<class>``, the share of each class in the epoch's batches, if `labels` are given.

    Parameters
    ----------
    labels : array_like of int or str, shape (n,), optional
        The class of every sample.

    Raises
    ------
    TypeError, ValueError
        If `labels` are no classes; when training begins, if they are not those of the data, or the
        loop is not :func:`train`.

    Examples
    --------
    >>> from batchlab import Loader, LogSelection, RandomSampler, datasets, train
    >>> from batchlab.backend import keras
    >>> data = datasets.moons()
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
    >>> model.compile("sgd", "sparse_categorical_crossentropy")
    >>> loader = Loader(data.x_train, data.y_train, sampler=RandomSampler(len(data.y_train), 32))
    >>> history = train(model, loader, callbacks=[LogSelection(data.y_train)], verbose=0)
    >>> sorted(history.history)
    ['coverage', 'loss', 'mix/0', 'mix/1', 'repeats']
    """

    def __init__(self, labels: ArrayLike | None = None) -> None:
        super().__init__()
        self.labels = None
        if labels is not None:
            self.classes, self.labels = check_labels(labels, type(self).__name__)

    def on_train_begin(self, logs: Any = None) -> None:
        owner, history = type(self).__name__, self.model.history
        if not isinstance(history, History):
            raise TypeError(f"{owner}: only train keeps a record of what was chosen, not model.fit.")
        if self.labels is not None and len(self.labels) != history.n:
            raise ValueError(
                f"{owner}: labels must have one entry for each of the {history.n} samples, got "
                f"{len(self.labels)}."
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        history, logs = self.model.history, {} if logs is None else logs
        chosen = np.concatenate(list(history.indices[-history.epoch_steps :]))
        logs["coverage"] = float(history.coverage)
        logs["repeats"] = 1 - np.unique(chosen).size / chosen.size
        if self.labels is not None:
            counts = np.bincount(self.labels[chosen], minlength=len(self.classes))
            for name, share in zip(self.classes, counts / chosen.size):
                logs[f"mix/{name}"] = float(share)


class Hooks:
    """Runs a list of callbacks, Keras's progress bar and the history's epochs.

    Epoch hooks are called as in ``model.fit``. If a callback overrides a batch hook, then training
    goes step by step, as it must for that callback to see every batch: `every_batch` is True, and
    a step costs about as much as in ``model.fit``. Callbacks of Keras that override them only for
    options that are not used (ModelCheckpoint and TensorBoard per epoch, TerminateOnNaN) do not
    count, nor do those of W&B and MLflow when they log per epoch; their batch hooks are called once
    per call, as with ``steps_per_execution``.
    """

    def __init__(
        self,
        callbacks: list[Any] | None,
        model: keras.Model,
        history: History,
        verbose: int | str,
        epochs: int,
        steps: int,
    ) -> None:
        self.model = model
        if not isinstance(verbose, (str, Integral)) or verbose not in ("auto", 0, 1, 2):
            raise ValueError(f'train: verbose must be "auto", 0, 1 or 2, got {shown(verbose)}.')
        given = [] if callbacks is None else keras.tree.flatten(callbacks)
        for position, callback in enumerate(given):
            _check_callback(callback, position)
        # First, so that all others log it.
        given.sort(key=lambda callback: not isinstance(callback, LogSelection))
        # Last, so that it also sees what other callbacks add to the logs (the learning rate).
        record = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda _, logs: history.end_epoch(logs)
        )
        verbose = 1 if verbose == "auto" else verbose
        self.list = keras.callbacks.CallbackList(
            [*given, record],
            add_progbar=verbose != 0,
            model=model,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
        )
        history.params = dict(self.list.params)
        model.history = history
        self._history = history
        self.every_batch = any(map(_needs_every_batch, given))
        self.every_epoch = any(_overridden(callback, _EPOCH_HOOKS) for callback in given)
        self._any_batch_hook = verbose == 1 or any(
            _overridden(callback, _BATCH_HOOKS) for callback in given
        )
        self._last_call = 0.0

    def batches_begin(self, step: int) -> None:
        """The batch hooks before some steps, the first of them number `step` of its epoch."""
        if self._any_batch_hook:
            self.list.on_train_batch_begin(step)

    def next_epoch(self, logs: dict[str, Any]) -> None:
        """The hooks at the end of an epoch and the start of the one after it."""
        self.list.on_epoch_end(len(self._history.epoch), logs)
        self.list.on_epoch_begin(len(self._history.epoch))

    def batches_end(self, step: int, logs: Callable[[], dict[str, Any]]) -> bool:
        """The batch hooks after some steps, the last of them number `step` of its epoch.

        True if one of them stops training. `logs` is asked only when someone looks: to compute
        metrics takes longer than a step.
        """
        now = time.monotonic()
        if self._any_batch_hook and (
            self.every_batch or now - self._last_call >= _PROGRESS_SECONDS
        ):
            self._last_call = now
            self.list.on_train_batch_end(step, logs())
        return self.model.stop_training


def _check_callback(callback: Any, position: int) -> None:
    if not isinstance(callback, keras.callbacks.Callback):
        raise TypeError(
            f"train: callbacks[{position}] must be a keras.callbacks.Callback, got "
            f"{type(callback).__name__}."
        )
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        raise TypeError(
            f"train: callbacks[{position}] is BackupAndRestore, which does not know the sampler. "
            "Use train(..., checkpoint=directory), and resume(directory, model, loader)."
        )


def _overridden(callback: Any, hooks: tuple[str, ...]) -> list[str]:
    base = keras.callbacks.Callback
    return [
        name
        for name in hooks
        if getattr(getattr(callback, name), "__func__", None) is not getattr(base, name)
    ]


def _needs_every_batch(callback: Any) -> bool:
    if isinstance(callback, keras.callbacks.TerminateOnNaN):  # train watches every loss itself
        return False
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        return callback.save_freq != "epoch"
    if isinstance(callback, keras.callbacks.TensorBoard):
        return callback.update_freq != "epoch" or profiles(callback)
    if isinstance(callback, keras.callbacks.ProgbarLogger):
        return False
    return not all(_idle(callback, hook) for hook in _overridden(callback, _BATCH_HOOKS))


def _idle(callback: Any, hook: str) -> bool:
    """Whether `hook` is a logger's own, and the logger is set to act once an epoch."""
    defines = next(cls for cls in type(callback).__mro__ if hook in vars(cls))
    return (
        hook not in vars(callback)
        and defines.__module__.partition(".")[0] in _LOGGERS
        and all(getattr(callback, name, off) == off for name, off in _PER_EPOCH.items())
    )
