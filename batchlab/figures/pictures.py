"""Samples that are pictures themselves, in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from batchlab.figures.figure import Figure, named
from batchlab.style import INK, literal
from batchlab.validation import as_numbers

_SHAPE = "images of shape (samples, rows, columns), with a last axis of 1 or without"


def images(
    rows: Mapping[str, ArrayLike],
    captions: Mapping[str, Sequence[Any]] | None = None,
    marked: Mapping[str, ArrayLike] | None = None,
    *,
    alt: str = "",
) -> Figure:
    """Rows of small grey images, each with a caption; some captions stand out.

    Parameters
    ----------
    rows : mapping of str to array_like of float, shape (samples, rows, columns[, 1])
        By the name of the row. 0 is white, the largest value of all black.
    captions : mapping of str to sequence, optional
        By row, what stands above each image, such as its label.
    marked : mapping of str to array_like of bool, shape (samples,), optional
        By row, whose captions are drawn bold and in red, such as wrong labels.
    alt : str
        What is seen, in words.
    """
    owner = "figures.images"
    rows = {
        name: as_numbers(pictures, owner, f"rows[{name!r}]", axes=(3, 4), holds=_SHAPE)
        for name, pictures in named(rows, owner, "rows").items()
    }
    most = max(len(pictures) for pictures in rows.values())
    figure = Figure(8.0, 0.25 + 1.0 * len(rows), alt=alt)
    brightest = max(pictures.max() for pictures in rows.values())
    grid = figure.subplots(len(rows), most, squeeze=False)
    for line, (name, pictures) in zip(grid, rows.items()):
        texts = list((captions or {}).get(name, [""] * len(pictures)))
        stands_out = np.asarray((marked or {}).get(name, np.zeros(len(pictures), bool)))
        for place, axes in enumerate(line):
            axes.set(xticks=[], yticks=[])
            if place >= len(pictures):
                axes.set_axis_off()
                continue
            axes.imshow(pictures[place].squeeze(), cmap="gray_r", vmin=0, vmax=brightest)
            look = (
                {"color": "#C03000", "fontweight": "bold"} if stands_out[place] else {"color": INK}
            )
            axes.set_title(literal(texts[place]), fontsize=8, pad=2, **look)
        line[0].set_ylabel(literal(name), fontsize=8)
    return figure
