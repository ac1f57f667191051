"""One sampler, several workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter, parameters_of
from batchlab.samplers.base import Sampler


class ShardedSampler:
    """One worker's part of every batch of another sampler.

    The sampler inside draws the batch of the whole training, whatever its strategy, and worker
    `shard` takes every `num_shards`-th sample of it. So the shards are disjoint parts of one batch,
    all of one size, their step counts are equal, and samples move between workers from epoch to
    epoch (to shard first and shuffle after would keep them apart for ever). Of a smaller last
    batch, up to ``num_shards - 1`` samples that do not make a full round are left out.

    Settings, feedback and everything else are those of the sampler inside. A strategy that learns
    stays the same on every worker only if each one is told the losses of all of them.

    Parameters
    ----------
    sampler : Sampler
        Built alike on every worker; its batch size is the global one, a multiple of `num_shards`.
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

    own_parameters: Mapping[str, Parameter] = MappingProxyType({})

    def __init__(self, sampler: Sampler, num_shards: int, shard: int) -> None:
        owner = type(self).__name__
        if not isinstance(sampler, Sampler):
            raise TypeError(
                f"{owner}: sampler must be a batchlab sampler, got {type(sampler).__name__}. "
                "Derive your own from Sampler."
            )
        self.num_shards = Parameter(1, low=1, name="num_shards").check(num_shards, owner)
        self.shard = Parameter(0, low=0, high=num_shards - 1, name="shard").check(shard, owner)
        self._check_batch_size(sampler.batch_size)
        self.sampler = sampler
        self.own_parameters = parameters_of(sampler)

    def _check_batch_size(self, batch_size: int) -> None:
        if batch_size % self.num_shards:
            raise ValueError(
                f"ShardedSampler: batch_size must be a multiple of num_shards={self.num_shards}, "
                f"got {batch_size}. It is that of all shards together."
            )

    def __getattr__(self, name: str) -> Any:
        if name == "sampler":  # not built yet
            raise AttributeError(name)
        return getattr(self.sampler, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.own_parameters:
            super().__setattr__(name, value)
            return
        if name == "batch_size":
            self._check_batch_size(self.own_parameters[name].check(value, type(self).__name__))
        setattr(self.sampler, name, value)

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

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Those of the sampler inside, whose next draw is shard 0's; None for other shards."""
        return self.sampler.probabilities if self.shard == 0 else None

    def state_dict(self) -> dict[str, Any]:
        """The state of the sampler inside: the same for every shard, and for any number of them."""
        return {"sampler": type(self).__name__, "inside": self.sampler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the position of `state`, which any shard may have saved; see :class:`Sampler`."""
        name = type(self).__name__
        if not isinstance(state, dict) or state.get("sampler") != name or "inside" not in state:
            raise ValueError(f"{name}: cannot load this state: it is not that of a {name}.")
        self.sampler.load_state_dict(state["inside"])

    def __repr__(self) -> str:
        return f"ShardedSampler({self.sampler!r}, num_shards={self.num_shards}, shard={self.shard})"
