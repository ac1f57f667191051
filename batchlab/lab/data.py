"""The data of a session as they were given: checked, and with classes as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.loaders import Load, Loader
from batchlab.parameters import shown
from batchlab.validation import check_labels, read_array

# Enough samples to tell the score to a percent or so, few enough to score many times a second.
SCORED = 1000
Scored = tuple[NDArray[np.float32], NDArray[Any]]


class Loaded:
    """Inputs that a function makes of rows when they are asked for, and never all at once.

    What is random in rows that are looked at has a generator of its own, the same every time.

    Parameters
    ----------
    source, load, workers
        The `x`, `load` and `workers` of a :class:`Loader`.
    """

    def __init__(self, source: Any, load: Load, workers: int) -> None:
        self.loader = partial(Loader, source, load=load, workers=workers)
        self._rows = self.loader(sampler=range(0))
        specs = self._rows.specs
        if len(specs) != 1 or not hasattr(specs[0], "shape") or None in specs[0].shape[1:]:
            raise ValueError(
                "Session: load must make one array for x, with samples of one shape, got "
                f"{shown(specs)}. Pad them to a fixed length; y is an argument of its own."
            )
        self.shape = (self._rows.n, *specs[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        indices = np.arange(len(self))[key]
        rows = self._rows.rows(np.atleast_1d(indices))[0].astype(np.float32)
        return rows if np.ndim(indices) else rows[0]


def loader_of(x: NDArray[np.float32] | Loaded, targets: NDArray[Any], sampler: Any) -> Loader:
    """What batches of these data come from."""
    make = x.loader if isinstance(x, Loaded) else partial(Loader, x)
    return make(targets, sampler=sampler)


@dataclass(frozen=True)
class Given:
    """Data as they came.

    Attributes
    ----------
    x : ndarray of float32 (n, ...), or Loaded
    targets : ndarray (n, ...)
        What the loss sees: numbers of classes, int64, or `y` itself.
    answers : ndarray, optional
        The classes as they are called in `y`, where that names classes.
    labels, groups : ndarray of int64 (n,), ndarray
        The class of every sample, by which strategies and colours go, and what these are called:
        the targets and answers, unless others were given. Without any there is one for all.
    grouped : bool
        Whether the groups were given beside `y`.
    """

    x: NDArray[np.float32] | Loaded
    targets: NDArray[Any]
    answers: NDArray[Any] | None
    labels: NDArray[np.int64]
    groups: NDArray[Any]
    grouped: bool

    @property
    def y(self) -> NDArray[Any]:
        """The targets as they are called in `y`."""
        return self.targets if self.answers is None else self.answers[self.targets]

    @property
    def seen(self) -> NDArray[np.float32]:
        """The inputs; of those that are loaded `SCORED`, evenly spaced."""
        return self.x[_every(self.x)] if isinstance(self.x, Loaded) else self.x

    @property
    def multi_label(self) -> bool:
        """Whether `y` says of every sample which of several labels it has."""
        y = self.targets
        return self.answers is None and y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all()


def checked_data(
    x: Any, y: Any, groups: Any, own_model: bool, load: Load | None, workers: int
) -> Given:
    """The data; where the model is not the reader's own, `y` must name classes."""
    inputs, answers = _checked_inputs(x, "x", load, workers), None
    array = read_array(y, "Session", "y")
    if not own_model or (array.ndim == 1 and array.dtype.kind != "f"):
        answers, targets = check_labels(y, "Session", "y")
    else:
        targets = _finite(array, "y")
    if len(targets) != len(inputs):
        raise ValueError(
            f"Session: x and y must have one row per sample each, got {len(inputs)} and {len(targets)}."
        )
    if groups is not None:
        names, labels = check_labels(groups, "Session", "groups")
        if len(labels) != len(inputs):
            raise ValueError(
                f"Session: groups must have one entry for each of the {len(inputs)} samples, got "
                f"{len(labels)}."
            )
        return Given(inputs, targets, answers, labels, names, True)
    if answers is not None:
        return Given(inputs, targets, answers, targets, answers, False)
    return Given(inputs, targets, None, np.zeros(len(inputs), np.int64), np.zeros(1, np.int64), False)


def _checked_inputs(
    x: Any, name: str, load: Load | None, workers: int
) -> NDArray[np.float32] | Loaded:
    """Numbers as float32, (n, ...), all finite; or what makes them."""
    if isinstance(x, Loaded):  # of a session's twin
        return x
    if load is not None:
        return Loaded(x, load, workers)
    arrays = read_array(x, "Session", name)
    if arrays.ndim < 2 or arrays.dtype.kind not in "biuf":
        raise ValueError(
            f"Session: {name} must hold numbers and have shape (n, features…), got shape {arrays.shape} "
            f"and dtype {arrays.dtype}."
        )
    return _finite(arrays, name)


def _finite(arrays: NDArray[Any], name: str) -> NDArray[np.float32]:
    if arrays.ndim == 0 or arrays.dtype.kind not in "biuf":
        raise ValueError(
            f"Session: {name} must hold numbers, one row per sample, got shape {arrays.shape} and dtype "
            f"{arrays.dtype}."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused, too
        inputs = arrays.astype(np.float32, copy=False)
    if inputs.size and not (np.isfinite(inputs.min()) and np.isfinite(inputs.max())):
        wrong = np.argwhere(~np.isfinite(inputs))
        first = tuple(map(int, wrong[0]))
        columns = f", column {', '.join(map(str, first[1:]))}" if first[1:] else ""
        where = f"row {first[0]}{columns}"
        raise ValueError(
            f"Session: {name} must hold finite numbers that float32 can hold, got {arrays[first]} in "
            f"{where} ({len(wrong)} of {inputs.size} values are wrong). Drop or fill in these samples."
        )
    return inputs


def checked_names(names: Sequence[str] | None, given: Given) -> tuple[str, ...]:
    """What to call the classes, or the labels of a multi-label `y`: one name each, no two alike.

    Empty where there is nothing to name.
    """
    values = given.groups if given.grouped or given.answers is not None else np.empty(0)
    if not given.grouped and given.multi_label:
        values = np.arange(given.targets.shape[1])
    if names is not None and (
        isinstance(names, str) or not hasattr(names, "__iter__") or getattr(names, "ndim", 1) == 0
    ):
        raise TypeError(f"Session: classes must be a list of names, got {names!r}.")
    checked = tuple(str(name) for name in (values if names is None else names))
    if len(checked) != len(values):
        raise ValueError(
            f"Session: classes must name the {len(values)} classes of "
            f"{'groups' if given.grouped else 'y'}, got {len(checked)}: {checked}."
        )
    for number, name in enumerate(checked):
        if name in checked[:number]:
            raise ValueError(
                f"Session: classes must be told apart, but classes {checked.index(name)} and {number} are "
                f"both called {name!r}."
            )
    return checked


def checked_scored(
    validation_data: Any, given: Given, load: Load | None, workers: int
) -> Scored:
    """What to score on: `SCORED` samples of the validation data, or of the data themselves."""
    x, scored = given.x, given.targets
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise TypeError(
                "Session: validation_data must be a pair (x, y), got "
                f"{type(validation_data).__name__}. Write validation_data=(x_test, y_test)."
            )
        shape = x.shape[1:]
        inputs, targets = validation_data
        x = _checked_inputs(inputs, "validation_data's x", load, workers)
        if x.shape[1:] != shape or not len(x):
            raise ValueError(
                f"Session: validation_data's x must hold samples of shape {shape} as x does, got shape "
                f"{x.shape}."
            )
        targets = np.asarray(targets)
        one = "one class" if given.answers is not None else f"a target of shape {scored.shape[1:]}"
        if targets.shape != (len(x), *scored.shape[1:]):
            raise ValueError(
                f"Session: validation_data must have {one} for each of its {len(x)} samples, got y of "
                f"shape {targets.shape}."
            )
        scored = targets
        if given.answers is None:
            scored = _finite(targets, "validation_data's y")
        else:
            strange = ~np.isin(targets, given.answers)
            if strange.any():
                first = int(strange.argmax())
                raise ValueError(
                    "Session: validation_data has classes that y does not have, such as "
                    f"{targets[first].item()!r} at position {first}."
                )
            scored = np.searchsorted(given.answers, targets).astype(np.int64)
    return x[_every(x)], scored[_every(x)]


def _every(x: Any) -> slice:
    """`SCORED` samples at most, and not the first ones: the data may be sorted."""
    return slice(None, None, -(-len(x) // SCORED))
