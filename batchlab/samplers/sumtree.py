"""Draw in proportion to weights that change all the time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """A wide tree of sums: a batch of draws or of changes costs O(batch * log n).

    Every node is the sum of 64 below it, so ten million samples need four levels, and each level is
    one vectorised step for the whole batch. Sums are computed anew from below, never adjusted, so
    that rounding errors cannot pile up.

    Parameters
    ----------
    weights : ndarray of float64, shape (n,)
        Not negative.
    """

    WIDTH = 64

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.n = weights.size
        self.levels: list[NDArray[np.float64]] = []  # each (nodes, 64), the samples first
        while True:
            rows = -(-weights.size // self.WIDTH)
            level = np.zeros((rows, self.WIDTH))
            level.reshape(-1)[: weights.size] = weights
            self.levels.append(level)
            if rows == 1:
                break
            weights = level.sum(axis=1)

    @property
    def total(self) -> float:
        return float(self.levels[-1].sum())

    @property
    def weights(self) -> NDArray[np.float64]:
        """A view of the weights, float64 (n,)."""
        return self.levels[0].reshape(-1)[: self.n]

    def set(self, indices: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Give the samples `indices` new weights, both of shape (batch,)."""
        self.weights[indices] = weights
        for level, above in zip(self.levels, self.levels[1:]):
            indices = indices // self.WIDTH
            above.reshape(-1)[indices] = level[indices].sum(axis=1)

    def find(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The sample of each number in [0, 1), int64, of the same shape (batch,)."""
        heights = uniforms * self.total
        nodes = np.zeros(uniforms.size, np.int64)
        rows = np.arange(uniforms.size)
        for depth, level in enumerate(reversed(self.levels)):
            sums = np.cumsum(level[nodes], axis=1)
            children = (sums <= heights[:, np.newaxis]).sum(axis=1)
            # Rounding may carry a height past the row: then the last child that weighs anything.
            beyond = np.flatnonzero(children == self.WIDTH)
            if beyond.size:
                children[beyond] = (sums[beyond] < sums[beyond, -1:]).sum(axis=1)
            first = children == 0
            heights = heights - np.where(first, 0.0, sums[rows, children - 1])
            nodes = nodes * self.WIDTH + children
        return nodes
