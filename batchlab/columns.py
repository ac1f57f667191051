"""How a record is kept: flat arrays that grow at their end, read batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Column:
    """A one-dimensional array that grows at its end."""

    def __init__(self, dtype: Any) -> None:
        self._array = np.empty(1024, dtype=dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[Any]:
        return self._array[: self._size]

    def extend(self, values: NDArray[Any]) -> None:
        size = self._size + values.size
        if size > self._array.size:
            larger = np.empty(max(size, 2 * self._array.size), dtype=self._array.dtype)
            larger[: self._size] = self.values
            self._array = larger
        self._array[self._size : size] = values
        self._size = size

    def drop(self, count: int) -> None:
        """Forget the first `count` values."""
        self._array = self._array[count : self._size].copy()
        self._size -= count


class Steps(Sequence):
    """One flat array read as a sequence of batches."""

    # The ends are read first: a thread that draws may look while another one records.
    def __init__(self, ends: NDArray[np.int64], values: NDArray[Any]) -> None:
        self._ends, self._values = ends, values

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, step: Any) -> Any:
        if isinstance(step, slice):
            return [self[number] for number in range(*step.indices(len(self)))]
        step = range(len(self))[step]
        start = self._ends[step - 1] if step else 0
        return self._values[start : self._ends[step]]

    def __repr__(self) -> str:
        return f"<batches of {len(self)} steps>"
