"""The random numbers and the random order of an epoch: functions of seed, epoch and place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.samplers.draws.permutation import KeyedPermutation, shuffled


def generator_of(seed: Sequence[int], *key: int) -> np.random.Generator:
    """A new generator: the same for the same seed and `key`, such as the epoch."""
    # spawn_key, not seed + epoch: with a sum, seed 0 in epoch 1 would repeat seed 1 in epoch 0.
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return np.random.Generator(np.random.PCG64(sequence))


class Stream:
    """The numbers of an epoch and its random order of all samples, from any place on.

    What is kept here only saves making it twice: nothing depends on what was asked before.

    Parameters
    ----------
    n : int
        Number of samples.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._running: tuple[tuple[Any, int, int], np.random.Generator] | None = None
        self._order: tuple[tuple[Any, int], NDArray[np.int64]] | None = None

    def at(self, seed: tuple[int, ...], epoch: int, place: int, size: int) -> np.random.Generator:
        """The epoch's generator, at `place`; it is about to give `size` words."""
        if self._running is not None and self._running[0] == (seed, epoch, place):
            generator = self._running[1]
        else:
            generator = generator_of(seed, epoch)
            generator.bit_generator.advance(place)
        self._running = ((seed, epoch, place + size), generator)
        return generator

    def order(
        self, seed: tuple[int, ...], epoch: int, start: int, size: int, limit: int
    ) -> NDArray[np.int64]:
        """At most `size` of the epoch's order from `start` on, int64; stored for up to `limit`."""
        places = slice(start, min(start + size, self.n))
        if self.n > limit:
            keys = generator_of(seed, epoch).bit_generator.random_raw(8)
            return KeyedPermutation(self.n, keys)(np.arange(places.start, places.stop))
        if self._order is None or self._order[0] != (seed, epoch):
            self._order = (seed, epoch), shuffled(self.n, generator_of(seed, epoch))
        return self._order[1][places].copy()
