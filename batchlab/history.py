"""What was chosen and what it did: every batch, loss, metric and live change of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Event:
    """One live change: from batch number `step` on, `name` has this `value`."""

    step: int
    name: str
    value: Any


class History:
    """The record of a run.

    It reads like ``keras.callbacks.History`` (``history.history["loss"]``, ``history.epoch``), and
    also keeps which samples were chosen in every step, what they cost, and which settings changed.

    Parameters
    ----------
    n : int
        Number of samples in the data.

    Attributes
    ----------
    history : dict of str to list of float
        One value per epoch, by name, as in Keras.
    epoch : list of int
        The numbers of the finished epochs.
    events : list of Event
        The live changes, in order.

    Examples
    --------
    >>> history = History(n=4)
    >>> history.record([0, 1], losses=[0.5, 0.7])
    >>> history.record([1, 2], losses=[0.3, 0.4])
    >>> history.visits.tolist(), history.coverage
    ([1, 2, 1, 0], 0.75)
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.events: list[Event] = []
        self.visits: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self._indices: list[NDArray[np.int32]] = []
        self._losses: list[NDArray[np.float32]] = []

    def record(self, indices: ArrayLike, losses: ArrayLike | None = None) -> None:
        """Add one step.

        Parameters
        ----------
        indices : array_like of int, shape (batch,)
            The samples of the batch.
        losses : array_like of float, shape (batch,), optional
            Their losses, before the step was taken. Unknown ones are kept as NaN.
        """
        chosen = np.asarray(indices)
        # 32 bits hold two thousand million samples and halve the memory of long runs.
        self._indices.append(chosen.astype(np.int32 if self.n <= 2**31 else np.int64))
        known = np.full(chosen.shape, np.nan) if losses is None else np.asarray(losses)
        self._losses.append(known.astype(np.float32))
        np.add.at(self.visits, chosen, 1)

    def record_event(self, name: str, value: Any) -> None:
        """Note that `name` has been `value` since the step that comes next."""
        self.events.append(Event(self.steps, name, value))

    def end_epoch(self, logs: dict[str, float]) -> None:
        """Close an epoch with its metrics, one float per name."""
        self.epoch.append(len(self.epoch))
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))

    @property
    def steps(self) -> int:
        """How many batches were trained on."""
        return len(self._indices)

    @property
    def indices(self) -> list[NDArray[np.int32]]:
        """The chosen samples, one array of shape (batch,) per step."""
        return self._indices

    @property
    def losses(self) -> list[NDArray[np.float32]]:
        """Their losses, one array of shape (batch,) per step."""
        return self._losses

    @property
    def step_losses(self) -> NDArray[np.float32]:
        """Mean loss of every step's batch, float32 (steps,)."""
        return np.array([losses.mean() for losses in self._losses], dtype=np.float32)

    @property
    def coverage(self) -> float:
        """Share of the samples that were chosen at least once, from 0 to 1."""
        return float((self.visits > 0).mean())

    def class_mix(self, labels: ArrayLike, last: int | None = None) -> NDArray[np.float64]:
        """Share of every class among the chosen samples.

        Parameters
        ----------
        labels : array_like of int, shape (n,)
            Class numbers from 0.
        last : int, optional
            Count only that many of the most recent steps.

        Returns
        -------
        ndarray of float64, shape (classes,)
            Adds up to 1; all zero before the first step.
        """
        classes = np.asarray(labels)
        recent = self._indices[-last:] if last else self._indices
        chosen = np.concatenate(recent) if recent else np.zeros(0, dtype=np.int64)
        counts = np.bincount(classes[chosen], minlength=classes.max() + 1)
        return counts / max(chosen.size, 1)

    def __repr__(self) -> str:
        return (
            f"History(steps={self.steps}, epochs={len(self.epoch)}, coverage={self.coverage:.1%}, "
            f"events={len(self.events)})"
        )
