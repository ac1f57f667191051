"""Draw in proportion to weights that change all the time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """A wide tree of sums: a batch of draws or of changes costs O(batch * log n).

    Every node is the sum of 32 below it, up to a top of at most 16 384, whose cumulative sums are
    kept: ten million samples need two levels below it, and each is one vectorised step for the
    whole batch. Sums are computed anew from below, never adjusted, so that rounding errors cannot
    pile up.

    Parameters
    ----------
    weights : ndarray of float64, shape (n,)
        Not negative, not all zero.
    """

    WIDTH = 32
    TOP = 2**14
    CHUNK = 512  # draws at a time: the memory of one chunk serves the next

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.n = weights.size
        self._levels: list[NDArray[np.float64]] = []  # each (nodes, 32), the samples first
        while weights.size > self.TOP:
            level = np.zeros((-(-weights.size // self.WIDTH), self.WIDTH))
            level.reshape(-1)[: weights.size] = weights
            self._levels.append(level)
            weights = level.sum(axis=1)
        self._sums = [level.reshape(-1) for level in self._levels] + [weights.copy()]
        self._ends = np.concatenate(([0.0], np.cumsum(weights)))

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(self._ends[-1])

    @property
    def weights(self) -> NDArray[np.float64]:
        """A view of the weights, float64 (n,)."""
        return self._sums[0][: self.n]

    def set(self, indices: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Give the samples `indices` new weights, both of shape (batch,)."""
        self.weights[indices] = weights
        for level, sums in zip(self._levels, self._sums[1:]):
            indices = indices // self.WIDTH
            sums[indices] = level[indices].sum(axis=1)
        np.cumsum(self._sums[-1], out=self._ends[1:])

    def find(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The sample of each number in [0, 1), int64, of the same shape (batch,)."""
        ends = self._ends
        heights = _below(uniforms * ends[-1], ends[-1])
        nodes = np.searchsorted(ends[1:], heights, side="right")
        heights -= ends[nodes]
        for start in range(0, uniforms.size, self.CHUNK) if self._levels else ():
            chunk = slice(start, start + self.CHUNK)
            nodes[chunk] = self._descend(nodes[chunk], heights[chunk])
        return nodes

    def _descend(self, nodes: NDArray[np.int64], heights: NDArray[np.float64]) -> NDArray[np.int64]:
        """The samples at `heights` within `nodes` of the top, all of shape (batch,)."""
        rows = np.arange(nodes.size)
        sums = np.zeros((nodes.size, self.WIDTH + 1))
        for level in reversed(self._levels):
            np.cumsum(level[nodes], axis=1, out=sums[:, 1:])
            heights = _below(heights, sums[:, -1])
            children = (sums[:, 1:] > heights[:, np.newaxis]).argmax(axis=1)
            heights -= sums[rows, children]
            nodes = nodes * self.WIDTH + children
        return nodes


def _below(heights: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounding may carry a height past the end; the last weight above 0 is meant then."""
    return np.minimum(heights, np.nextafter(total, 0.0))
