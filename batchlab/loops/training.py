"""``train``: a drop-in for ``model.fit`` on batches that a sampler chooses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras, tf
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.adversarial import Adversarial
from batchlab.loops.callbacks import Hooks
from batchlab.loops.checkpoint import Checkpoints
from batchlab.loops.compiled import RESIDENT_LIMIT, CompiledSteps, Group, Result
from batchlab.loops.interrupt import DeferredInterrupt
from batchlab.loops.selection import PoolSelection
from batchlab.loops.step import check_own_step, check_ready
from batchlab.loops.xla import use_xla
from batchlab.parameters import Parameter

_CALL_SECONDS = 0.1  # a call is kept about this long: Ctrl-C and the progress bar wait for it


def train(
    model: keras.Model,
    loader: Loader,
    epochs: int = 1,
    *,
    validation_data: Any = None,
    validation_batch_size: int | None = None,
    validation_freq: int = 1,
    callbacks: list[Any] | None = None,
    verbose: int | str = "auto",
    lag: int = 16,
    steps_per_call: int | None = None,
    jit_compile: bool | None = None,
    selection: PoolSelection | None = None,
    adversarial: Adversarial | None = None,
    restore_on_nan: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    history: History | None = None,
    resident_limit: int = RESIDENT_LIMIT,
) -> History:
    """Train like ``model.fit``, on the batches that the loader's sampler chooses, compiled.

    All of ``model.compile`` counts: losses and their weights, metrics, clipping, learning-rate
    schedules, mixed precision, ``run_eagerly``. With the same batches the weights end as with
    ``model.fit(loader, shuffle=False)`` and with :func:`eager_loop`.

    Parameters
    ----------
    model : keras.Model
        Compiled; without a ``train_step`` of its own.
    loader : Loader
        Says what is in each batch.
    epochs : int, default 1
        How many epochs of the loader's sampler to train; with `history`, how many in all.
    validation_data : tuple of arrays, tf.data.Dataset or Loader, optional
        Evaluated with ``model.evaluate`` after every `validation_freq` epochs, in batches of
        `validation_batch_size`.
    callbacks : list of keras.callbacks.Callback, optional
        As in ``model.fit``. One that overrides a batch hook sees every batch, and training then
        takes one step per call: as slow as ``model.fit``.
    verbose : "auto", 0, 1 or 2
        Progress bar as in ``model.fit``.
    lag : int, default 16
        For samplers that listen: batches are drawn `lag` at a time, and their losses reach
        ``sampler.update``, in one call, before the next `lag` are drawn. 1 is the order of
        :func:`eager_loop`; more is faster. It has no effect on samplers that do not listen.
    steps_per_call : int, optional
        Batches per call of the compiled function. It never changes the result; by default as many,
        up to 2048, as take 0.1 s.
    jit_compile : bool, optional
        Whether to compile with XLA. By default the model and the number of steps in all epochs
        decide (see :func:`use_xla`).
    selection : PoolSelection, optional
        Train on the best of each batch instead of all of it.
    adversarial : Adversarial, optional
        Turn a share of every batch into adversarial examples.
    restore_on_nan : bool, default False
        Whether to go back to the weights before the first step whose loss was NaN or infinite. It
        costs a copy of all variables per call.
    checkpoint : path, optional
        Directory to :func:`save` to, after every epoch and every `checkpoint_every` steps.
    checkpoint_every : int, optional
        Steps between checkpoints within an epoch.
    history : History, optional
        Go on with this run, as :func:`resume` gives it.
    resident_limit : int, default 2**31
        Bytes of data that may be copied to the device. Larger data, and memory-mapped arrays, are
        gathered on the host while the device computes.

    Returns
    -------
    History
        With every batch that was chosen and the loss of each of its samples. It is also
        ``model.history``, from the start, so that a run that was interrupted keeps its record.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be trained this way, or a parameter is of the wrong type or range.
    FloatingPointError
        If a loss becomes NaN or infinite; it names the step and the samples.
    KeyboardInterrupt
        After Ctrl-C, when the steps under way are done and recorded.
    """
    check_ready(model, epochs, "train")
    check_own_step(model, loader, "train")
    for name, value in (
        ("lag", lag),
        ("steps_per_call", steps_per_call),
        ("checkpoint_every", checkpoint_every),
        ("validation_freq", validation_freq),
    ):
        if value is not None:
            Parameter(1, low=1, name=name).check(value, "train")
    if history is not None and history.n != loader.n:
        raise ValueError(
            f"train: history is of {history.n} samples, and the loader has {loader.n}. "
            "Take the one that resume() returned for this loader."
        )
    history = History(loader.n) if history is None else history
    checkpoints = Checkpoints(checkpoint, checkpoint_every, model, loader, history)
    hooks = Hooks(callbacks, model, history, verbose, epochs, len(loader))
    listening = loader.listens
    fixed_size = 1 if hooks.every_batch else steps_per_call
    steps = CompiledSteps(
        model,
        loader,
        selection=selection,
        adversarial=adversarial,
        jit_compile=use_xla(model, jit_compile, epochs * len(loader)),
        resident_limit=resident_limit,
        # For XLA a call has that many rows, used or not.
        most=fixed_size or (lag if listening else len(loader)),
    )
    lag = lag if listening else None
    run = _Run(steps, history, hooks, checkpoints, lag, fixed_size, restore_on_nan)
    model.stop_training = False
    logs: dict[str, float] = {}
    hooks.list.on_train_begin()
    for epoch in range(len(history.epoch), epochs):
        with DeferredInterrupt() as interrupt:
            hooks.list.on_epoch_begin(epoch)
            run.epoch(interrupt)
        logs = steps.program.logs()
        if validation_data is not None and (epoch + 1) % validation_freq == 0:
            scores = _evaluate(model, validation_data, validation_batch_size, hooks)
            logs.update({f"val_{name}": value for name, value in scores.items()})
        hooks.list.on_epoch_end(epoch, logs)
        checkpoints.save()
        if model.stop_training:
            break
    model.optimizer.finalize_variable_values(model.trainable_weights)
    hooks.list.on_train_end(logs)
    return history


@dataclass
class _Block:
    """Batches that are drawn together, and the sampler's state after them if it is to be saved."""

    groups: list[Group]
    save: bool
    sampler_state: dict[str, Any] | None


class _Run:
    """An epoch at a time: draw, train, hand the losses back, record."""

    def __init__(
        self,
        steps: CompiledSteps,
        history: History,
        hooks: Hooks,
        checkpoints: Checkpoints,
        lag: int | None,
        fixed_size: int | None,
        restore_on_nan: bool,
    ) -> None:
        self.steps = steps
        self.loader = steps.loader
        self.model = steps.program.model
        self.history = history
        self.hooks = hooks
        self.checkpoints = checkpoints
        self.lag = lag  # None where the sampler does not listen
        self.fixed_size = fixed_size
        self.size = fixed_size or 16
        self.restore_on_nan = restore_on_nan
        steps.step = history.steps

    def epoch(self, interrupt: DeferredInterrupt) -> None:
        """Train to the end of the epoch, or until someone stops it."""
        blocks = self._blocks(self._batches(), interrupt)
        if self.history.epoch_steps == 0:
            self.steps.program.reset_metrics()
        # Only gathering on the host is worth a thread. A sampler that listens, or that a callback
        # may change, must not draw ahead.
        if self.steps.streamed and not (self.lag or self.hooks.every_batch):
            blocks = _ahead(blocks)
        for block in blocks:
            results = []
            for group in block.groups:
                results.append(self._train(group))
                if self.model.stop_training:
                    break
            if self.lag:  # in one call: an update costs about the same for 32 or 512 losses
                self.loader.update(
                    np.concatenate([result.indices.reshape(-1) for result in results]),
                    np.concatenate([result.losses.reshape(-1) for result in results]),
                )
            if self.model.stop_training:
                return
            if block.save:
                self.checkpoints.save(block.sampler_state)

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        """The batches of the epoch that are still to come."""
        sampler, done = self.loader.sampler, self.history.epoch_steps
        if done >= len(sampler):  # saved after the last batch, before the epoch was closed
            return iter(())
        if done and hasattr(sampler, "continue_epoch"):
            sampler.continue_epoch()
        return iter(sampler)

    def _blocks(
        self, batches: Iterator[NDArray[np.int64]], interrupt: DeferredInterrupt
    ) -> Iterator[_Block]:
        drawn = self.history.steps
        # After Ctrl-C nothing more is drawn, and what was drawn is trained on.
        while not interrupt.pressed:
            some = _matrices(self.loader.sampler, batches, self.lag or self.size)
            groups = list(self.steps.groups(some))
            if not groups:
                return
            before, drawn = drawn, drawn + sum(len(group.indices) for group in groups)
            save, state = self.checkpoints.due(before, drawn), None
            if save and not self.lag:  # one that listens is asked when it has heard of them
                state = self.loader.sampler.state_dict()
            yield _Block(groups, save, state)

    def _train(self, group: Group) -> Result:
        before = [tf.identity(v) for v in self._state()] if self.restore_on_nan else []
        self.hooks.batches_begin(self.history.epoch_steps)
        start = time.perf_counter()
        result = self.steps.run(group)
        self._adapt(len(result.totals), time.perf_counter() - start, group.indices.shape[1])
        finite = np.isfinite(result.totals) & np.isfinite(result.losses).all(axis=1)
        good = len(finite) if finite.all() else int(finite.argmin())
        self._record(result, good)
        if good < len(finite):
            self._stop_at_nan(group, result, good, before)
        self.hooks.batches_end(self.history.epoch_steps - 1, self.steps.program.logs)
        return result

    def _record(self, result: Result, count: int) -> None:
        self.history.record(result.indices[:count], result.losses[:count])
        self.history.scored += count * result.scored_per_step

    def _adapt(self, count: int, seconds: float, batch: int) -> None:
        """Choose how many steps the next calls take: the result does not depend on it."""
        if self.fixed_size is None:
            longer, capacity = 2 * self.size, self.steps.capacity(batch)
            if seconds / count * longer < _CALL_SECONDS:
                self.size = min(longer, capacity)
            elif seconds > _CALL_SECONDS:
                self.size = max(self.size // 2, 1)

    def _state(self) -> list[Any]:
        optimizer = self.model.optimizer.variables
        return [*self.model.variables, *optimizer, *self.model.metrics_variables]

    def _stop_at_nan(self, group: Group, result: Result, row: int, before: list[Any]) -> None:
        if before:
            for variable, value in zip(self._state(), before):
                variable.assign(value)
            self.steps.step -= len(group.indices)
            if row:
                self.steps.run(group, row)
        losses, samples = result.losses[row], result.indices[row]
        offending = samples[~np.isfinite(losses)]
        which = (
            f"samples {offending[:10].tolist()}{' …' if len(offending) > 10 else ''} of the batch"
            if len(offending)
            else f"the whole batch (regularisation or weights): {samples[:10].tolist()} …"
        )
        raise FloatingPointError(
            f"train: the loss became {result.totals[row]} at step {self.history.steps}, for "
            f"{which}."
            + (
                " The weights are those before that step. "
                if before
                else " The weights are spoilt. "
            )
            + "Look at these samples, lower the learning rate, or clip gradients (clipnorm=1.0)."
        )


def _matrices(sampler: Any, batches: Iterator[Any], count: int) -> Iterator[NDArray[np.int64]]:
    """The next `count` batches, each as a matrix, or together as far as the sampler gives many."""
    ahead = getattr(sampler, "batches_ahead", None)  # others' samplers have none
    while count > 0 and (batch := next(batches, None)) is not None:
        yield np.asarray(batch)[np.newaxis]
        count -= 1
        while ahead is not None and count > 0 and (matrix := ahead(count)).size:
            yield matrix
            count -= len(matrix)


def _ahead(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """The same blocks, each made in another thread while the one before it is trained on."""
    with ThreadPoolExecutor(1, thread_name_prefix="batchlab-prefetch") as worker:
        coming = worker.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = worker.submit(next, blocks, None)
            yield block


def _evaluate(
    model: keras.Model, data: Any, batch_size: int | None, hooks: Hooks
) -> dict[str, float]:
    x, y, weights = data, None, None
    if isinstance(data, (tuple, list)):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(data))
    return model.evaluate(
        x, y, batch_size=batch_size, sample_weight=weights, callbacks=hooks.list, return_dict=True
    )
