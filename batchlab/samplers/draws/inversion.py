"""From a uniform number to a sample: the inverse of a cumulative sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class CumulativeTable:
    """Draw i with chance ``w_i / sum(w)``, one uniform number per draw, exactly as float64 allows.

    A binary search in a table of millions of entries waits for memory at every step. So once many
    draws were made, a guide table (Chen & Asau, 1974) cuts [0, 1) into about n equal parts and
    keeps where the search of each part begins and ends: about one step is left. Both ways give the
    same samples.

    Parameters
    ----------
    weights : ndarray of float64, shape (n,)
        Checked weights: finite, not negative, not all zero.
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        # Divided by the largest first: a sum of huge weights must not overflow.
        self.cumulative = weights / weights.max()
        np.cumsum(self.cumulative, out=self.cumulative)
        self.total = self.cumulative[-1]
        self._last = int(np.searchsorted(self.cumulative, self.total))  # the last one above 0
        self._guide: NDArray[np.int32] | None = None
        self._draws_until_guide = self.cumulative.size // 64

    def find(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The sample of each number in [0, 1), int64, of the same shape (batch,)."""
        heights = uniforms * self.total
        if self._guide is None and self._draws_until_guide < 0 and self._last < 2**31:
            self._guide = self._make_guide()
        self._draws_until_guide -= uniforms.size
        if self._guide is None:
            # side="right" passes over entries of weight 0; the limit guards against rounding up.
            found = np.searchsorted(self.cumulative, heights, side="right")
        else:
            found = self._find_guided(heights)
        return np.minimum(found, self._last)

    def _parts(self, heights: NDArray[np.float64]) -> NDArray[np.int64]:
        # Used for the entries and for the draws alike, so that rounding cannot separate them.
        return (heights * (self._n_parts / self.total)).astype(np.int64)

    @property
    def _n_parts(self) -> int:
        return 1 << (self.cumulative.size.bit_length() - 1)

    def _make_guide(self) -> NDArray[np.int32]:
        """Entry k: how many cumulative sums lie in the parts before k, int32 (parts + 2,)."""
        guide = np.zeros(self._n_parts + 2, dtype=np.int32)
        chunk = 1 << 18  # small temporaries: fresh memory costs more than the arithmetic
        for start in range(0, self.cumulative.size, chunk):
            parts = self._parts(self.cumulative[start : start + chunk])
            first, last = int(parts[0]), int(parts[-1])
            guide[first + 1 : last + 2] += np.bincount(parts - first).astype(np.int32)
        return np.cumsum(guide, out=guide)

    def _find_guided(self, heights: NDArray[np.float64]) -> NDArray[np.int64]:
        parts = self._parts(heights)
        low, high = self._guide[parts].astype(np.int64), self._guide[parts + 1]
        draws = np.flatnonzero(low < high)
        left, right, heights = low[draws], high[draws], heights[draws]
        while draws.size:  # a binary search of all the draws that are still open
            middle = (left + right) >> 1
            beyond = self.cumulative[middle] <= heights
            left, right = np.where(beyond, middle + 1, left), np.where(beyond, right, middle)
            low[draws] = left
            kept = np.flatnonzero(left < right)
            draws, left, right, heights = draws[kept], left[kept], right[kept], heights[kept]
        return low
