"""What was chosen and what it did: every batch, loss, metric and live change of a run."""

from __future__ import annotations

from collections.abc import Sequence
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

    It reads like ``keras.callbacks.History`` (``history.history["loss"]``, ``history.epoch``,
    ``history.params``), and also keeps which samples were chosen in every step, what they cost, and
    which settings changed.

    A chosen sample takes 8 bytes (int32 and float32). When more than `keep` of them have been
    recorded, the oldest steps are dropped from `indices` and `losses`, never the newest `keep`
    samples; `visits`, `coverage` and `step_losses` go on counting from the first step.

    Parameters
    ----------
    n : int
        Number of samples in the data.
    keep : int, default 20_000_000
        How many chosen samples are kept at least, with their losses: 160 MB, and twice that for a
        moment while old ones are dropped.

    Attributes
    ----------
    history : dict of str to list of float
        One value per epoch, by name, as in Keras.
    epoch : list of int
        The numbers of the finished epochs.
    epoch_steps : int
        How many steps of the unfinished epoch were taken.
    params : dict
        ``verbose``, ``epochs`` and ``steps`` of the run, as in Keras.
    events : list of Event
        The live changes, in order.
    visits : ndarray of int64, shape (n,)
        How often each sample was trained on.
    steps : int
        How many batches were trained on.
    scored : int
        How many samples were only scored, to choose among them (:class:`PoolSelection`): each cost
        a forward pass beside the training itself.

    Examples
    --------
    >>> history = History(n=4)
    >>> history.record([0, 1], losses=[0.5, 0.7])
    >>> history.record([1, 2], losses=[0.3, 0.4])
    >>> history.visits.tolist(), history.coverage
    ([1, 2, 1, 0], 0.75)
    >>> history.indices[-1].tolist()
    [1, 2]
    """

    def __init__(self, n: int, keep: int = 20_000_000) -> None:
        self.n = n
        self.keep = keep
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.epoch_steps = 0
        self.params: dict[str, Any] = {}
        self.events: list[Event] = []
        self.visits: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self.steps = 0
        self.scored = 0
        # 32 bits hold two thousand million samples and halve the memory of long runs.
        self._indices = _Column(np.int32 if n <= 2**31 else np.int64)
        self._losses = _Column(np.float32)
        self._ends = _Column(np.int64)  # where each kept step ends in the two columns above
        self._step_losses = _Column(np.float32)

    def record(self, indices: ArrayLike, losses: ArrayLike | None = None) -> None:
        """Add one step, or several of one batch size.

        Parameters
        ----------
        indices : array_like of int, shape (batch,) or (steps, batch)
            The samples of the batch.
        losses : array_like of float, of the same shape, optional
            Their losses, before the step was taken. Unknown ones are kept as NaN.
        """
        chosen = np.atleast_2d(np.asarray(indices))
        steps, batch = chosen.shape
        if losses is None:
            known = np.full(chosen.shape, np.nan, dtype=np.float32)
        else:
            known = np.asarray(losses, dtype=np.float32).reshape(chosen.shape)
        start = len(self._indices)
        self._indices.extend(chosen.reshape(-1))
        self._losses.extend(known.reshape(-1))
        self._ends.extend(start + batch * np.arange(1, steps + 1))
        self._step_losses.extend(known.mean(axis=1))
        np.add.at(self.visits, chosen, 1)
        self.steps += steps
        self.epoch_steps += steps
        if len(self._indices) > 2 * self.keep:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        ends = self._ends.values
        first = int(np.searchsorted(ends, ends[-1] - self.keep, side="right"))
        cut = int(ends[first - 1]) if first else 0
        self._indices.drop(cut)
        self._losses.drop(cut)
        self._ends.drop(first)
        self._ends.values[:] -= cut

    def record_event(self, name: str, value: Any) -> None:
        """Note that `name` has been `value` since the step that comes next."""
        self.events.append(Event(self.steps, name, value))

    def end_epoch(self, logs: dict[str, Any]) -> None:
        """Close an epoch with its metrics, by name: numbers, or arrays, which are kept as lists."""
        self.epoch.append(len(self.epoch))
        self.epoch_steps = 0
        for name, value in logs.items():
            array = np.asarray(value)
            number = array.ndim == 0 and array.dtype.kind in "biuf"
            plain = float(array) if number else array.tolist()
            self.history.setdefault(name, []).append(plain)

    @property
    def indices(self) -> Sequence[NDArray[np.int32]]:
        """The chosen samples, one array of shape (batch,) per kept step."""
        return _Steps(self._ends.values, self._indices.values)

    @property
    def losses(self) -> Sequence[NDArray[np.float32]]:
        """Their losses, one array of shape (batch,) per kept step."""
        return _Steps(self._ends.values, self._losses.values)

    @property
    def step_losses(self) -> NDArray[np.float32]:
        """Mean loss of every step's batch, float32 (steps,)."""
        return self._step_losses.values.copy()

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
        ends = self._ends.values
        start = int(ends[-last - 1]) if last and last < len(ends) else 0
        chosen = self._indices.values[start:]
        counts = np.bincount(classes[chosen], minlength=classes.max() + 1)
        return counts / max(chosen.size, 1)

    def to_pandas(self) -> Any:
        """One row per kept step, as a ``pandas.DataFrame``.

        The index is the step; the columns are ``loss`` (float32, the mean of the batch),
        ``batch_size`` (int64) and ``changes`` (str, e.g. ``"batch_size = 8"``; empty where none).

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "History.to_pandas needs pandas. Install it with: python -m pip install pandas"
            ) from error
        kept = len(self._ends)
        steps = np.arange(self.steps - kept, self.steps)
        changes = [""] * self.steps
        for event in self.events:
            if event.step < self.steps:  # the others have not been trained with yet
                before = changes[event.step]
                changes[event.step] = before + "; " * bool(before) + f"{event.name} = {event.value}"
        columns = {
            "loss": self._step_losses.values[steps],
            "batch_size": np.diff(self._ends.values, prepend=0),
            "changes": changes[self.steps - kept :],
        }
        return pandas.DataFrame(columns, index=pandas.Index(steps, name="step"))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that was recorded step by step, as named arrays; see :meth:`restore`."""
        return {
            "visits": self.visits,
            "indices": self._indices.values,
            "losses": self._losses.values,
            "ends": self._ends.values,
            "step_losses": self._step_losses.values,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything else, as plain JSON where the events' values are."""
        return {
            "n": self.n,
            "keep": self.keep,
            "history": self.history,
            "epochs": len(self.epoch),
            "epoch_steps": self.epoch_steps,
            "params": self.params,
            "events": [[event.step, event.name, event.value] for event in self.events],
            "steps": self.steps,
            "scored": self.scored,
        }

    @classmethod
    def restore(cls, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> History:
        """The history of which :meth:`state_dict` and :meth:`arrays` are given."""
        history = cls(state["n"], state["keep"])
        history.history = state["history"]
        history.epoch = list(range(state["epochs"]))
        history.events = [Event(*event) for event in state["events"]]
        for name in ("epoch_steps", "params", "steps", "scored"):
            setattr(history, name, state[name])
        history.visits = arrays["visits"]
        for name in ("indices", "losses", "ends", "step_losses"):
            getattr(history, f"_{name}").extend(arrays[name])
        return history

    def __repr__(self) -> str:
        return (
            f"History(steps={self.steps}, epochs={len(self.epoch)}, coverage={self.coverage:.1%}, "
            f"events={len(self.events)})"
        )


class _Column:
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


class _Steps(Sequence):
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
