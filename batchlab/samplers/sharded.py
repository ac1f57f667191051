"""One sampler, several workers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler
from batchlab.samplers.wrapper import Wrapper


class ShardedSampler(Wrapper):
    """One worker's part of every batch of another sampler.

    The sampler inside draws the batch of the whole training, whatever its strategy, and worker
    `shard` takes every `num_shards`-th sample of it. So the shards are disjoint parts of one batch,
    all of one size, their step counts are equal, and samples move between workers from epoch to
    epoch (to shard first and shuffle after would keep them apart for ever). Of a smaller last
    batch, up to ``num_shards - 1`` samples that do not make a full round are left out. Other batches
    lose none: their size is a multiple of `num_shards`, and one that follows a :class:`Schedule` is
    rounded down to such a multiple.

    Settings, feedback, weights and everything else are those of the sampler inside. A strategy that
    learns stays the same on every worker only if each one is told the losses of all of them. Its
    state is the same for every shard, and for any number of them.

    Parameters
    ----------
    sampler : Sampler
        Built alike on every worker; its batch size is the global one, a multiple of `num_shards`.
        The sampler inside is bound to such multiples from now on.
    num_shards : int
        How many workers there are.
    shard : int
        Which one this is, from 0.

    Examples
    --------
    >>> from batchlab.samplers import SequentialSampler
    >>> for shard in range(2):
    ...     sampler = ShardedSampler(SequentialSampler(10, batch_size=4), num_shards=2, shard=shard)
    ...     print([batch.tolist() for batch in sampler])
    [[0, 2], [4, 6], [8]]
    [[1, 3], [5, 7], [9]]
    """

    def __init__(self, sampler: Sampler | Wrapper, num_shards: int, shard: int) -> None:
        owner = type(self).__name__
        self.num_shards = Parameter(1, low=1, name="num_shards").check(num_shards, owner)
        self.shard = Parameter(0, low=0, high=num_shards - 1, name="shard").check(shard, owner)
        super().__init__(sampler)
        if sampler.batch_size % num_shards:
            raise ValueError(
                f"{owner}: batch_size must be a multiple of num_shards={num_shards}, got "
                f"{sampler.batch_size}. It is that of all shards together."
            )
        sampler.multiples = {**sampler.multiples, "batch_size": num_shards}

    def __len__(self) -> int:
        """Batches per epoch, the same for every shard."""
        rest = self.sampler.samples_per_epoch % self.sampler.batch_size
        return len(self.sampler) - (0 < rest < self.num_shards and not self.sampler.drop_last)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return self._parts(iter(self.sampler))

    def _parts(self, batches: Iterator[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
        for batch in batches:
            whole = batch.size - batch.size % self.num_shards
            if whole:
                yield batch[self.shard : whole : self.num_shards]

    def batches_ahead(self, most: int) -> NDArray[np.int64]:
        """This shard's part of the next full batches; see :meth:`Sampler.batches_ahead`."""
        return self.sampler.batches_ahead(most)[:, self.shard :: self.num_shards]

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Those of the sampler inside, whose next draw is shard 0's; None for other shards."""
        return self.sampler.probabilities if self.shard == 0 else None

    def __repr__(self) -> str:
        return f"ShardedSampler({self.sampler!r}, num_shards={self.num_shards}, shard={self.shard})"
