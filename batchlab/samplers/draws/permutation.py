"""A random order of all samples: stored, or computed place by place in no memory at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_HALF = np.uint64(32)
_FEW = 64  # swaps


def shuffled(n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """0 … n - 1 in random order, int64 (n,): random words, sorted, with the number in the low bits.

    About twice as fast as ``Generator.permutation`` where NumPy sorts with vector instructions, and
    made of raw words, which NumPy promises never to change. Words that are equal in their upper
    bits keep the order of the numbers: of 2**25 samples that is one pair in 30 000.
    """
    return order_of(generator.bit_generator.random_raw(n))


def order_of(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The order that :func:`shuffled` makes of random words, which are written over; (..., n)."""
    n = words.shape[-1]
    bits = np.uint64((n - 1).bit_length())
    words >>= bits
    words <<= bits
    words |= np.arange(n, dtype=np.uint64)
    words.sort()
    words &= (np.uint64(1) << bits) - np.uint64(1)
    return words.view(np.int64)


def swap_in_turn(
    cards: NDArray[np.int64], places: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Swap what lies at ``places[k]`` and at ``others[k]``, for each k in turn, all at once.

    Parameters
    ----------
    cards : ndarray of int64, shape (n,)
        Written into.
    places, others : ndarray of int64, of one shape

    Returns
    -------
    ndarray of int64, of that shape
        What lay at ``places[k]`` then: a Fisher-Yates shuffle deals it, if ``others[k]`` is any
        place from ``places[k]`` on.

    Examples
    --------
    >>> cards = np.array([10, 11, 12])
    >>> swap_in_turn(cards, np.array([0, 1]), np.array([2, 2])), cards
    (array([12, 10]), array([12, 10, 11]))
    """
    if places.size <= _FEW:  # a loop is faster
        lying, dealt = memoryview(cards), []  # whose single entries cost less than the array's
        for place, other in zip(places.reshape(-1).tolist(), others.reshape(-1).tolist()):
            card = lying[other]
            lying[other], lying[place] = lying[place], card
            dealt.append(card)
        return np.array(dealt, np.int64).reshape(places.shape)
    touched = np.column_stack((places.reshape(-1), others.reshape(-1))).reshape(-1)
    # By place, then by turn: a stable sort of 16 bits at a time, which NumPy does in linear time.
    order = np.lexsort(touched.astype("<i8").view("<u2").reshape(-1, 4).T)
    ordered = touched[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1])
    # What lies there came with the swap before, from its other place; and so on, to the first.
    source = np.arange(touched.size)
    source[order[again + 1]] = order[again] ^ 1
    alone = np.flatnonzero(touched[::2] == touched[1::2]) * 2  # swapped with itself
    source[alone + 1] = source[alone]
    while ((further := source[source]) != source).any():
        source = further
    found = cards[touched[source]].reshape(-1, 2)
    cards[touched] = found[:, ::-1].reshape(-1)  # of several, the last stays
    return found[:, 1].reshape(places.shape)


class KeyedPermutation:
    """A permutation of 0 … n - 1 as a function: O(1) memory, any place at once.

    An alternating Feistel network (Luby & Rackoff, 1988) permutes the smallest power of two that
    holds n: each round adds a keyed hash of one half of the bits to the other half, which can be
    undone whatever the hash is. A result of n or more is sent through again until it falls below n
    ("cycle walking", Black & Rogaway, 2002), on average less than twice.

    Parameters
    ----------
    n : int
        How many numbers to permute, at most 2**62.
    keys : ndarray of uint64, shape (rounds,)
        Random words. Eight rounds mix well enough that at large n no test here tells it from a
        shuffle. At small n not every order is as likely (at n = 5 or 6 a chi-square test shows it), and
        where n is a power of two from 16 on all of them are even: use :func:`shuffled` there.

    Examples
    --------
    >>> keys = np.random.PCG64(0).random_raw(8)
    >>> order = KeyedPermutation(10, keys)(np.arange(10))
    >>> sorted(order.tolist()) == list(range(10))
    True
    """

    def __init__(self, n: int, keys: NDArray[np.uint64]) -> None:
        bits = max(n - 1, 1).bit_length()
        self.n = n
        self.keys = keys
        self._low_bits = np.uint64(bits // 2)
        self._low = np.uint64((1 << bits // 2) - 1)
        self._high = np.uint64((1 << bits - bits // 2) - 1)

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers at `places`, int64, of the same shape (batch,)."""
        numbers = self._encrypt(places.astype(np.uint64))
        outside = np.flatnonzero(numbers >= self.n)
        while outside.size:
            walked = self._encrypt(numbers[outside])
            numbers[outside] = walked
            outside = outside[walked >= self.n]
        return numbers.astype(np.int64)

    def _encrypt(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low, high = numbers & self._low, numbers >> self._low_bits
        for turn, key in enumerate(self.keys):
            if turn % 2:
                high ^= _hash(low, key) & self._high
            else:
                low ^= _hash(high, key) & self._low
        return (high << self._low_bits) | low


def _hash(numbers: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea & Flood, 2014), keyed."""
    mixed = numbers + key
    for shift, factor in zip((np.uint64(30), np.uint64(27)), _MIX):
        mixed ^= mixed >> shift
        mixed *= factor
    return mixed ^ (mixed >> _HALF)


def scale(words: NDArray[np.uint64], high: int) -> NDArray[np.int64]:
    """Random 64-bit words to whole numbers from 0 to high - 1: the upper half of words * high.

    A float product would round: near 2**53 it can neither reach every number nor stay below `high`.
    Here the chances differ by at most high / 2**64, relatively.
    """
    upper, lower = words >> _HALF, words & np.uint64(0xFFFFFFFF)
    factor_upper, factor_lower = np.uint64(high >> 32), np.uint64(high & 0xFFFFFFFF)
    middle = upper * factor_lower + (lower * factor_lower >> _HALF)
    cross = lower * factor_upper + (middle & np.uint64(0xFFFFFFFF))
    return (upper * factor_upper + (middle >> _HALF) + (cross >> _HALF)).astype(np.int64)
