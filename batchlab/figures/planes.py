"""Samples on a plane, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from numpy.typing import ArrayLike, NDArray

from batchlab.figures.figure import Figure, class_names, class_numbers
from batchlab.parameters import Parameter, shown
from batchlab.style import (
    BLUE,
    LIGHT,
    ORANGE,
    Theme,
    class_colours,
    class_markers,
    tidy,
)
from batchlab.validation import as_numbers

_OUTPUTS = "one row per point of the grid, (resolution ** 2, 1 or classes)"
_PLANE = "Choose two columns: x[:, [0, 1]]."


def scatter(
    axes: Axes, x: ArrayLike, y: ArrayLike, classes: Sequence[str], theme: Theme = LIGHT
) -> None:
    """The samples of 2-D data as points, each class in a shape; rarer ones on top and larger."""
    owner = "figures.scatter"
    names = class_names(classes, owner)
    points = as_numbers(x, owner, "x", axes=(2,), holds="two numbers per sample", mend=_PLANE)
    labels = class_numbers(y, names, owner, "y")
    if points.shape != (len(labels), 2):
        raise ValueError(
            f"{owner}: x must hold two numbers per sample, shape ({len(labels)}, 2) as y has "
            f"{len(labels)} samples, got {points.shape}. {_PLANE}"
        )
    if not np.isfinite(points).all():
        first = np.argwhere(~np.isfinite(points))[0]
        raise ValueError(
            f"{owner}: x must be finite, but x{first.tolist()} is {points[tuple(first)]}."
        )
    counts = np.bincount(labels, minlength=len(names))
    colours, shapes = class_colours(len(names), theme), class_markers(len(names))
    edge = {"linewidths": 0.3, "edgecolors": theme.edge}
    for number in np.argsort(-counts):
        members = points[labels == number]
        size = 12 if counts[number] == counts.max() else 20
        looks = {"s": size, "color": colours[number], "marker": shapes[number]}
        axes.scatter(*members.T, label=names[number], **looks, **edge)
    axes.set_xlim(points[:, 0].min() - 0.3, points[:, 0].max() + 0.3)
    axes.set_ylim(points[:, 1].min() - 0.3, points[:, 1].max() + 0.3)


def grid_of(axes: Axes, resolution: int = 60) -> NDArray[np.float32]:
    """The points of a square grid over `axes`, float32 (resolution ** 2, 2), row by row."""
    Parameter(60, low=2, name="resolution").check(resolution, "figures.grid_of")
    across = np.linspace(*axes.get_xlim(), resolution)
    up = np.linspace(*axes.get_ylim(), resolution)
    return np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(np.float32)


def surface(axes: Axes, outputs: NDArray[Any], theme: Theme = LIGHT) -> Any:
    """Colour `axes` by what a model says on ``grid_of(axes)``; the image, to be updated live.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        With its limits set.
    outputs : ndarray of float, shape (resolution ** 2, 1 or classes)
        Predicted probabilities.
    theme : Theme
        What page it is drawn for.
    """
    values = surface_values(outputs)
    classes = np.shape(outputs)[1]
    shades = LinearSegmentedColormap.from_list("surface", [BLUE, theme.background, ORANGE])
    options: dict[str, Any] = {"cmap": shades, "vmin": 0, "vmax": 1}
    if classes > 2:
        colours = ListedColormap(class_colours(classes, theme))
        options = {"cmap": colours, "vmin": 0, "vmax": classes - 1}
    extent = (*axes.get_xlim(), *axes.get_ylim())
    return axes.imshow(
        values,
        extent=extent,
        origin="lower",
        aspect="auto",
        alpha=theme.surface,
        interpolation="none",  # between classes 0 and 2 is no class 1
        zorder=0,
        **options,
    )


def surface_values(outputs: NDArray[Any]) -> NDArray[Any]:
    """What `surface` colours by: the chance of class 1, or of several classes the likeliest."""
    outputs = as_numbers(outputs, "figures.surface", "outputs", axes=(2,), holds=_OUTPUTS)
    side = round(len(outputs) ** 0.5)
    if side**2 != len(outputs):
        raise ValueError(
            f"figures.surface: outputs must hold {_OUTPUTS}, got shape {outputs.shape}. "
            "Pass what the model says on grid_of(axes)."
        )
    values = outputs[:, -1] if outputs.shape[1] <= 2 else outputs.argmax(axis=1)
    return values.reshape(side, side)


def borders(
    outputs: NDArray[Any], across: tuple[float, float], up: tuple[float, float]
) -> list[NDArray[np.float64]]:
    """The lines on which a model changes its mind, for outputs on ``grid_of(axes)``.

    Parameters
    ----------
    outputs : ndarray of float, shape (resolution ** 2, 1 or classes)
        Predicted probabilities.
    across, up : tuple of float
        The limits of the axes.

    Returns
    -------
    list of ndarray of float, shape (points, 2)
    """
    if outputs.shape[1] == 1:
        outputs = np.hstack([1 - outputs, outputs])
    side = round(len(outputs) ** 0.5)
    places = np.linspace(*across, side), np.linspace(*up, side)
    lines = []
    for number in range(outputs.shape[1] - 1):  # the border of the last class is that of the others
        lead = outputs[:, number] - np.delete(outputs, number, axis=1).max(axis=1)
        lines += contour_generator(*places, lead.reshape(side, side)).lines(0.0)
    return lines


def decision_surface(
    predict: Any, x: ArrayLike, y: ArrayLike, classes: Sequence[str], title: str = ""
) -> Figure:
    """2-D data over what a model says about the plane.

    Parameters
    ----------
    predict : callable
        From inputs, float32 (m, 2), to probabilities, (m, 1) or (m, classes).
    x : array_like of float, shape (n, 2)
        The samples.
    y : array_like of int, shape (n,)
        Their classes.
    classes : sequence of str
        Names of the classes.
    title : str
        Which model this is.
    """
    if not callable(predict):
        raise TypeError(
            "figures.decision_surface: predict must be a function of inputs, e.g. model.predict, "
            f"got {shown(predict)}."
        )
    figure = Figure(5.0, 3.8, alt=f"Decision surface. {title}")
    axes = figure.subplots()
    scatter(axes, x, y, classes)
    surface(axes, np.asarray(predict(grid_of(axes))))
    tidy(axes, title, "first feature", "second feature")
    axes.legend(frameon=False, fontsize=8)
    return figure
