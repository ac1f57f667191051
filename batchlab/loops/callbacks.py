"""Keras callbacks around a loop that takes many steps per call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from batchlab.backend import keras
from batchlab.history import History
from batchlab.loops.keras_private import profiles

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_PROGRESS_SECONDS = 0.05  # Keras's bar draws no more often


class Hooks:
    """Runs a list of callbacks, Keras's progress bar and the history's epochs.

    Epoch hooks are called as in ``model.fit``. If a callback overrides a batch hook, then training
    goes step by step, as it must for that callback to see every batch: `every_batch` is True, and
    a step costs about as much as in ``model.fit``. Callbacks of Keras that override them only for
    options that are not used (ModelCheckpoint and TensorBoard per epoch, TerminateOnNaN) do not
    count; their batch hooks are called once per call, as with ``steps_per_execution``.
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
        given = keras.tree.flatten(callbacks) if callbacks else []
        for position, callback in enumerate(given):
            _check_callback(callback, position)
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
        self.every_batch = any(map(_needs_every_batch, given))
        self._any_batch_hook = verbose == 1 or any(map(_overridden_hooks, given))
        self._last_call = 0.0

    def batches_begin(self, step: int) -> None:
        """The batch hooks before some steps, the first of them number `step` of its epoch."""
        if self._any_batch_hook:
            self.list.on_train_batch_begin(step)

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


def _overridden_hooks(callback: Any) -> list[str]:
    base = keras.callbacks.Callback
    return [
        name
        for name in _BATCH_HOOKS
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
    return bool(_overridden_hooks(callback))
