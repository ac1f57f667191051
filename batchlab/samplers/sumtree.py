"""Draw in proportion to weights that change all the time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """A wide tree of sums: a batch of draws or of changes costs O(batch * log n).

    Every node is the sum of 32 below it, up to a top of at most 2048, so ten million samples need
    four levels, and each level is one vectorised step for the whole batch. Sums are computed anew
    from below, never adjusted, so that rounding errors cannot pile up.

    Parameters
    ----------
    weights : ndarray of float64, shape (n,)
        Not negative, not all zero.
    """

    WIDTH = 32
    TOP = 2048

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.n = weights.size
        self.levels: list[NDArray[np.float64]] = []  # each (nodes, 32), the samples first
        while weights.size > self.TOP or not self.levels:
            level = np.zeros((-(-weights.size // self.WIDTH), self.WIDTH))
            level.reshape(-1)[: weights.size] = weights
            self.levels.append(level)
            weights = level.sum(axis=1)
        self.top = weights
        self._sums = [level.reshape(-1) for level in self.levels[1:]] + [self.top]
        self._ends = np.concatenate(([0.0], np.cumsum(self.top)))

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self._ends[-1])

    @property
    def weights(self) -> NDArray[np.float64]:
        """A view of the weights, float64 (n,)."""
        return self.levels[0].reshape(-1)[: self.n]

    def set(self, indices: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Give the samples `indices` new weights, both of shape (batch,)."""
        self.weights[indices] = weights
        for level, sums in zip(self.levels, self._sums):
            indices = indices // self.WIDTH
            sums[indices] = level[indices].sum(axis=1)
        np.cumsum(self.top, out=self._ends[1:])

    def find(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The sample of each number in [0, 1), int64, of the same shape (batch,)."""
        ends = self._ends
        heights = _below(uniforms * ends[-1], ends[-1])
        nodes = np.searchsorted(ends[1:], heights, side="right")
        heights -= ends[nodes]
        rows = np.arange(uniforms.size)
        sums = np.zeros((uniforms.size, self.WIDTH + 1))
        for level in reversed(self.levels):
            np.cumsum(level[nodes], axis=1, out=sums[:, 1:])
            heights = _below(heights, sums[:, -1])
            children = (sums[:, 1:] > heights[:, np.newaxis]).argmax(axis=1)
            heights -= sums[rows, children]
            nodes = nodes * self.WIDTH + children
        return nodes


def _below(heights: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounding may carry a height past the end; the last weight above 0 is meant then."""
    return np.minimum(heights, np.nextafter(total, 0.0))
