"""What a session keeps of its run: any past batch, its settings, and the curves."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.history import History

MODELS_KEPT, BYTES_KEPT = 400, 64 * 2**20  # more steps than a slider has places; and for all of them


class Models:
    """A model as it was at some steps of its run: every few of them, ever fewer as the run gets longer.

    Parameters
    ----------
    variables : sequence of keras.Variable
        Those of the model.

    Attributes
    ----------
    every : int
        Those of the multiples of so many steps are kept.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables
        size = sum(value.nbytes for value in self._values())
        self._most = min(MODELS_KEPT, BYTES_KEPT // max(size, 1))
        self._kept: list[tuple[int, list[NDArray[Any]]]] = []
        self.every = 4

    def keep(self, step: int) -> None:
        """Keep the model of now, which is that of `step`, if it is time."""
        if self._most < 2 or step % self.every:
            return
        self._kept.append((step, self._values()))
        if len(self._kept) > self._most:
            self.every *= 2
            self._kept = [kept for kept in self._kept if kept[0] % self.every == 0]

    @contextmanager
    def as_of(self, step: int, now: int) -> Iterator[int]:
        """Let the model be for a while what it was at `step`, or shortly before: at the step given."""
        place = bisect_right(self._kept, step, key=lambda kept: kept[0])
        if step >= now or not place:
            yield now
            return
        then, values = self._kept[place - 1]
        present = self._values()
        try:
            self._assign(values)
            yield then
        finally:
            self._assign(present)

    def _values(self) -> list[NDArray[Any]]:
        return [variable.numpy() for variable in self._variables]

    def _assign(self, values: list[NDArray[Any]]) -> None:
        for variable, value in zip(self._variables, values):
            variable.assign(value)


class Record:
    """The past of a session, by step; a :class:`Session` writes it."""

    history: History
    scores: list[tuple[int, float]]
    validation_losses: list[tuple[int, float]]
    score_name: str
    models: Models
    _chances: deque[NDArray[np.float32] | None]  # of the newest steps
    _past: list[tuple[int, dict[str, Any]]]  # the settings from a step on

    @property
    def curves(self) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        """Steps and values of every curve: "train loss", "validation loss", and the score's.

        Without validation data the validation loss is empty.
        """
        losses = self.history.step_losses
        steps = np.arange(1, losses.size + 1)
        measured = {"validation loss": self.validation_losses, self.score_name: self.scores}
        return {
            "train loss": (steps, losses),
            **{name: _columns(pairs) for name, pairs in measured.items()},
        }

    def _place(self, step: int) -> int:
        """Where the record keeps `step`."""
        first = self.history.steps - len(self.history.indices)
        if not first <= step < self.history.steps:
            raise IndexError(
                f"Session: step {step} is not recorded; there are {first} to {self.history.steps - 1}."
                if self.history.steps
                else "Session: no step has been trained yet."
            )
        return step - first

    def batch(self, step: int) -> NDArray[np.int32]:
        """The samples that step `step` was trained on, (batch,)."""
        return self.history.indices[self._place(step)]

    def losses_at(self, step: int) -> NDArray[np.float32]:
        """Their losses then, (batch,)."""
        return self.history.losses[self._place(step)]

    def chances_at(self, step: int) -> NDArray[np.float32] | None:
        """How likely each of them was to be drawn next, float32 (batch,), just before that step.

        1 / n is what chance alone would give. None where the sampler cannot say, where there are
        more than 20 000 samples, and further back than 20 000 steps.
        """
        self._place(step)
        place = step - (self.history.steps - len(self._chances))
        return self._chances[place] if place >= 0 else None

    def settings_at(self, step: int) -> dict[str, Any]:
        """The settings that step `step` was trained with, by name."""
        if not 0 <= step <= self.history.steps:
            raise IndexError(
                f"Session: step {step} has no settings yet; there are 0 to {self.history.steps}."
            )
        return self._past[bisect_right(self._past, step, key=lambda past: past[0]) - 1][1]

    def strategy_at(self, step: int) -> str:
        """The strategy that chose the batch of step `step`."""
        return self.settings_at(step)["strategy"]


def _columns(pairs: list[tuple[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    steps, values = zip(*pairs) if pairs else ((), ())
    return np.array(steps, np.int64), np.array(values, np.float64)
