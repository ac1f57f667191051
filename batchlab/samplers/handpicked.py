"""Samples chosen by hand, around whatever strategy chooses the others."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler
from batchlab.samplers.draws.coupling import coupled
from batchlab.samplers.draws.permutation import shuffled
from batchlab.samplers.draws.stream import generator_of
from batchlab.samplers.picks import HAND, Factors, Hand, Pick, Samples
from batchlab.samplers.wrapper import Wrapper
from batchlab.validation import check_indices

_NONE = np.empty(0, np.int64)
_IN_VAIN = 10**6  # draws in a row that were all excluded
_COUNTERS = ("epoch", "given", "skipped", "lost", "began", "batches")


class HandPickedSampler(Hand):
    """A strategy with a hand on it: some samples never, some always, some more often, some now.

    With the strategy's own chances ``p``, the factors ``b`` (0 for what is excluded, 1 where nothing
    was said) and k of B places pinned, any one place of the next batch holds sample i with chance

        ``P(i) = pinned(i) / B + (1 - k/B) * q(i)``,  with ``q(i) = p(i) b(i) / sum(p b)``.

    How q is drawn exactly: an excluded sample is skipped and the strategy asked again, so that a
    permutation stays one, without it. Where there are factors, a draw of mean factor ``m = sum(p
    b)`` is kept with chance ``min(1, b/m)``, and else replaced by one with chances ``~ p max(b - m,
    0)``: a maximal coupling, which takes one draw of the strategy for one place, whatever it is. So
    in an epoch without replacement a boosted sample comes about ``b/m`` times, at the cost of
    others. What leaves no choice (sequential) cannot be boosted. A strategy that composes batches
    (stratified, m per class, mixture) goes on as it is, and excluded samples are replaced in that
    way too: its shares then hold only before the hand. The strategy's chances are taken as they are
    before each batch.

    An epoch is one pass of the strategy, less its excluded samples: pinned ones and those of `next`
    come on top. Where `exclude` changes within an epoch, that epoch may end sooner; nothing comes
    twice because of it. All settings act from the next batch on, and with none of them the batches
    are those of the strategy, bit for bit.

    Parameters
    ----------
    sampler : Sampler
        The strategy. All its settings, its feedback and state are reached through this one.
    exclude : array_like of int
        Samples that never come, whatever else is said of them.
    pin : array_like of int
        Samples that are in every batch, in random places: a place each, fewer than `batch_size`.
    boost : dict from int to float, or array_like of float, shape (n,)
        Factors on the strategy's chances. Needs a strategy that states them.
    next : array_like of int
        The next batch is exactly these; then it is ``()`` again.
    fill_next : bool, default False
        Whether the strategy fills that batch up to `batch_size`.
    correct : bool, default False
        Whether :meth:`importance_weights` undo what `boost`, `pin` and `next` do: a factor ``p(i) /
        P(i)``, divided by the largest of the batch. What was excluded cannot be weighted back.

    Raises
    ------
    TypeError, ValueError, IndexError
        If a sample or factor is not possible, no place or no sample is left for the strategy, or
        chances are needed that it does not state. Nothing has changed then.

    Examples
    --------
    >>> from batchlab.samplers import RandomSampler
    >>> sampler = HandPickedSampler(RandomSampler(8, batch_size=4), exclude=[3, 5])
    >>> sorted(np.concatenate(list(sampler)).tolist())
    [0, 1, 2, 4, 6, 7]
    >>> sampler.next = [7, 0]
    >>> next(iter(sampler)).tolist()
    [7, 0]
    >>> sampler.replacement, sampler.boost = True, {0: 5.0}
    >>> sampler.probabilities.round(2).tolist()
    [0.5, 0.1, 0.1, 0.0, 0.1, 0.0, 0.1, 0.1]
    """

    exclude = Samples((), "samples that never come")
    pin = Samples((), "samples that are in every batch")
    boost = Factors({}, "factors on the chances of samples")
    next = Samples((), "the next batch is exactly these samples")
    fill_next = Pick(False, "whether the strategy fills that batch up")
    correct = Pick(False, "whether importance weights undo boost, pin and next")

    def __init__(
        self,
        sampler: Sampler,
        *,
        exclude: ArrayLike = (),
        pin: ArrayLike = (),
        boost: Mapping[int, float] | ArrayLike | None = None,
        next: ArrayLike = (),
        fill_next: bool = False,
        correct: bool = False,
    ) -> None:
        if isinstance(sampler, Wrapper):
            raise TypeError(
                f"{type(self).__name__}: sampler must be a strategy, got {type(sampler).__name__}. "
                "Put that one around this one."
            )
        super().__init__(sampler)
        self._epoch = self._began = sampler.epoch  # of this one, and of the strategy at its start
        self._given = sampler.position  # the strategy's draws in this epoch that were handed out,
        self._skipped = 0  # and those that were not, as they were excluded
        self._lost = 0  # those skipped when `exclude` was changed
        self._batches = 0  # handed out in this epoch
        self._last: dict[str, Any] | None = None  # what the chances were of the last batch
        self._goes_on, self._turn = sampler._goes_on, None
        self.exclude, self.pin, self.boost = exclude, pin, {} if boost is None else boost
        self.next, self.fill_next, self.correct = next, fill_next, correct

    # -- epochs ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being drawn, from 0."""
        return self._epoch

    @property
    def position(self) -> int:
        """How many draws of the strategy were handed out in this epoch."""
        return self._given

    @property
    def samples_per_epoch(self) -> int:
        """How many draws of the strategy make an epoch; pinned samples come on top."""
        whole = self.sampler.samples_per_epoch
        if self._skips:
            there = self._can_come()
            whole = max(whole * self._can_come(np.flatnonzero(~self._open)) // there, 1)
        return max(whole - self._lost, 0)

    def __len__(self) -> int:
        """Batches per epoch with the present settings."""
        whole = self.samples_per_epoch
        chosen, fixed = self._fixed()
        if chosen:
            whole -= max(self.batch_size - fixed.size, 0) if self.fill_next else 0
        places = self.batch_size - self._pinned().size
        full, rest = divmod(max(whole, 0), places)
        return bool(chosen) + full + bool(rest and not self.drop_last)

    def _places(self) -> int:
        """How many places of the next batch are the strategy's; -1 where the epoch is over."""
        left = self.samples_per_epoch - self._given
        if self._idle:
            chosen, fixed = False, _NONE
        else:
            chosen, fixed = self._fixed()
        if left <= 0:
            return -1
        if chosen:
            return min(max(self.batch_size - fixed.size, 0), left) if self.fill_next else 0
        places = self.batch_size - fixed.size
        return places if left >= places else -1 if self.drop_last else left

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        if not self._goes_on or self._places() < 0:
            self._start_epoch()
        self._turn = turn = object()
        return self._epoch_of(turn)

    def continue_epoch(self) -> None:
        """Let the next ``iter(self)`` go on with this epoch, after the last batch handed out."""
        self._goes_on, self._turn = True, None

    def _start_epoch(self) -> None:
        # Skipping may have led the strategy into its next epoch already: it then goes on there.
        if self.sampler.epoch == self._began and self.sampler.position:
            self.sampler._start_epoch()
        self._epoch, self._began = self._epoch + 1, self.sampler.epoch
        self._given = self._skipped = self._lost = self._batches = 0
        self._goes_on = True

    def _epoch_of(self, turn: object) -> Iterator[NDArray[np.int64]]:
        own = vars(self)  # to set an attribute takes as long as half a batch
        while True:
            if turn is not self._turn:
                raise RuntimeError(
                    f"{type(self).__name__}: this epoch was left when another one was started or a "
                    "state was loaded. Use the newest iterator, or one sampler per loop."
                )
            inside = self.sampler
            if inside._schedules:
                inside._follow_schedules()
            if self._idle and inside._epoch == own["_began"]:  # as the strategy itself does it
                batch, own["_last"] = inside._hand_out(inside._next_size()), None
                own["_given"] += batch.size
                own["_batches"] += batch.size > 0
            else:
                places = self._places()
                batch = _NONE if places < 0 else self._batch(places)
            if batch.size == 0:
                return
            own["_goes_on"] = False
            yield batch

    def batches_ahead(self, most: int) -> NDArray[np.int64]:
        """See :meth:`Sampler.batches_ahead`; none where the hand has a say."""
        if not self._idle or self.sampler.epoch != self._began:
            return np.empty((0, self.batch_size), np.int64)
        batches = self.sampler.batches_ahead(most)
        self._given += batches.size
        self._batches += len(batches)
        return batches

    # -- a batch ---------------------------------------------------------------------------------

    def _batch(self, places: int) -> NDArray[np.int64]:
        if self._idle:
            fresh = self._one_for_one(places)
            self._given += fresh.size
            self._batches += 1
            self._last = None
            return fresh
        chosen, fixed = self._fixed()
        # Keys of four numbers: no strategy draws from these streams.
        generator = generator_of(self.seed, self._epoch, self._batches, 0, 0)
        factors = self._present_factors()
        needed = factors is not None or (self.correct and fixed.size)
        chances = self._strategys_chances() if needed else None
        fresh, mean = self._drawn(places, chances, factors, generator)
        if fresh.size == 0 < places:  # the strategy has ended its epoch early
            return fresh
        total = fixed.size + fresh.size
        self._last = None
        if self.correct:
            named, counts = np.unique(fixed, return_counts=True)
            own = chances[named].tolist() if named.size else []
            pinned = list(zip(named.tolist(), (counts / total).tolist(), own))
            self._last = {"share": fresh.size / total, "mean": mean, "fixed": pinned}
        self._given += fresh.size
        self._batches += 1
        if chosen:
            vars(self)["next"] = ()
        if fixed.size == 0 or fresh.size == 0:
            return fresh if fixed.size == 0 else fixed
        batch = np.empty(total, np.int64)
        order = shuffled(total, generator)
        batch[order[: fixed.size]] = fixed
        batch[np.sort(order[fixed.size :])] = fresh
        return batch

    def _drawn(
        self,
        size: int,
        chances: NDArray[np.float64] | None,
        factors: NDArray[np.float64] | None,
        generator: np.random.Generator,
    ) -> tuple[NDArray[np.int64], float]:
        """The strategy's part of a batch after the hand, and the mean factor."""
        if size == 0:
            return _NONE, 1.0
        fresh = self._skipping(size) if self._skips else self._one_for_one(size)
        if factors is None or fresh.size == 0:
            return fresh, 1.0
        if not (chances * factors).any():
            raise ValueError(self._in_vain("could come in this batch"))
        return coupled(fresh, chances, factors, generator)

    def _present_factors(self) -> NDArray[np.float64] | None:
        """The factors that draws are kept or replaced by; None where all are kept."""
        if self._open is None or self._skips:
            return self._factors
        return self._open * (1.0 if self._factors is None else self._factors)

    def _one_for_one(self, size: int) -> NDArray[np.int64]:
        inside = self.sampler
        return inside._hand_out(size) if inside.epoch == self._began else inside.take(size)

    def _skipping(self, size: int) -> NDArray[np.int64]:
        parts: list[NDArray[np.int64]] = []
        vain = 0
        while size > 0:
            drawn = self.sampler.take(size)
            kept = drawn[self._open[drawn]]
            self._skipped += drawn.size - kept.size
            vain = 0 if kept.size else vain + drawn.size
            if vain > _IN_VAIN:
                raise ValueError(self._in_vain(f"came in {vain} draws"))
            parts.append(kept)
            size -= kept.size
        return np.concatenate(parts)

    # -- chances ---------------------------------------------------------------------------------

    def _strategys_chances(self) -> NDArray[np.float64] | None:
        """Chances of the strategy's next draw that is not skipped, float64 (n,)."""
        inside = self.sampler
        chances = inside.probabilities
        if chances is None or not self._skips:
            return chances
        for _ in range(_IN_VAIN):
            open_ones = chances * self._open
            if open_ones.any():
                return open_ones / open_ones.sum()
            # The next draw is an excluded one for sure: look at the one after it.
            inside = copy.deepcopy(inside) if inside is self.sampler else inside
            inside.take(1)
            chances = inside.probabilities
        raise ValueError(self._in_vain("could come"))

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Chance that any one place of the next batch holds sample i, float64 (n,), or None."""
        chances, factors = self._strategys_chances(), self._present_factors()
        chosen, fixed = self._fixed()
        places = self._places()
        if places < 0:  # of the first batch of the next epoch
            places = 0 if chosen and not self.fill_next else max(self.batch_size - fixed.size, 0)
        if factors is not None and places:
            chances = chances * factors
            if not chances.any():
                raise ValueError(self._in_vain("could come in this batch"))
            chances /= chances.sum()
        if fixed.size == 0:
            return chances
        own = np.bincount(fixed, minlength=self.n) / (fixed.size + places)
        if places == 0:
            return own
        return None if chances is None else own + chances * (places / (fixed.size + places))

    @property
    def weighs(self) -> bool:
        """Whether the strategy gives importance weights, or the hand's bias is to be undone."""
        return self.sampler.weighs or self.correct

    def importance_weights(self, indices: ArrayLike) -> NDArray[np.float32] | None:
        """Factors for the losses of `indices`, float32 (..., batch); see `correct`.

        They are those of the batch handed out last, and never 0: what the strategy would not have
        drawn at all gets the smallest factor there is.
        """
        own = self.sampler.importance_weights(indices)
        if not self.correct or self._last is None:
            return own
        batches = np.asarray(indices)
        check_indices(batches.reshape(-1), self.n, type(self).__name__)
        share, mean = self._last["share"], self._last["mean"]
        factors = np.ones(batches.shape) if self._factors is None else self._factors[batches]
        times = share * factors / mean  # how often it comes for once without the hand
        with np.errstate(divide="ignore"):
            for sample, part, chance in self._last["fixed"]:
                times[batches == sample] += np.divide(part, chance)
            weights = 1 / times
        weights = np.maximum(weights, np.finfo(np.float32).tiny) * (1.0 if own is None else own)
        weights /= weights.max(axis=-1, keepdims=True)
        return np.maximum(weights, np.finfo(np.float32).tiny).astype(np.float32)

    # -- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state of the strategy and what was set by hand, as plain JSON."""
        hand = {name: getattr(self, name) for name in HAND}
        hand["boost"] = [[i, b] for i, b in self.boost.items()]
        counters = {name: getattr(self, f"_{name}") for name in _COUNTERS}
        return {**super().state_dict(), "hand": hand, "last": self._last, **counters}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the position of `state`; see :meth:`Sampler.load_state_dict`."""
        before = dict(vars(self))
        inside = self.sampler.state_dict()
        super().load_state_dict(state)
        try:
            self._take(state)
        except Exception as error:
            self.sampler.load_state_dict(inside)
            vars(self).clear()
            vars(self).update(before)
            reason = f"it has no {error}." if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{type(self).__name__}: cannot load this state: {reason}") from error

    def _take(self, state: dict[str, Any]) -> None:
        vars(self).update(pin=(), exclude=(), boost={})
        for name in HAND:
            setattr(self, name, dict(state["hand"][name]) if name == "boost" else state["hand"][name])
        place = Parameter(0, low=0)
        for name in _COUNTERS:
            vars(self)[f"_{name}"] = replace(place, name=name).check(state[name])
        self._last = state["last"]
        self.continue_epoch()

    def __repr__(self) -> str:
        own = {name: getattr(self, name) for name in HAND}
        said = [f"{name}={value!r}" for name, value in own.items() if value]
        return f"{type(self).__name__}({', '.join([repr(self.sampler), *said])})"
