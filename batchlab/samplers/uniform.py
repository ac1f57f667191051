"""Strategies that treat all samples alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler


class SequentialSampler(Sampler):
    """The samples in the order of the data: 0, 1, 2, …

    This is what ``tf.data.Dataset.from_tensor_slices(...).batch(...)`` does.

    Parameters
    ----------
    n, batch_size, seed, drop_last
        See :class:`Sampler`. The seed changes nothing here.

    Examples
    --------
    >>> [batch.tolist() for batch in SequentialSampler(n=5, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    foreseen = True

    def draw(self, size: int) -> NDArray[np.int64]:
        return np.arange(self.position, self.position + size)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        chances = np.zeros(self.n)
        chances[self.position % self.n] = 1.0
        return chances


class RandomSampler(Sampler):
    """All samples alike, in random order.

    Without replacement an epoch is a permutation: every sample once. With replacement every draw
    is any sample with chance 1/n, so that one epoch covers about 1 - 1/e = 63.2 % of the data.

    Above ``stored_order_limit`` samples (2**25) the permutation is computed place by place and
    never stored, so that a thousand million samples need no memory and no wait.

    Parameters
    ----------
    n, batch_size, seed, drop_last
        See :class:`Sampler`.
    replacement : bool, default False
        Whether a sample may come again within an epoch.

    Examples
    --------
    >>> sampler = RandomSampler(n=5, batch_size=2)
    >>> first, second = np.concatenate(list(sampler)), np.concatenate(list(sampler))
    >>> sorted(first.tolist()), sorted(second.tolist())
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """

    foreseen = True
    replacement = Parameter(False, "whether a sample may come again within an epoch")

    def __init__(
        self,
        n: int,
        batch_size: int,
        replacement: bool = False,
        *,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(n, batch_size, seed=seed, drop_last=drop_last)
        self.replacement = replacement

    def draw(self, size: int) -> NDArray[np.int64]:
        return self.integers(size) if self.replacement else self.permuted(size)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return np.full(self.n, 1 / self.n) if self.replacement else self.left_of_permutation()
