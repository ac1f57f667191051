"""The training loop: draw some batches, train on them, hand their losses back, record."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import tf
from batchlab.history import History
from batchlab.loops.callbacks import Hooks
from batchlab.loops.calls import Group, Result
from batchlab.loops.checkpoint import Checkpoints
from batchlab.loops.compiled import CompiledSteps
from batchlab.loops.epoch import Draw, Epoch
from batchlab.loops.interrupt import DeferredInterrupt
from batchlab.loops.nan import nan_error

_CALL_SECONDS = 0.1  # a call is kept about this long: Ctrl-C and the progress bar wait for it
_CLOCK = ("choosing", "training", "compiling")



class Runner:
    """Trains for as long as it is asked to: :func:`train` an epoch at a time, a `Session` in pieces.

    However training is cut into calls, the result is the same: the losses of the steps before step
    ``k * lag`` reach the samplers that drew them, in one call of ``update`` each, before step
    ``k * lag`` is drawn; and at the end of an epoch. The sampler is that of the loader and may be
    exchanged between two calls of :meth:`run`.

    Parameters
    ----------
    steps : CompiledSteps
        What a batch does to the model.
    history : History
        Gets every batch and its losses.
    owner : str
        Who runs, for messages.
    lag : int, default 16
        How many steps are drawn before a sampler hears of them, if it listens.
    size : int, optional
        Steps per call of the compiled function; by default as many as take 0.1 s.
    hooks : Hooks, optional
        What goes on before and after every call.
    checkpoints : Checkpoints, optional
        Saved when nothing waits to be handed back.
    restore_on_nan : bool, default False
        Whether weights and sampler go back to where they were before a loss became NaN.
    ahead : bool, default False
        Whether data that are gathered on the host are made ready while the device computes: only
        where nobody changes the sampler meanwhile.
    draw : callable, default next
        Takes a batch from an iterator, where someone wants to look on: then one by one.
    clock : dict of str to float, optional
        Counts the seconds spent "choosing", "training" and "compiling".
    """

    def __init__(
        self,
        steps: CompiledSteps,
        history: History,
        owner: str,
        *,
        lag: int = 16,
        size: int | None = None,
        hooks: Hooks | None = None,
        checkpoints: Checkpoints | None = None,
        restore_on_nan: bool = False,
        ahead: bool = False,
        draw: Draw | None = None,
        clock: dict[str, float] | None = None,
    ) -> None:
        self.steps, self.loader, self.model = steps, steps.loader, steps.program.model
        self.history, self.owner, self.lag = history, owner, lag
        self.hooks, self.checkpoints, self.restore_on_nan = hooks, checkpoints, restore_on_nan
        self.ahead, self.draw = ahead and steps.streamed and not restore_on_nan, draw
        self.clock = dict.fromkeys(_CLOCK, 0.0) if clock is None else clock
        self.size, self._adaptive = size or 16, size is None
        self.interrupt = DeferredInterrupt()
        self._epochs: dict[int, Epoch] = {}  # what is left of each sampler's epoch, by its id
        self._pending: list[tuple[Any, Result]] = []  # who is to hear of what
        self._settled = steps.step = history.steps

    def run(self, most: float = math.inf, epochs: int = 1) -> None:
        """Train for `most` steps, or to the end of the sampler's epoch if that comes before.

        Up to so many `epochs` are trained at once if they fit into one call, each but the last with
        the hooks at its end.
        """
        blocks = self._blocks(most, 1 if self.history.epoch_steps else epochs)
        for block in _made_ahead(blocks) if self.ahead and not self.loader.listens else blocks:
            try:
                if self.hooks and block.groups:
                    self.hooks.batches_begin(self.history.epoch_steps)
            finally:  # a hook may fail, but what was drawn is trained on
                for group in block.groups:
                    self._train(group, block)
            if block.settled:
                self.hand_back()
            stop = (
                self.hooks is not None
                and bool(block.groups)
                and self.hooks.batches_end(self.history.epoch_steps - 1, self.steps.program.logs)
            )
            stop = self.steps.program.agree(stop)
            if block.save and not stop:
                self.checkpoints.save(block.sampler_state)
            if block.failure is not None:
                raise block.failure
            if stop:
                return

    def _blocks(self, most: float, epochs: int) -> Iterator[_Block]:
        """Draw, a few batches at a time, up to where losses are to be handed back at most."""
        sampler, drawn = self.loader.sampler, self.history.steps
        end, settled = drawn + most, not self._pending
        # After Ctrl-C no more is drawn than must be for the run to go on as if it had not stopped.
        while drawn < end and not (self.interrupt.pressed and settled):
            listens = self.loader.listens
            goes_back = self.restore_on_nan and hasattr(sampler, "load_state_dict")
            back = (sampler.state_dict(), drawn) if goes_back else None
            epoch = self._epoch(sampler)
            undrawn = self._undrawn(epoch, min(self.size, end - drawn))
            lag = self.lag if (listens or self._pending) and not undrawn else None
            count = min(self.size, end - drawn, lag - drawn % lag if lag else self.size)
            ahead = undrawn or (not lag and getattr(sampler, "epochs_ahead", False))
            at_once = min(epochs, self.steps.whole_epochs(count)) if ahead and epochs > 1 else 1
            if undrawn:
                others = (sampler.undrawn(count, number) for number in range(1, at_once))
                groups = list(self.steps.undrawn([undrawn, *others]))
            else:
                groups = list(self.steps.groups(self._drawn(epoch, count, at_once)))
            epoch, epochs = self._epochs[id(sampler)], 1
            drawn += sum(group.steps for group in groups)
            settled = not lag or epoch.over or drawn % lag == 0
            save = settled and self.checkpoints is not None
            save = save and self.checkpoints.due(self._settled, drawn)
            self._settled = drawn if settled else self._settled
            # One that listens is asked for its state when it has heard of them.
            state = sampler.state_dict() if save and not (lag or undrawn) else None
            tell = sampler.drawn_elsewhere if undrawn else None
            yield _Block(sampler, listens, groups, settled, epoch.failure, save, state, back, tell)
            if epoch.over or epoch.failure:
                return

    def _epoch(self, sampler: Any) -> Epoch:
        """The present epoch of `sampler`; a new one where it is over."""
        epoch = self._epochs.get(id(sampler))
        if epoch is None or epoch.over:
            # History knows of an epoch that an earlier run did not finish.
            done = self.history.epoch_steps if epoch is None and not self._epochs else 0
            epoch = self._epochs[id(sampler)] = Epoch(sampler, done, self.owner)
        return epoch

    def _undrawn(self, epoch: Epoch, count: int) -> list[tuple[NDArray[Any], ...]]:
        """What the next `count` batches come from, where the compiled function is to draw them."""
        alone = not (self._pending or self.restore_on_nan or self.draw)
        inside = self.lag == 1 and alone and self.steps.prioritizes(epoch.sampler)
        return epoch.undrawn(count) if inside else []

    def _drawn(
        self, epoch: Epoch, count: int, epochs: int
    ) -> Iterator[Iterator[NDArray[np.int64]]]:
        """The next `count` batches, or those of so many `epochs` if they are whole."""
        yield self._matrices(epoch, count)
        for _ in range(1, epochs):
            if epoch.failure or self.interrupt.pressed:
                return
            epoch = self._epoch(epoch.sampler)
            yield self._matrices(epoch, count)

    def _matrices(self, epoch: Epoch, count: int) -> Iterator[NDArray[np.int64]]:
        """The next `count` batches, as matrices (steps, batch), and the time that it takes."""
        batches = epoch.draw(count, self.draw)
        while True:
            began = time.perf_counter()
            matrix = next(batches, None)
            self.clock["choosing"] += time.perf_counter() - began
            if matrix is None:
                return
            yield matrix

    def _train(self, group: Group, block: _Block) -> None:
        """Train on some batches in one call, and record them."""
        if group.begins:
            self.hooks.next_epoch(self.steps.program.logs())
            self.steps.program.reset_metrics()
        before = [tf.identity(v) for v in self._state()] if self.restore_on_nan else []
        compiled, began = self.steps.program.compiled, time.perf_counter()
        results = self.steps.run(group)
        seconds, done = time.perf_counter() - began, 0
        for result in results:
            if result.ended:
                self.hooks.next_epoch(result.ended)
            count = self._record(result, block)
            done += count
            if count < len(result.totals):
                self._go_back(group, block, done, before)
                raise nan_error(self.owner, self.loader, self.history, result, count, bool(before))
        if self.steps.program.compiled == compiled:
            self.clock["training"] += seconds
            self._adapt(time.perf_counter() - began, group.steps, results[0].indices.shape[1])
        else:  # is done once, and must not count where two runs get equal time
            self.clock["compiling"] += seconds

    def _record(self, result: Result, block: _Block) -> int:
        """Record the steps before the first one whose loss is not finite; how many they are."""
        finite = np.isfinite(result.totals) & np.isfinite(result.losses).all(axis=1)
        count = len(finite) if finite.all() else int(finite.argmin())
        if count == 0:
            return 0
        good = result.first(count)
        self.history.record(good.indices, good.losses)
        self.history.scored += count * result.scored_per_step
        if block.drawn_elsewhere is not None:
            block.drawn_elsewhere(good.indices, good.losses)
        elif block.listens:
            self._pending.append((block.sampler, good))
        return count

    def hand_back(self) -> None:
        """Tell every sampler the losses of what it drew: in one call, which costs as much for 512."""
        began = time.perf_counter()
        while self._pending:
            sampler = self._pending[0][0]
            own = [result for other, result in self._pending if other is sampler]
            self._pending = [item for item in self._pending if item[0] is not sampler]
            sampler.update(
                np.concatenate([result.indices.reshape(-1) for result in own]),
                np.concatenate([result.losses.reshape(-1) for result in own]),
            )
        self.clock["choosing"] += time.perf_counter() - began

    def _adapt(self, seconds: float, count: int, batch: int) -> None:
        """Choose how many steps the next calls take: the result does not depend on it."""
        if self._adaptive:
            longer, capacity = 2 * self.size, self.steps.capacity(batch)
            if seconds / count * longer < _CALL_SECONDS:
                self.size = min(longer, capacity)
            elif seconds > _CALL_SECONDS:
                self.size = max(self.size // 2, 1)

    def _state(self) -> list[Any]:
        optimizer = self.model.optimizer.variables
        return [*self.model.variables, *optimizer, *self.model.metrics_variables]

    def _go_back(self, group: Group, block: _Block, done: int, before: list[Any]) -> None:
        """Put weights and sampler back to where the first `done` steps of `group` left them."""
        for variable, value in zip(self._state(), before):
            variable.assign(value)
        if before:
            self.steps.step -= group.steps
            if done:
                self.steps.run(group, done)
        if block.back is not None:
            state, drawn = block.back
            block.sampler.load_state_dict(state)
            left = self.history.steps - drawn
            while left:  # it may be several epochs
                left -= sum(1 for _ in itertools.islice(block.sampler, left))


@dataclass
class _Block:
    """Batches that are drawn together."""

    sampler: Any
    listens: bool  # asked anew for every block: a setting may decide
    groups: list[Group]
    settled: bool  # whether losses are handed back after them
    failure: Exception | None  # why no more were drawn
    save: bool
    sampler_state: dict[str, Any] | None
    back: tuple[dict[str, Any], int] | None  # the sampler's state before them, and at which step
    drawn_elsewhere: Callable[..., None] | None  # the sampler's, where the compiled function draws


def _made_ahead(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """The same blocks, each made in another thread while the one before it is trained on."""
    with ThreadPoolExecutor(1, thread_name_prefix="batchlab-prefetch") as worker:
        coming = worker.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = worker.submit(next, blocks, None)
            yield block
