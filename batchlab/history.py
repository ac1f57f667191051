"""What was chosen and what it did: every batch, loss, metric and live change of a run."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.columns import Column, Steps
from batchlab.difficulty import SCORES
from batchlab.parameters import Parameter, shown
from batchlab.validation import as_array, check_indices


@dataclass(frozen=True)
class Event:
    """One live change: from batch number `step` on, `name` has this `value`.

    While a slider is dragged, batches are trained with the values it passes: each of them is an event,
    so that a replay is exact, and all but the first are marked as going on with the same `drag`.
    """

    step: int
    name: str
    value: Any
    drag: bool = False

    def plain(self) -> list[Any]:
        """The same as plain JSON, where the value is."""
        return [self.step, self.name, self.value, *[True] * self.drag]


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
    history : dict of str to list
        One value per epoch, by name, as in Keras: a float, or nested lists where a metric is an
        array.
    epoch : list of int
        The numbers of the finished epochs.
    epoch_steps : int
        How many steps of the unfinished epoch were taken.
    params : dict
        ``verbose``, ``epochs`` and ``steps`` of the run, as in Keras.
    events : list of Event
        The live changes, in order; see also `changes`.
    visits : ndarray of int64, shape (n,)
        How often each sample was trained on.
    steps : int
        How many batches were trained on.
    scored : int
        How many samples were only scored, to choose among them (:class:`PoolSelection`): each cost
        a forward pass beside the training itself.

    Raises
    ------
    TypeError, ValueError
        If `n` or `keep` is no whole number above 0.

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
        self.n = Parameter(1, low=1, high=2**62, name="n").check(n, "History")
        self.keep = Parameter(1, low=1, name="keep").check(keep, "History")
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.epoch_steps = 0
        self.params: dict[str, Any] = {}
        self.events: list[Event] = []
        self.visits: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        self.steps = 0
        self.scored = 0
        # 32 bits hold two thousand million samples and halve the memory of long runs.
        self._indices = Column(np.int32 if n <= 2**31 else np.int64)
        self._losses = Column(np.float32)
        self._ends = Column(np.int64)  # where each kept step ends in the two columns above
        self._step_losses = Column(np.float32)

    def record(self, indices: ArrayLike, losses: ArrayLike | None = None) -> None:
        """Add one step, or several of one batch size.

        Parameters
        ----------
        indices : array_like of int, shape (batch,) or (steps, batch)
            The samples of the batch.
        losses : array_like of float, of the same shape, optional
            Their losses, before the step was taken. Unknown ones are kept as NaN.

        Raises
        ------
        TypeError, ValueError, IndexError
            If an index is not of the data, or the losses do not fit; nothing is recorded then.
        """
        chosen = np.atleast_2d(check_indices(indices, self.n, "History.record", axes=(1, 2)))
        steps, batch = chosen.shape
        if losses is None:
            known = np.full(chosen.shape, np.nan, dtype=np.float32)
        else:
            known = np.atleast_2d(as_array(losses, "History.record", "losses", axes=(1, 2)))
            if known.shape != chosen.shape or known.dtype.kind not in "biuf":
                raise ValueError(
                    f"History.record: losses must hold one number per index, shape {chosen.shape}, "
                    f"got shape {known.shape} and dtype {known.dtype}."
                )
            with np.errstate(over="ignore"):  # beyond float32 is infinite
                known = known.astype(np.float32, copy=False)
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

    def record_event(self, name: str, value: Any, drag: bool = False) -> None:
        """Note that the setting `name` has been `value` since the step that comes next.

        With `drag` it goes on with the change before, if that was of the same setting.
        """
        if not isinstance(name, str):
            raise TypeError(f"History.record_event: name must be a string, got {shown(name)}.")
        drag = bool(drag and self.events and self.events[-1].name == name)
        self.events.append(Event(self.steps, name, value, drag))

    @property
    def changes(self) -> list[Event]:
        """What a reader did: like `events`, but a drag is one: with its first step, its last value."""
        changes: list[Event] = []
        for event in self.events:
            step = changes.pop().step if event.drag else event.step
            changes.append(Event(step, event.name, event.value))
        return changes

    def end_epoch(self, logs: dict[str, Any]) -> None:
        """Close an epoch with its metrics by name: numbers, arrays, or what callbacks put there."""
        if not isinstance(logs, dict):
            raise TypeError(f"History.end_epoch: logs must be a dict, got {shown(logs)}.")
        plain = {name: _plain(value) for name, value in logs.items()}
        self.epoch.append(len(self.epoch))
        self.epoch_steps = 0
        for name, value in plain.items():
            self.history.setdefault(name, []).append(value)

    @property
    def indices(self) -> Sequence[NDArray[np.int32]]:
        """The chosen samples, one array of shape (batch,) per kept step."""
        return Steps(self._ends.values, self._indices.values)

    @property
    def losses(self) -> Sequence[NDArray[np.float32]]:
        """Their losses, one array of shape (batch,) per kept step."""
        return Steps(self._ends.values, self._losses.values)

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
            Count only that many of the most recent steps, of those that are kept; by default all
            since the first step.

        Returns
        -------
        ndarray of float64, shape (classes,)
            Adds up to 1; all zero before the first step.

        Raises
        ------
        TypeError, ValueError
            If `labels` are no class numbers of all samples, or `last` is not 1 or more.
        """
        owner = "History.class_mix"
        classes = as_array(labels, owner, "labels", holds="class numbers", length=self.n)
        if classes.dtype.kind not in "biu" or classes.min() < 0:
            raise TypeError(
                f"{owner}: labels must be class numbers from 0, got dtype {classes.dtype} from "
                f"{classes.min()}. Number them: np.unique(labels, return_inverse=True)[1]."
            )
        classes = classes.astype(np.int64, copy=False)
        if last is None:
            counts = np.bincount(classes, weights=self.visits)
        else:
            last = Parameter(1, low=1, name="last").check(last, owner)
            ends = self._ends.values
            start = int(ends[-last - 1]) if last < len(ends) else 0
            chosen = self._indices.values[start:]
            counts = np.bincount(classes[chosen], minlength=classes.max() + 1)
        return counts / max(counts.sum(), 1)

    def difficulty(
        self, by: str = "loss", learnt_below: float = math.log(2)
    ) -> NDArray[np.float64]:
        """How hard every sample was in this run: what a :class:`CurriculumSampler` starts from.

        A sample counts as learnt while its loss is below `learnt_below`. For a cross-entropy the
        default says that the true class had more than half of the probability.

        Parameters
        ----------
        by : {"loss", "first_learnt", "forgetting"}, default "loss"
            The mean of a sample's losses; how often it was trained on before it was first learnt;
            how often it was learnt and then, the next time it came, no longer (forgetting events,
            Toneva et al., 2018, arXiv:1812.05159). Samples that were never learnt are harder than
            all others: by "first_learnt" they have the most visits of any sample, by "forgetting"
            one event more than any, as the paper sorts them last.
        learnt_below : float, default ln 2
            Not used for "loss".

        Returns
        -------
        ndarray of float64, shape (n,)
            Higher is harder. From the kept steps.

        Raises
        ------
        TypeError, ValueError
            If a parameter is wrong, or a sample has no recorded loss that is finite.

        Examples
        --------
        >>> history = History(n=2)
        >>> for losses in ([0.9, 0.9], [0.3, 0.8], [0.8, 0.1]):
        ...     history.record([0, 1], losses)
        >>> history.difficulty("first_learnt").tolist(), history.difficulty("forgetting").tolist()
        ([1.0, 2.0], [1.0, 0.0])
        """
        owner = "History.difficulty"
        by = Parameter("loss", choices=tuple(SCORES), name="by").check(by, owner)
        learnt_below = Parameter(0.0, name="learnt_below").check(learnt_below, owner)
        losses = self._losses.values  # read first, as indices are written first
        known = np.isfinite(losses)
        samples, losses = self._indices.values[: losses.size][known], losses[known]
        unknown = np.bincount(samples, minlength=self.n) == 0
        if unknown.any():
            raise ValueError(
                f"{owner}: sample {int(unknown.argmax())} has no recorded loss "
                f"({int(unknown.sum())} of {self.n} have none). Record a run that trains on "
                "all of them, or take sample_losses."
            )
        return SCORES[by](samples, losses, learnt_below).astype(np.float64)

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
            "events": [event.plain() for event in self.events],
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


def _plain(value: Any) -> Any:
    """`value` as JSON has it: a float, or nested lists of an array; what is neither, as it is."""
    if hasattr(value, "__array__"):
        value = np.asarray(value).tolist()
    return float(value) if isinstance(value, numbers.Real) else value
