"""The same mix of classes in every batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler
from batchlab.samplers.draws.decks import Decks
from batchlab.samplers.draws.permutation import KeyedPermutation, order_of
from batchlab.samplers.draws.state import check_fingerprint, fingerprint
from batchlab.samplers.draws.words import first_words
from batchlab.samplers.ratios import RatioSampler, apportion, apportion_all
from batchlab.validation import check_labels, check_whole

_AT_ONCE = 2**18  # batches times classes, at most
# Among more classes, some are found one by one, so that a batch costs O(batch).
_SHUFFLED_UP_TO = 2**12


class _DeckState:
    """What the strategies that deal from decks have in common."""

    composes = True
    _decks: Decks
    n: int

    @cached_property
    def _labels_fingerprint(self) -> str:
        return fingerprint(self._decks.codes)

    def extra_state(self) -> dict[str, Any]:
        dealt = self._decks.dealt.tolist()
        return {**super().extra_state(), "labels": self._labels_fingerprint, "dealt": dealt}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        check_fingerprint(state, "labels", self._labels_fingerprint)
        super().load_extra_state(state)
        self._decks = copy.copy(self._decks)
        self._decks.dealt = check_whole(state["dealt"], "dealt", 0, 2**62, self._decks.counts.size)


class StratifiedSampler(_DeckState, RatioSampler):
    """The wanted share of every class in every single batch, exactly.

    A batch of b samples holds ``b * ratio`` of each class, rounded down or up; the rounding is
    spread so that over any run of batches no class is one whole sample ahead or behind. Within a
    class, every sample comes once before any comes again; a class whose ratio is above its share
    of the data comes around sooner.

    With the shares of the data an epoch shows each sample exactly once.

    Parameters
    ----------
    labels : array_like of int or str, shape (n,)
        The class of every sample.
    batch_size, seed, drop_last
        See :class:`Sampler`.
    ratios : dict from class to float, or "equal", optional
        Shares that add up to 1; classes left out get 0. By default those of the data. May be
        changed at any time, all (``sampler.ratios = {...}``) or one (``sampler.ratio_cat = 0.3``:
        the others make room in proportion).

    Examples
    --------
    >>> labels = np.array(["cat"] * 90 + ["dog"] * 10)
    >>> sampler = StratifiedSampler(labels, batch_size=10, ratios={"cat": 0.7, "dog": 0.3})
    >>> [int((labels[batch] == "dog").sum()) for batch in sampler]
    [3, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    """

    def __init__(
        self,
        labels: ArrayLike,
        batch_size: int,
        ratios: Mapping[Any, float] | str | None = None,
        *,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        owner = type(self).__name__
        self.classes, codes = check_labels(labels, owner)
        self._decks = Decks(codes)
        names = self.classes.tolist()
        if isinstance(ratios, str) and ratios != "equal":
            raise ValueError(f"{owner}: ratios must be a dict, 'equal' or None, got {ratios!r}.")
        if ratios is None:
            ratios = dict(zip(names, (self._decks.counts / codes.size).tolist()))
        elif isinstance(ratios, str):
            ratios = dict.fromkeys(names, 1 / len(names))
        super().__init__(codes.size, batch_size, seed=seed, drop_last=drop_last)
        self._declare_ratios(names, ratios)

    def draw(self, size: int) -> NDArray[np.int64]:
        return self._deal(1, size)[0]

    def draw_batches(self, count: int, size: int) -> NDArray[np.int64]:
        return self._deal(count, size)

    def _deal(self, count: int, size: int) -> NDArray[np.int64]:
        count = max(min(count, _AT_ONCE // self.classes.size), 1)
        counts, self._credit = apportion_all(count, size, self._shares(), self._credit)
        _, groups = counts.nonzero()
        groups = np.repeat(groups, counts[counts > 0])
        hands = self._decks.deal(groups, self._entropy).reshape(count, size)
        order = np.argsort(self.uniforms(count * size).reshape(count, size), axis=1)
        return np.take_along_axis(hands, order, axis=1)

    def epoch_started(self) -> None:
        if np.allclose(self._shares() * self.n, self._decks.counts, atol=1e-6):
            # Each epoch is then one round of every deck, also after drop_last left some out.
            self._decks.new_round(np.arange(self._decks.counts.size))
            self._credit = np.zeros(self._credit.size)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        size = self._next_size() or self.batch_size
        counts, _ = apportion(size, self._shares(), self._credit)
        return self._decks.chances(counts.astype(float), self._entropy)


class MPerClassSampler(_DeckState, Sampler):
    """m samples of each of ``batch_size / m`` classes, which are drawn anew for every batch.

    This is the batch of metric learning: every sample finds partners of its own class in it, and
    ``x[batch].reshape(classes, m, ...)`` separates the classes. The classes of a batch are drawn
    without replacement, all alike; the samples of a class are different within a batch and are
    dealt in random order, shuffled anew when fewer than m are left.

    Parameters
    ----------
    labels : array_like of int or str, shape (n,)
        The class of every sample; every class has at least m.
    m : int
        Samples per class in a batch.
    batch_size : int
        A multiple of m, at most ``m * classes``.
    seed, drop_last
        See :class:`Sampler`.

    Examples
    --------
    >>> labels = np.arange(30) % 5
    >>> sampler = MPerClassSampler(labels, m=2, batch_size=6)
    >>> sorted(np.bincount(labels[next(iter(sampler))], minlength=5).tolist())
    [0, 0, 2, 2, 2]
    """

    m = Parameter(2, "samples per class in a batch", low=1, slider=(1, 16))

    def __init__(
        self,
        labels: ArrayLike,
        m: int,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.classes, codes = check_labels(labels, type(self).__name__)
        self._decks = Decks(codes)
        self.n = codes.size
        self.m = m
        super().__init__(codes.size, batch_size, seed=seed, drop_last=drop_last)

    @property
    def samples_per_epoch(self) -> int:
        return self._drawn + (self.n - self._drawn) // self.m * self.m

    def check_parameter(self, name: str, value: Any) -> None:
        super().check_parameter(name, value)
        owner = type(self).__name__
        counts = self._decks.counts
        if name == "m" and value > counts.min():
            smallest = int(counts.argmin())
            raise ValueError(
                f"{owner}: m must not be larger than any class, got {value}, but class "
                f"{self.classes[smallest].item()!r} has {counts[smallest]} samples. Lower m, or "
                "leave that class out."
            )
        if "batch_size" not in vars(self) and name == "m":
            return
        m, size = (value, self.batch_size) if name == "m" else (self.m, value)
        if name in {"m", "batch_size"} and (size % m or size > m * counts.size):
            raise ValueError(
                f"{owner}: batch_size must be a multiple of m and at most m * classes = "
                f"{m * counts.size}, got batch_size={size} with m={m}."
            )

    def draw(self, size: int) -> NDArray[np.int64]:
        return self._deal(1, size)[0]

    def draw_batches(self, count: int, size: int) -> NDArray[np.int64]:
        return self._deal(count, size)

    def _deal(self, count: int, size: int) -> NDArray[np.int64]:
        count = min(count, _AT_ONCE // min(self.classes.size, _SHUFFLED_UP_TO))
        groups = self._some_classes(count, size).reshape(-1)
        hands = self._decks.deal_hands(groups, self.m, self._entropy)
        return hands.reshape(count, -1)[:, :size]

    def _some_classes(self, count: int, size: int) -> NDArray[np.int64]:
        """The classes of each of the next batches, int64 (count, wanted), all different in a row."""
        wanted, classes = -(-size // self.m), self.classes.size
        starts = self.position + size * np.arange(count)
        shuffles = classes <= _SHUFFLED_UP_TO
        words = first_words(self._entropy, (self._epoch,), starts, classes if shuffles else 8)
        if shuffles:
            return order_of(words)[:, :wanted]
        return np.stack([KeyedPermutation(classes, keys)(np.arange(wanted)) for keys in words])

    @property
    def probabilities(self) -> NDArray[np.float64]:
        decks = copy.copy(self._decks)
        decks.dealt = decks.dealt.copy()
        short = decks.counts - decks.dealt % decks.counts < self.m
        decks.new_round(np.flatnonzero(short))
        return decks.chances(np.full(decks.counts.size, float(self.m)), self._entropy)
