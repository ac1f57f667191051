"""What loops and loaders ask of a sampler that need not be one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def checked(sampler: Any, n: int, owner: str) -> Any:
    """`sampler`, found to be an iterable of index arrays with a length, for `n` samples.

    Raises
    ------
    TypeError
        If it is none.
    ValueError
        If it was made for other data.
    """
    ready = hasattr(sampler, "__iter__") and hasattr(sampler, "__len__")
    if not ready or isinstance(sampler, (type, str, Mapping)) or getattr(sampler, "ndim", 1) == 0:
        came = sampler.__name__ if isinstance(sampler, type) else type(sampler).__name__
        raise TypeError(
            f"{owner}: sampler must be an iterable of index arrays with a length, got "
            f"{came}. For shuffled batches: RandomSampler({n}, batch_size=32)."
        )
    own = getattr(sampler, "n", n)
    if own != n:
        raise ValueError(
            f"{owner}: the data has {n} samples, but the sampler was made for {own}. "
            f"Build it with n={n}, or from the labels of the same data."
        )
    return sampler


def listens(sampler: Any) -> bool:
    """Whether feedback can change what it draws; others' samplers need only an `update`."""
    return getattr(sampler, "listens", hasattr(sampler, "update"))


def weighs(sampler: Any) -> bool:
    """Whether it gives importance weights."""
    return getattr(sampler, "weighs", hasattr(sampler, "importance_weights"))


def weights_of(sampler: Any, indices: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Its importance weights of a batch, (batch,), or of several, (steps, batch); None if it has none."""
    weigh = sampler.importance_weights
    if indices.ndim == 1 or hasattr(sampler, "weighs"):
        return weigh(indices)
    rows = [weigh(row) for row in indices]  # others' know one batch
    return None if rows[0] is None else np.array(rows)
