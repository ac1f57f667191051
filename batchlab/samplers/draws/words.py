"""The first random words of many generators at once.

Seeding one of NumPy's generators takes about as long as training on a small batch. Here its own
arithmetic is done for many together: that of ``SeedSequence``, and of PCG64 (O'Neill, 2014, "PCG: A
family of simple fast space-efficient statistically good algorithms for random number generation").
NumPy promises to change neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchlab.samplers.draws.permutation import scale
from batchlab.samplers.draws.stream import generator_of

Words = NDArray[np.uint32]
Wide = tuple[NDArray[np.uint64], NDArray[np.uint64]]  # of 128 bits: the high and the low half

_POOL = 4  # words that a SeedSequence keeps
_ABSORB, _EMIT = (0x43B0D7E5, 0x931E8875), (0x8B51F9DD, 0x58F38DED)  # keys of its two hashes
_MIX, _HALF = (np.uint32(0xCA01F9DD), np.uint32(0x4973F715)), np.uint32(16)
_FACTOR = (0x2360ED051FC65DA4, 0x4385DF649FCCF645)  # of PCG64


def first_words(
    seed: tuple[int, ...], key: tuple[int, ...], places: NDArray[np.int64], count: int
) -> NDArray[np.uint64]:
    """What ``generator_of(seed, *key, place).bit_generator.random_raw(count)`` gives, for many places.

    Parameters
    ----------
    seed, key : tuple of int
    places : ndarray of int64, shape (k,)
    count : int

    Returns
    -------
    ndarray of uint64, shape (k, count)
    """
    if places.size < 2 * count + 16 or places.max() >> 32:  # one by one is faster, or the only way
        words = np.empty((places.size, count), np.uint64)
        for row, place in zip(words, places.tolist()):
            row[:] = generator_of(seed, *key, place).bit_generator.random_raw(count)
        return words
    state, step = _seeded(_pools(seed, key, places.astype(np.uint32)))
    words = np.empty((count, places.size), np.uint64)
    for row in words:
        high, low = state = _plus(_times_factor(state), step)
        mixed, turn = high ^ low, high >> np.uint64(58)
        row[:] = mixed >> turn | mixed << (-turn & np.uint64(63))
    return words.T


def _pools(seed: tuple[int, ...], key: tuple[int, ...], places: Words) -> list[Words]:
    """The words of ``SeedSequence(seed, spawn_key=(*key, place)).pool`` for the places; 4 of (k,)."""
    seed_words, key_words = (
        sum(max(1, -(-part.bit_length() // 32)) for part in parts) for parts in (seed, key)
    )
    hashed = _POOL * (max(_POOL, seed_words) + key_words)
    pools = []
    for number, word in enumerate(np.random.SeedSequence(seed, spawn_key=key).pool, start=hashed):
        mixed = _MIX[0] * np.full_like(places, word) - _MIX[1] * _hash(places, _ABSORB, number)
        pools.append(mixed ^ mixed >> _HALF)
    return pools


def _hash(words: Words, key: tuple[int, int], number: int) -> Words:
    """The hash of `words` that is made after `number` others."""
    before = key[0] * pow(key[1], number, 2**32)
    words = (words ^ np.uint32(before % 2**32)) * np.uint32(before * key[1] % 2**32)
    return words ^ words >> _HALF


def _seeded(pools: list[Words]) -> tuple[Wide, Wide]:
    """The state of a PCG64 seeded with each of the pools, and what it adds at every step."""
    halves = [_hash(pools[k % _POOL], _EMIT, k).astype(np.uint64) for k in range(2 * _POOL)]
    start, more, high, low = (a | b << np.uint64(32) for a, b in zip(halves[::2], halves[1::2]))
    one = np.uint64(1)
    step = high << one | low >> np.uint64(63), low << one | one
    return _plus(_times_factor(_plus((start, more), step)), step), step


def _plus(number: Wide, other: Wide) -> Wide:
    low = number[1] + other[1]
    return number[0] + other[0] + (low < other[1]), low


def _times_factor(number: Wide) -> Wide:
    factor_high, factor_low = map(np.uint64, _FACTOR)
    over = scale(number[1], _FACTOR[1]).view(np.uint64)
    return number[0] * factor_low + number[1] * factor_high + over, number[1] * factor_low
