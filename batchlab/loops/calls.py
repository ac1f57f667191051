"""What goes into one call of the compiled function, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Samples and, where there are some, weights, (steps, batch) each; or what `undrawn` gives.
Columns = list[NDArray[Any]]


@dataclass
class Group:
    """Batches for one call: some of one size, and the smaller last ones of their epochs.

    They are a part of an epoch, or several whole ones of equally many batches.
    """

    full: NDArray[Any]  # the samples, int64 (steps, batch); or what they are drawn by, float64
    last: NDArray[Any]
    parts: tuple[Any, Any]  # both as the compiled function takes them
    known: bool  # whether the compiled function knows these sizes
    epochs: int = 1
    begins: bool = False  # whether another epoch, drawn together with this one, ends before it

    @property
    def steps(self) -> int:
        """How many batches these are."""
        return len(self.full) + len(self.last)


@dataclass
class Result:
    """What some steps of one size did: the samples trained on and their losses, (steps, kept)."""

    indices: NDArray[np.int64]
    losses: NDArray[np.float32]
    totals: NDArray[np.float32]
    scored_per_step: int
    ended: dict[str, Any] | None = None  # the logs of the epoch that ended in the call before them

    def first(self, count: int) -> Result:
        """The first `count` steps of it."""
        columns = (self.indices, self.losses, self.totals)
        return Result(*(column[:count] for column in columns), self.scored_per_step)


def empty(column: NDArray[Any], size: int) -> NDArray[Any]:
    """No row of batches of `size`."""
    return np.empty((0, size)[: column.ndim], column.dtype)


def filled(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """`rows`, with zeros below where there are fewer than `count`."""
    missing = count - len(rows)
    if missing <= 0:
        return rows
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
