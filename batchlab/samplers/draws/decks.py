"""Groups of samples as decks of cards: dealt in random order, shuffled anew when one runs out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.samplers.draws.permutation import shuffled
from batchlab.samplers.draws.stream import generator_of


class Decks:
    """One deck of samples per group. All that must be remembered is how many cards were dealt.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        The group of every sample, from 0.

    Attributes
    ----------
    counts : ndarray of int64, shape (groups,)
        Cards in every deck.
    dealt : ndarray of int64, shape (groups,)
        Cards dealt from every deck since the beginning, over all rounds.
    """

    def __init__(self, codes: NDArray[np.int64]) -> None:
        self.codes = codes
        self.counts = np.bincount(codes)
        self.dealt = np.zeros(self.counts.size, np.int64)
        self._members = np.split(np.argsort(codes, kind="stable"), np.cumsum(self.counts)[:-1])
        self._shuffled: dict[int, tuple[tuple[Any, int], NDArray[np.int64]]] = {}

    def _deck(self, group: int, round_: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
        key = (seed, round_)
        if group not in self._shuffled or self._shuffled[group][0] != key:
            members = self._members[group]
            order = shuffled(members.size, generator_of(seed, 0, group, round_))
            self._shuffled[group] = key, members[order]
        return self._shuffled[group][1]

    def deal(self, group: int, size: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
        """The next `size` cards of a deck, int64 (size,)."""
        hands = []
        while size > 0:
            round_, place = divmod(int(self.dealt[group]), int(self.counts[group]))
            hand = self._deck(group, round_, seed)[place : place + size]
            self.dealt[group] += hand.size
            size -= hand.size
            hands.append(hand)
        return np.concatenate(hands) if hands else np.empty(0, np.int64)

    def new_round(self, groups: NDArray[np.int64]) -> None:
        """Put what is left of these decks away, so that the next card is from a new shuffle."""
        counts = self.counts[groups]
        self.dealt[groups] = -(-self.dealt[groups] // counts) * counts

    def chances(self, wanted: NDArray[np.float64], seed: tuple[int, ...]) -> NDArray[np.float64]:
        """Chance of every sample, float64 (n,), to be any one of the next `wanted` cards.

        Parameters
        ----------
        wanted : ndarray of float64, shape (groups,)
            How many cards each deck is about to deal; the one in question is any of them.
        """
        left = self.counts - self.dealt % self.counts
        from_present = np.minimum(wanted, left) / np.maximum(wanted, 1)
        here = wanted / wanted.sum()
        chances = (here * (1 - from_present) / self.counts)[self.codes]
        present = here * from_present / left
        for group in np.flatnonzero(present):
            round_, place = divmod(int(self.dealt[group]), int(self.counts[group]))
            chances[self._deck(int(group), round_, seed)[place:]] += present[group]
        return chances
