"""What is left of an epoch of a sampler, ours or anybody's: batches, together where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Draw = Callable[[Iterator[NDArray[np.int64]]], NDArray[np.int64]]


class Epoch:
    """What is left of an epoch of a sampler, which need not be one of ours."""

    def __init__(self, sampler: Any, done: int, owner: str) -> None:
        self.sampler, self.owner = sampler, owner
        self.empty = done == 0
        self._ours = hasattr(sampler, "continue_epoch")
        # Saved after the last batch, before the epoch was closed: ours know it themselves.
        self.over = not self._ours and done >= len(sampler)
        self.failure: Exception | None = None  # of the last draw
        self._begun = done > 0
        self._count = self._most = 0
        self._batches: Iterator[Any] | None = None

    def draw(self, count: int, take: Draw | None) -> Iterator[NDArray[np.int64]]:
        """The next `count` batches, as matrices (steps, batch): fewer at the end, or at a failure."""
        self.failure = None
        ahead = None if take else getattr(self.sampler, "batches_ahead", None)
        while count > 0 and not self._finished():
            matrix = self._tried(self._next, take or next)
            while matrix is not None and len(matrix):
                self.empty = False
                self._count += len(matrix)
                count -= len(matrix)
                yield matrix  # before more is drawn: the sampler is asked what it weighs
                matrix = self._tried(ahead, count) if ahead and count > 0 else None
        if self.over and self.empty:
            raise ValueError(
                f"{self.owner}: {type(self.sampler).__name__} gave an epoch with no batch. Its "
                "__iter__ must yield at least one array of indices each time it is called."
            )

    def undrawn(self, count: int) -> list[tuple[NDArray[Any], ...]]:
        """What the next `count` batches come from, if the compiled function is to draw them."""
        if self._tried(self._opened) is None:
            return []
        parts = [] if self._finished() else self.sampler.undrawn(count)
        self._count += sum(len(part[0]) for part in parts)
        self.empty = self.empty and not parts
        self._finished()
        return parts

    def _finished(self) -> bool:
        # An endless iterator with a length gives as many batches as model.fit takes. The greatest
        # length counts: a live change of the batch size cuts what is left anew.
        self._most = max(self._most, len(self.sampler))
        self.over = self.over or self._count >= self._most
        return self.over or self.failure is not None

    def _next(self, take: Draw) -> NDArray[np.int64]:
        return np.asarray(take(self._opened()))[np.newaxis]

    def _opened(self) -> Iterator[Any]:
        if self._batches is None:
            going_on, self._begun = self._begun and self._ours, True
            if going_on:
                self.sampler.continue_epoch()
                epoch = self.sampler.epoch
            self._batches = iter(self.sampler)
            if going_on and self.sampler.epoch != epoch:
                raise StopIteration  # nothing was left of it
        return self._batches

    def _tried(self, draw: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return draw(*arguments)
        except StopIteration:
            self.over = True
        except Exception as error:  # raised when what was drawn before it has been trained on
            self.failure, self._batches = error, None
        except BaseException:  # Ctrl-C, or a strategy that leaves: the epoch goes on when asked again
            self._batches = None
            raise
