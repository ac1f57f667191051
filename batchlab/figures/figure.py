"""A matplotlib figure that says in words what it shows, and what figures ask of their names."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib.figure
import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter, shown
from batchlab.style import (
    literal,
)
from batchlab.validation import as_array


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure with a description in words.

    A notebook shows it without pyplot, as a PNG whose alternative text is the description. The
    description is also the plain-text output, so nbval compares what the picture says.

    Parameters
    ----------
    width, height : float
        Size in inches.
    alt : str
        What a reader who cannot see the picture should know.
    """

    def __init__(self, width: float = 8.0, height: float = 3.0, alt: str = "") -> None:
        size = {"width": width, "height": height}
        width, height = (
            Parameter(1.0, low=0.1, high=500, name=name).check(inches, "Figure")
            for name, inches in size.items()
        )
        super().__init__(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
        self.alt = alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[Any, Any]:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return {"image/png": png.getvalue(), "text/plain": self.alt}, {
            "image/png": {"alt": self.alt}
        }


def named(things: Any, owner: str, name: str, needs: str = "") -> dict[Any, Any]:
    """A dict from names to what is drawn: not empty, and all with the attribute `needs`."""
    if not isinstance(things, Mapping) or not things:
        raise TypeError(
            f"{owner}: {name} must be a dict by name that is not empty, got {shown(things)}."
        )
    for key, thing in things.items():
        if needs and not hasattr(thing, needs):
            raise TypeError(f"{owner}: {name}[{key!r}] must be a History, got {shown(thing)}.")
    return dict(things)


def class_names(classes: Any, owner: str) -> list[str]:
    """The names of the classes as they are drawn."""
    try:
        names = [] if isinstance(classes, str) else list(map(literal, classes))
    except TypeError:  # nothing to go through
        names = []
    if not names:
        raise TypeError(
            f"{owner}: classes must be a list with the names of the classes, got {shown(classes)}."
        )
    return names


def class_numbers(values: ArrayLike, classes: list[str], owner: str, name: str) -> NDArray[Any]:
    """Class numbers, (n,), each of which has a name."""
    mend = f"Of probabilities pass {name}.argmax(axis=1)."
    array = as_array(values, owner, name, holds="one class number per sample", mend=mend)
    if array.dtype.kind not in "biu":
        raise TypeError(f"{owner}: {name} must be class numbers, got dtype {array.dtype}. {mend}")
    wrong = (array < 0) | (array >= len(classes))
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"{owner}: {name} must be class numbers from 0 to {len(classes) - 1}, as there are "
            f"{len(classes)} classes, but {name}[{first}] is {array[first]}."
        )
    return array.astype(np.int64, copy=False)
