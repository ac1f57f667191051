"""Shares of classes or sources: live by name, and turned into exact counts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler
from batchlab.validation import check_finite, check_ratios

_FEW = 32  # groups: up to here lists are faster than arrays


class RatioParameter(Parameter):
    """One share of several: when it is set, the others make room in proportion."""

    def assign(self, instance: RatioSampler, value: Any) -> None:
        super().assign(instance, value)
        others = [name for name in instance.own_parameters if name != self.name]
        shares = np.array([getattr(instance, name) for name in others])
        if shares.size == 0:
            shares_left = {self.name: 1.0}
        else:
            left = 1 - getattr(instance, self.name)
            total = shares.sum()
            shares = (
                shares * (left / total) if total > 0 else np.full(shares.size, left / shares.size)
            )
            shares_left = dict(zip(others, shares.tolist()))
        vars(instance).update(shares_left)
        instance.parameter_changed("ratios")


class RatioSampler(Sampler):
    """Base of the strategies that mix groups in given shares.

    Every group's share is a setting of its own, ``ratio_<name>``; ``ratios`` is all of them.
    """

    own_parameters: Mapping[str, Parameter] = MappingProxyType({})
    _present_shares: NDArray[np.float64] | None = None

    def _declare_ratios(self, names: list[Any], ratios: Mapping[Any, float]) -> None:
        self._names = names
        self.own_parameters = {
            key: RatioParameter(
                1 / len(names),
                f"share of {name!r}",
                low=0,
                high=1,
                name=key,
                source=type(self).__name__,
            )
            for key, name in zip(map("ratio_{}".format, names), names)
        }
        self._credit = np.zeros(len(names))  # what each group is owed, in samples
        self.ratios = ratios

    def __setattr__(self, name: str, value: Any) -> None:
        parameter = self.own_parameters.get(name)
        if parameter is None:
            super().__setattr__(name, value)
        else:
            parameter.__set__(self, value)

    @property
    def ratios(self) -> dict[Any, float]:
        """The share of every group by name; assign a dict that adds up to 1 to set them all."""
        return {name: getattr(self, f"ratio_{name}") for name in self._names}

    @ratios.setter
    def ratios(self, ratios: Mapping[Any, float]) -> None:
        shares = check_ratios(ratios, self._names, type(self).__name__)
        vars(self).update({f"ratio_{name}": share for name, share in shares.items()})
        self._schedules = {k: v for k, v in self._schedules.items() if k not in self.own_parameters}
        self.parameter_changed("ratios")

    def parameter_changed(self, name: str) -> None:
        super().parameter_changed(name)
        self._present_shares = None

    def _shares(self) -> NDArray[np.float64]:
        """The shares, float64 (groups,); not to be written into."""
        if self._present_shares is None:
            self._present_shares = np.array(list(self.ratios.values()))
        return self._present_shares

    def extra_state(self) -> dict[str, Any]:
        return {"credit": self._credit.tolist()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        name = type(self).__name__
        self._credit = check_finite(state["credit"], name, "credit", length=len(self._names))


def apportion(
    size: int, shares: NDArray[np.float64], credit: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Whole numbers of samples for one batch, and what each group is owed after it.

    Every group gets its quota ``size * share`` rounded down or up. The places that rounding down
    leaves go to the groups that are owed most, and what is still owed is carried over: the largest
    remainder method with a memory. So over any number of batches no group was seen to be a whole
    sample away from the sum of its quotas.

    Parameters
    ----------
    size : int
        Samples in the batch.
    shares, credit : ndarray of float64, shape (groups,)
        Shares that add up to 1, and the credit from the batches before.

    Returns
    -------
    counts : ndarray of int64, shape (groups,)
        Adds up to `size`.
    credit : ndarray of float64, shape (groups,)

    Examples
    --------
    >>> thirds, owed = np.full(3, 1 / 3), np.zeros(3)
    >>> for _ in range(3):
    ...     counts, owed = apportion(4, thirds, owed)
    ...     print(counts)
    [2 1 1]
    [1 2 1]
    [1 1 2]
    """
    counts, credit = apportion_all(1, size, shares, credit)
    return counts[0], credit


def apportion_all(
    batches: int, size: int, shares: NDArray[np.float64], credit: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """:func:`apportion` for several batches, one after the other; counts of (batches, groups)."""
    rounding = 1e-9  # 0.29 * 100 is a little less than 29
    quota = size * shares
    whole_part = np.floor(quota + rounding).astype(np.int64)
    counts = np.tile(whole_part, (batches, 1))
    places = size - int(whole_part.sum())
    if places == 0:  # what is owed changes by rounding alone
        changes = np.tile((quota, -whole_part), (batches, 1))
        return counts, np.add.accumulate(np.vstack((credit, changes)))[-1]
    # Never two of the places to one group, and none where the quota is whole.
    open_ = np.flatnonzero(whole_part + rounding < quota - rounding)
    if open_.size < places:  # by rounding
        open_ = np.arange(shares.size)
    give = _give_among_few if shares.size <= _FEW else _give
    groups, credit = give(batches, places, open_, credit, quota, whole_part)
    counts[np.repeat(np.arange(batches), places), groups] += 1
    return counts, credit


# Both give the `places` of each batch to those of `open_` that are owed most, of equals the first, and
# return these groups, int64 (batches * places,), and what is owed in the end. They round alike.


def _give(
    batches: int,
    places: int,
    open_: NDArray[np.int64],
    credit: NDArray[np.float64],
    quota: NDArray[np.float64],
    whole_part: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    chosen = np.empty((batches, places), np.int64)
    for row in chosen:
        credit = credit + quota - whole_part
        owed = credit[open_]
        gets = owed >= np.partition(owed, -places)[-places]
        if np.count_nonzero(gets) > places:
            gets = np.argsort(-owed, kind="stable")[:places]
        row[:] = open_[gets]
        credit[row] -= 1
    return chosen.reshape(-1), credit


def _give_among_few(
    batches: int,
    places: int,
    open_: NDArray[np.int64],
    credit: NDArray[np.float64],
    quota: NDArray[np.float64],
    whole_part: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    owed, quotas, parts = credit.tolist(), quota.tolist(), whole_part.tolist()
    groups, chosen = open_.tolist(), []
    for _ in range(batches):
        owed = [before + more - part for before, more, part in zip(owed, quotas, parts)]
        for group in sorted(groups, key=owed.__getitem__, reverse=True)[:places]:
            owed[group] -= 1
            chosen.append(group)
    return np.array(chosen, np.int64), np.array(owed)
