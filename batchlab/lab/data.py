"""The data of a session as they were given: checked, and with classes as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.validation import check_labels

# Enough samples to tell the score to a percent or so, few enough to score many times a second.
SCORED = 1000
Scored = tuple[NDArray[np.float32], NDArray[np.int64]]


def checked_data(x: Any, y: Any) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]:
    """Inputs, class numbers, and the classes as they are called in `y`."""
    inputs = _checked_inputs(x, "x")
    values, labels = check_labels(y, "Session")
    if len(labels) != len(inputs):
        raise ValueError(
            f"Session: x and y must have one row per sample each, got {len(inputs)} and {len(labels)}."
        )
    return inputs, labels, values


def _checked_inputs(x: Any, name: str) -> NDArray[np.float32]:
    """Numbers as float32, (n, ...), all finite."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"Session: {name} is a masked array, and its mask would be lost. Fill or drop what is masked."
        )
    arrays = np.asarray(x)
    if arrays.ndim < 2 or arrays.dtype.kind not in "biuf":
        raise ValueError(
            f"Session: {name} must hold numbers and have shape (n, features…), got shape {arrays.shape} "
            f"and dtype {arrays.dtype}."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused, too
        inputs = arrays.astype(np.float32, copy=False)
    if inputs.size and not (np.isfinite(inputs.min()) and np.isfinite(inputs.max())):
        wrong = np.argwhere(~np.isfinite(inputs))
        first = tuple(map(int, wrong[0]))
        where = f"row {first[0]}, column {', '.join(map(str, first[1:]))}"
        raise ValueError(
            f"Session: {name} must hold finite numbers that float32 can hold, got {arrays[first]} in "
            f"{where} ({len(wrong)} of {inputs.size} values are wrong). Drop or fill in these samples."
        )
    return inputs


def checked_names(names: Sequence[str] | None, values: NDArray[Any]) -> tuple[str, ...]:
    """What to call the classes: one name each, no two alike."""
    if names is not None and (isinstance(names, str) or not hasattr(names, "__iter__")):
        raise TypeError(f"Session: classes must be a list of names, got {names!r}.")
    checked = tuple(str(name) for name in (values if names is None else names))
    if len(checked) != len(values):
        raise ValueError(
            f"Session: classes must name the {len(values)} classes of y, got {len(checked)}: {checked}."
        )
    for number, name in enumerate(checked):
        if name in checked[:number]:
            raise ValueError(
                f"Session: classes must be told apart, but classes {checked.index(name)} and {number} are "
                f"both called {name!r}."
            )
    return checked


def checked_scored(
    validation_data: Any, x: NDArray[np.float32], labels: NDArray[np.int64], values: NDArray[Any]
) -> Scored:
    """What to score on: `SCORED` samples of the validation data, or of the data themselves."""
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise TypeError(
                "Session: validation_data must be a pair (x, y), got "
                f"{type(validation_data).__name__}. Write validation_data=(x_test, y_test)."
            )
        shape = x.shape[1:]
        x, targets = _checked_inputs(validation_data[0], "validation_data's x"), validation_data[1]
        if x.shape[1:] != shape or not len(x):
            raise ValueError(
                f"Session: validation_data's x must hold samples of shape {shape} as x does, got shape "
                f"{x.shape}."
            )
        targets = np.asarray(targets)
        if targets.shape != (len(x),):
            raise ValueError(
                f"Session: validation_data must have one class for each of its {len(x)} samples, got y of "
                f"shape {targets.shape}."
            )
        strange = ~np.isin(targets, values)
        if strange.any():
            first = int(strange.argmax())
            raise ValueError(
                "Session: validation_data has classes that y does not have, such as "
                f"{targets[first].item()!r} at position {first}."
            )
        labels = np.searchsorted(values, targets)
    every = -(-len(x) // SCORED)  # not the first ones: the data may be sorted
    return x[::every], labels[::every].astype(np.int64)
