"""Several sources in one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler, overridden
from batchlab.samplers.draws.state import unchanged_on_error
from batchlab.samplers.ratios import RatioSampler, apportion, apportion_all
from batchlab.validation import check_losses


class MixtureSampler(RatioSampler):
    """Every batch from several sources, each with a strategy and a share of its own.

    The indices are those of the sources laid end to end, in the order of the dict: with sources of
    100 and 50 samples, 0 … 99 are the first one's and 100 … 149 the second one's. That is what
    ``Loader.from_sources`` expects. A source that runs out starts its next epoch, with a new
    permutation, while the others go on; ``statistics`` counts it. Each has random numbers of its
    own, also where seeds are equal: which source it is counts as part of its seed.

    Parameters
    ----------
    samplers : dict from str to Sampler
        One per source. Their own batch sizes are not used.
    ratios : dict from str to float, optional
        Shares that add up to 1; by default in proportion to the sizes. May be changed at any time,
        all (``sampler.ratios = {...}``) or one (``sampler.ratio_web = 0.3``: the others make room
        in proportion), or follow a schedule (``sampler.ratio_web = Schedule(0.9, 0.1, epochs=5)``).
    batch_size, seed, drop_last
        See :class:`Sampler`. An epoch has as many samples as all sources together.
    exact : bool, default True
        Whether every batch holds each share exactly, rounded down or up with the rounding spread
        over the batches. If not, a source is drawn for each sample: the shares are expectations.

    Examples
    --------
    >>> from batchlab.samplers import RandomSampler
    >>> sources = {"old": RandomSampler(100, 1), "new": RandomSampler(50, 1, seed=1)}
    >>> sampler = MixtureSampler(sources, {"old": 0.25, "new": 0.75}, batch_size=8)
    >>> [int((batch >= 100).sum()) for batch in sampler][:3]
    [6, 6, 6]
    >>> sampler.statistics["restarts"]
    {'old': 0, 'new': 2}
    """

    composes = True
    exact = Parameter(True, "whether every batch holds the shares exactly")

    def __init__(
        self,
        samplers: Mapping[str, Sampler],
        ratios: Mapping[str, float] | None = None,
        batch_size: int = 32,
        *,
        exact: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        owner = type(self).__name__
        if not isinstance(samplers, Mapping) or not samplers:
            raise TypeError(
                f"{owner}: samplers must be a dict from name to sampler, got {samplers!r}."
            )
        for name, sampler in samplers.items():
            if not isinstance(name, str) or not isinstance(sampler, Sampler):
                raise TypeError(
                    f"{owner}: samplers must be a dict from a name to a batchlab sampler, got "
                    f"{name!r}: {type(sampler).__name__}. Derive your own from Sampler."
                )
        if len({id(sampler) for sampler in samplers.values()}) < len(samplers):
            raise ValueError(
                f"{owner}: every source needs a sampler of its own, one is used twice."
            )
        self.samplers = dict(samplers)
        total = sum(sampler.n for sampler in self.samplers.values())
        if total > 2**62:
            raise ValueError(
                f"{owner}: samplers have {total} samples together, and at most 2**62 can be numbered."
            )
        sizes = np.array([sampler.n for sampler in self.samplers.values()])
        self._offsets = np.cumsum(sizes) - sizes
        super().__init__(total, batch_size, seed=seed, drop_last=drop_last)
        if ratios is None:
            ratios = dict(zip(self.samplers, (sizes / sizes.sum()).tolist()))
        self._declare_ratios(list(self.samplers), ratios)
        self.exact = exact
        _branch_off(self)

    def members(self) -> tuple[Sampler, ...]:
        return tuple(self.samplers.values())

    def draw(self, size: int) -> NDArray[np.int64]:
        return self._draw(1, size)[0]

    def draw_batches(self, count: int, size: int) -> NDArray[np.int64]:
        # Only of foreseen draws two small parts are the same as a large one.
        steady = all(each.foreseen and not each._schedules for each in self.members())
        return self._draw(count, size) if steady else super().draw_batches(count, size)

    def _draw(self, count: int, size: int) -> NDArray[np.int64]:
        shares, uniforms = self._shares(), self.uniforms(count * size)
        # Of up to 16 bits, NumPy sorts them in linear time.
        numbers = np.arange(shares.size, dtype=np.min_scalar_type(shares.size))
        if self.exact:
            counts, credit = apportion_all(count, size, shares, self._credit)
            in_order = np.repeat(np.tile(numbers, count), counts.reshape(-1))
            order = np.argsort(uniforms.reshape(count, size), axis=1)
            sources = np.take_along_axis(in_order.reshape(count, size), order, axis=1).reshape(-1)
            wanted = counts.sum(axis=0)
        else:
            ends = np.cumsum(shares)
            sources = numbers[np.searchsorted(ends / ends[-1], uniforms, side="right")]
            wanted, credit = np.bincount(sources, minlength=shares.size), self._credit
        with unchanged_on_error(self):
            parts = [
                sampler.take(each) + offset
                for sampler, offset, each in zip(self.members(), self._offsets, wanted.tolist())
            ]
        self._credit = credit
        batches = np.empty(count * size, np.int64)
        batches[np.argsort(sources, kind="stable")] = np.concatenate(parts)
        return batches.reshape(count, size)

    def _routed(self, indices: NDArray[np.int64]) -> list[tuple[Sampler, NDArray[np.int64]]]:
        """Every source and which of the `indices` are its own, as places in the batch."""
        source = np.searchsorted(self._offsets, indices, side="right") - 1
        return [(s, np.flatnonzero(source == number)) for number, s in enumerate(self.members())]

    def update(self, indices: ArrayLike, losses: ArrayLike) -> None:
        """Hand the losses, (batch,), of `indices`, (batch,), to the sources they came from."""
        checked, values = check_losses(indices, losses, self.n, type(self).__name__)
        for (sampler, places), offset in zip(self._routed(checked), self._offsets):
            if places.size:
                sampler.update(checked[places] - offset, values[places])

    @property
    def listens(self) -> bool:
        """Whether any of the sources listens."""
        own = overridden(self, "update", MixtureSampler)
        return own or any(sampler.listens for sampler in self.members())

    @property
    def weighs(self) -> bool:
        """Whether any of the sources gives importance weights."""
        own = overridden(self, "importance_weights", MixtureSampler)
        return own or any(sampler.weighs for sampler in self.members())

    def importance_weights(self, indices: ArrayLike) -> NDArray[np.float32] | None:
        """The sources' own weights, float32 (..., batch), 1 where a source has none."""
        chosen = np.asarray(indices)
        weights = np.ones(chosen.shape, np.float32)
        weighing = [
            (sampler, offset)
            for sampler, offset in zip(self.members(), self._offsets)
            if sampler.weighs
        ]
        for batch, row in zip(np.atleast_2d(chosen), np.atleast_2d(weights)):
            for sampler, offset in weighing:
                places = np.flatnonzero((batch >= offset) & (batch < offset + sampler.n))
                if places.size:
                    own = sampler.importance_weights(batch[places] - offset)
                    row[places] = 1.0 if own is None else own
        return weights if weighing else None

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        shares = self._shares()
        if self.exact:
            size = self._next_size() or self.batch_size
            shares = apportion(size, shares, self._credit)[0] / size
        chances = [sampler.probabilities for sampler in self.members()]
        if any(own is None for own in chances):
            return None
        return np.concatenate([share * own for share, own in zip(shares, chances)])

    @property
    def statistics(self) -> dict[str, Any]:
        restarts = {name: sampler.epoch for name, sampler in self.samplers.items()}
        return {**super().statistics, "restarts": restarts}

    def extra_state(self) -> dict[str, Any]:
        states = {name: sampler.state_dict() for name, sampler in self.samplers.items()}
        return {**super().extra_state(), "samplers": states}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        if list(state["samplers"]) != list(self.samplers):
            raise ValueError(
                f"its sources are {list(state['samplers'])}, here {list(self.samplers)}."
            )
        for name, sampler in self.samplers.items():
            sampler.load_state_dict(state["samplers"][name])


def _branch_off(sampler: Sampler, branch: tuple[int, ...] = ()) -> None:
    """Give all that `sampler` draws from random numbers of their own."""
    sampler._branch = branch
    for number, member in enumerate(sampler.members(), start=1):
        _branch_off(member, (*branch, number))
