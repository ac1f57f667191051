"""A curve that grows without end, and what of it can be seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_PLACES = 400  # side by side in a curve: there are not many more pixels


class Thinned:
    """The points of a curve that grows, but no more of them than can be seen.

    Once there are many, as many neighbours as are drawn within a pixel share a place, and only the
    lowest and the highest of them are kept: that is what all of them would paint. So what a new
    point costs does not depend on how many there are, and which ones are kept does not depend on
    how they came.

    Attributes
    ----------
    count : int
        How many points the curve has had.
    every : int
        How many of them share a place.
    points : ndarray of float64, shape (kept, 2)
        Those that are kept, in their order; the newest is always there. Of values that are not
        finite, which leave a gap, a place keeps the first and the last.

    Examples
    --------
    >>> curve = Thinned()
    >>> curve.extend([(step, step % 10) for step in range(1000)])
    >>> curve.every, curve.points[:4].tolist()
    (4, [[0.0, 0.0], [3.0, 3.0], [4.0, 4.0], [7.0, 7.0]])
    """

    def __init__(self) -> None:
        self.count, self.every = 0, 1
        self.points = np.empty((0, 2))
        self._numbers = np.empty(0, np.int64)  # of the points kept, among all

    def extend(self, points: ArrayLike) -> None:
        """Add points at the end, (m, 2)."""
        new = np.reshape(points, (-1, 2))
        numbers = np.arange(self.count, self.count + len(new))
        self.points = np.concatenate([self.points, new])
        self._numbers = np.concatenate([self._numbers, numbers])
        self.count += len(new)
        while self.count > MOST_PLACES * self.every:
            self.every *= 2
        if self.every > 2:  # two points are the lowest and the highest
            kept = self._extremes()
            self.points, self._numbers = self.points[kept], self._numbers[kept]

    def _extremes(self) -> NDArray[np.int64]:
        values = self.points[:, 1]
        place = 2 * (self._numbers // self.every) + ~np.isfinite(values)
        order = np.lexsort((values, place))
        last = np.flatnonzero(np.diff(place[order], append=-1))  # of each place
        first = np.append(0, last[:-1] + 1)
        return np.unique([*order[first], *order[last], len(values) - 1])
