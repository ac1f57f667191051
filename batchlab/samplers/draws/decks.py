"""Groups of samples as decks of cards: dealt in random order, shuffled anew when one runs out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.samplers.draws.permutation import shuffled
from batchlab.samplers.draws.stream import generator_of

Indices = NDArray[np.int64]


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

    def __init__(self, codes: Indices) -> None:
        self.codes = codes
        self.counts = np.bincount(codes)
        self.dealt = np.zeros(self.counts.size, np.int64)
        self._starts = np.cumsum(self.counts) - self.counts
        self._members = np.argsort(codes, kind="stable")  # group after group
        self._seed: Any = None

    def _cards(self, groups: Indices, numbers: Indices, seed: tuple[int, ...]) -> Indices:
        """The cards `numbers`, counted over all rounds, of the decks `groups`, all of shape (k,)."""
        if seed != self._seed:
            # What is kept: the decks end to end, each in the order of one round, and which round.
            self._seed, self._laid = seed, self._members.copy()
            self._round = np.full(self.counts.size, -1)
        rounds, places = np.divmod(numbers, self.counts[groups])
        places += self._starts[groups]
        cards = self._laid[places]
        waiting = np.flatnonzero(self._round[groups] != rounds)
        while waiting.size:  # one turn for each round that begins
            decks, first = np.unique(groups[waiting], return_index=True)
            for group, round_ in zip(decks.tolist(), rounds[waiting[first]].tolist()):
                self._shuffle(group, round_)
            cards[waiting] = self._laid[places[waiting]]
            waiting = waiting[self._round[groups[waiting]] != rounds[waiting]]
        return cards

    def _shuffle(self, group: int, round_: int) -> None:
        start, count = int(self._starts[group]), int(self.counts[group])
        order = shuffled(count, generator_of(self._seed, 0, group, round_))
        self._laid[start : start + count] = self._members[start + order]
        self._round[group] = round_

    def deal(self, groups: Indices, seed: tuple[int, ...]) -> Indices:
        """The next card of each of the decks `groups`, which may name one many times; (k,)."""
        numbers = self.dealt[groups] + _earlier(groups, self.counts.size)
        self.dealt[groups] = numbers + 1
        return self._cards(groups, numbers, seed)

    def deal_hands(self, groups: Indices, size: int, seed: tuple[int, ...]) -> Indices:
        """From each of the decks `groups`, (k,), the next `size` cards of one round; (k, size).

        Where a round has fewer left, they are put away.
        """
        counts, hands = self.counts[groups], _earlier(groups, self.counts.size)
        rounds, places = np.divmod(self.dealt[groups], counts)
        left, each = (counts - places) // size, counts // size  # hands of this round, of any other
        later = hands - left
        numbers = np.where(
            later < 0,
            self.dealt[groups] + hands * size,
            (rounds + 1 + later // each) * counts + later % each * size,
        )
        self.dealt[groups] = numbers + size
        cards = (numbers[:, np.newaxis] + np.arange(size)).reshape(-1)
        return self._cards(np.repeat(groups, size), cards, seed).reshape(-1, size)

    def new_round(self, groups: Indices) -> None:
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
        places = self.dealt % self.counts
        left = self.counts - places
        from_present = np.minimum(wanted, left) / np.maximum(wanted, 1)
        here = wanted / wanted.sum()
        chances = (here * (1 - from_present) / self.counts)[self.codes]
        # A deck that is whole need not be shuffled: its samples are alike.
        begun = np.flatnonzero((places > 0) & (wanted > 0))
        self._cards(begun, self.dealt[begun], seed)
        groups = self.codes[self._laid]
        open_ = np.arange(groups.size) - self._starts[groups] >= places[groups]
        chances[self._laid[open_]] += (here * from_present / left)[groups[open_]]
        return chances


def _earlier(groups: Indices, n_groups: int) -> Indices:
    """How often each entry stands before it in `groups`, of the same shape (k,)."""
    # Of up to 16 bits, NumPy sorts them in linear time.
    order = np.argsort(groups.astype(np.min_scalar_type(n_groups)), kind="stable")
    places, starts = np.arange(order.size), np.arange(order.size)
    ordered = groups[order]
    starts[1:][ordered[1:] == ordered[:-1]] = 0
    earlier = np.empty_like(order)
    earlier[order] = places - np.maximum.accumulate(starts)
    return earlier
