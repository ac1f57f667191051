"""From single draws to epochs of batches: the position, what is drawn ahead, what is left to cut."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter, Schedule, parameters_of

_NONE = np.empty(0, np.int64)
_AT_ONCE = 2**16  # draws at most


class Epochs(abc.ABC):
    """The part of a :class:`Sampler` that no strategy needs to know."""

    batch_size: int | Parameter
    drop_last: bool | Parameter
    seed: int | Parameter
    foreseen: bool

    _epoch = 0
    _drawn = 0  # samples of this epoch that were handed out
    _goes_on = True  # whether the next iter() goes on with this epoch
    _turn: object = None  # which iterator is the current one
    _ahead = _NONE  # drawn already, not handed out yet
    _block = 0  # how many were drawn at once the last time
    _schedules: Mapping[str, Schedule] = MappingProxyType({})
    _branch: tuple[int, ...] = ()  # which source of a mixture this is

    @abc.abstractmethod
    def draw(self, size: int) -> ArrayLike: ...

    @property
    @abc.abstractmethod
    def samples_per_epoch(self) -> int: ...

    @abc.abstractmethod
    def epoch_started(self) -> None: ...

    def draw_batches(self, count: int, size: int) -> NDArray[np.int64]:
        """The batches that come next, int64 (at most `count`, size), as ``draw(size)`` makes them.

        To be written where many at once are cheaper than one by one. There may be none.
        """
        return np.empty((0, size), np.int64)

    # -- where it is -----------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being drawn, from 0."""
        return self._epoch

    @property
    def position(self) -> int:
        """How many samples of this epoch have been drawn."""
        return self._drawn

    @property
    def progress(self) -> float:
        """How many epochs have been drawn, fractions included: the clock of schedules."""
        return self._epoch + self._drawn / self.samples_per_epoch if self._drawn else self._epoch

    @property
    def _entropy(self) -> tuple[int, ...]:
        """What all random numbers come from: the seed, and for a source which one it is."""
        return (self.seed, *self._branch)

    def __len__(self) -> int:
        """Batches per epoch with the present settings."""
        whole, rest = divmod(self.samples_per_epoch, self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def _next_size(self) -> int:
        left = self.samples_per_epoch - self._drawn
        size = self.batch_size
        if left >= size:
            return size
        return 0 if self.drop_last else max(left, 0)

    # -- batches ---------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        if not self._goes_on or self._next_size() == 0:
            self._start_epoch()
        self._turn = turn = object()
        return self._batches(turn)

    def continue_epoch(self) -> None:
        """Let the next ``iter(self)`` go on with this epoch, after the last batch handed out."""
        self._goes_on, self._turn = True, None

    def _start_epoch(self) -> None:
        if self._ahead.size:  # an epoch that was left: so many at once were too many
            self.forget_ahead()
        self._epoch += 1
        self._drawn, self._goes_on = 0, True
        self.epoch_started()

    def _batches(self, turn: object) -> Iterator[NDArray[np.int64]]:
        while True:
            if turn is not self._turn:
                raise RuntimeError(
                    f"{type(self).__name__}: this epoch was left when another one was started or a "
                    "state was loaded. Use the newest iterator, or one sampler per loop."
                )
            if self._schedules:
                self._follow_schedules()
            size = self._next_size()
            if size == 0:
                return
            indices = self._hand_out(size)
            if indices.size == 0:  # a live change left nothing to draw
                return
            self._goes_on = False  # only now: an epoch that nobody saw a batch of is not over
            yield indices

    def batches_ahead(self, most: int) -> NDArray[np.int64]:
        """The next full batches of this epoch at once, int64 (at most `most`, batch).

        They are those that would come one by one, and count as handed out. To be called after a
        batch; there may be none, also where more of the epoch is left.
        """
        size = self.batch_size
        count = min(most, (self.samples_per_epoch - self._drawn) // size)
        if count <= 0 or self._schedules:
            batches = np.empty((0, size), np.int64)
        elif self.foreseen:
            self._draw_ahead(size, count * size)
            count = min(count, self._ahead.size // size)
            batches = self._hand_out(count * size).reshape(count, size)
        else:
            batches = self.draw_batches(count, size)
            self._drawn += batches.size
        return batches

    def take(self, size: int) -> NDArray[np.int64]:
        """The next `size` samples, int64 (size,), whatever the batch size.

        Where the epoch ends, the next one is started. This is how one sampler draws from another.
        """
        self._turn = None
        if self._schedules:
            self._follow_schedules()
        parts: list[NDArray[np.int64]] = []
        while size > 0:
            left = self.samples_per_epoch - self._drawn
            part = self._hand_out(min(size, left)) if left > 0 else _NONE
            if part.size == 0:
                self._start_epoch()
            parts.append(part)
            size -= part.size
        return np.concatenate(parts) if parts else _NONE.copy()

    def _follow_schedules(self) -> None:
        declared = parameters_of(self)
        for name, schedule in self._schedules.items():
            value = declared[name].scheduled(schedule, self)
            if value != getattr(self, name):
                declared[name].assign(self, value)

    # -- what is drawn ahead ---------------------------------------------------------------------

    def _hand_out(self, size: int) -> NDArray[np.int64]:
        """The next `size` draws; each is handed out once, so they may be written into."""
        if self._ahead.size < size:
            self._draw_ahead(size, 0)
        indices, self._ahead = self._ahead[:size], self._ahead[size:]
        self._drawn += indices.size
        return indices

    def _draw_ahead(self, size: int, wanted: int) -> None:
        """Have `size` draws ready; where they are foreseen, more: `wanted`, or ever more."""
        if self._ahead.size >= size:
            return
        count = size
        if self.foreseen and not self._schedules:
            # Blocks grow, so that neither the first batch nor a change of settings waits.
            left = self.samples_per_epoch - self._drawn
            count = max(min(max(wanted, 2 * self._block), _AT_ONCE, left) // size, 1) * size
        self._ahead, self._block = self._checked(self.draw(count), count), count

    def _checked(self, draws: Any, size: int) -> NDArray[np.int64]:
        """A copy of what a strategy drew: it may be writing into an array that it keeps."""
        array, name = np.array(draws), type(self).__name__
        if array.shape == (0,):
            if self._drawn == 0:
                raise ValueError(
                    f"{name}: draw({size}) gave no index at the start of epoch {self._epoch}. "
                    "Return `size` of them; an epoch ends after samples_per_epoch draws."
                )
            return _NONE
        if array.ndim != 1 or array.dtype.kind not in "iu":
            came = "None" if draws is None else f"shape {array.shape} and dtype {array.dtype}"
            raise TypeError(
                f"{name}: draw({size}) must return whole numbers, shape ({size},), got {came}. "
                "Return an array of indices, for example .astype(int)."
            )
        if array.size > size:
            raise ValueError(
                f"{name}: draw({size}) returned {array.size} indices. Return `size` of them."
            )
        return array.astype(np.int64, copy=False)

    def forget_ahead(self, expected: int = 0) -> None:
        """Make what was drawn ahead void: the next draws, `expected` in number, are made anew."""
        self._ahead, self._block = _NONE, expected // 2
