"""Strategies against each other, over several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from batchlab.figures.figure import Figure, named
from batchlab.style import (
    DATA,
    colours_of,
    literal,
    tidy,
)
from batchlab.validation import as_numbers, check_finite

if TYPE_CHECKING:
    from batchlab.comparison import Verdict


_CURVES = "Curves, (seeds, points), need points=; single numbers, (seeds,), do without."


def comparison(
    values: Mapping[str, NDArray[np.float64]],
    ylabel: str,
    title: str = "",
    *,
    points: ArrayLike | None = None,
    xlabel: str = "step",
    verdicts: Mapping[str, Verdict] | None = None,
    scale: float = 1.0,
    alt: str = "",
) -> Figure:
    """Strategies over several seeds: every seed a dot and the mean a bar, or a band and its mean.

    With `verdicts`, a dashed line stands at the baseline, beside every other strategy the 95 %
    interval of where it ends if the baseline ends there, and with its name the word: where the
    interval does not touch the line, it is *better* or *worse*.

    Parameters
    ----------
    values : mapping of str to ndarray of float, shape (seeds,) or (seeds, points)
        By strategy: one of ``Comparison.measures``. With two axes they are curves, and the band
        goes from the lowest seed to the highest.
    ylabel : str
        What was measured, with its unit.
    title : str
        What is compared.
    points : array_like of float, shape (points,), optional
        Where the curves were measured; needed for curves.
    xlabel : str, default "step"
        What `points` are, with their unit.
    verdicts : mapping of str to Verdict, optional
        By strategy: ``Comparison.verdicts`` of the same measure.
    scale : float
        What `values` and `verdicts` are multiplied by, such as 100 for per cent.
    alt : str
        What is seen, in words; "what it shows" is said already.
    """
    owner = "figures.comparison"
    shape: dict[str, Any] = {"axes": (1 if points is None else 2,), "mend": _CURVES}
    values = {
        name: as_numbers(runs, owner, f"values[{name!r}]", holds="one number per seed", **shape)
        for name, runs in named(values, owner, "values").items()
    }
    if points is not None:
        points = check_finite(points, owner, "points")
        for name, runs in values.items():
            if runs.shape[1] != len(points):
                raise ValueError(
                    f"{owner}: values[{name!r}] has {runs.shape[1]} points a seed, but points has "
                    f"{len(points)}."
                )
    figure = Figure(8.0, 3.2)
    axes = figure.subplots()
    scaled = {name: scale * runs for name, runs in values.items()}
    words = {name: literal(name) for name in values}
    words |= {name: f"{words[name]}\n{verdict.word}" for name, verdict in (verdicts or {}).items()}
    for place, (colour, (name, runs)) in enumerate(zip(colours_of(values), scaled.items())):
        if points is not None:
            axes.fill_between(points, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.15)
            label = words[name].replace("\n", ": ")
            axes.plot(points, runs.mean(axis=0), color=colour, label=label)
            continue
        spread = np.linspace(-0.12, 0.12, len(runs))
        axes.scatter(place + spread, runs, s=22, color=colour, edgecolors="white", linewidths=0.5)
        axes.plot([place - 0.28, place + 0.28], [runs.mean()] * 2, color=colour, linewidth=2.5)
    if verdicts:
        ends = {name: runs if runs.ndim == 1 else runs[:, -1] for name, runs in scaled.items()}
        places = np.arange(len(values)) + 0.36
        if points is not None:
            last = np.asarray(points)[-1]
            places = last + 0.015 * (last - np.asarray(points)[0]) * np.arange(len(values))
        _draw_intervals(axes, verdicts, ends, places, scale)
    seeds = len(next(iter(values.values())))
    if points is None:
        axes.set_xticks(range(len(values)), list(words.values()))
        tidy(axes, title, "strategy", ylabel)
        drawn = f"one dot for each of {seeds} seeds, a line at their mean"
    else:
        axes.legend(frameon=False, fontsize=8)
        tidy(axes, title, xlabel, ylabel)
        drawn = f"the mean of {seeds} seeds, and a band from the lowest to the highest"
    if verdicts:
        against = next(iter(verdicts.values())).over
        said = ", ".join(f"{name} {verdict.word}" for name, verdict in verdicts.items())
        drawn += f", and the 95 % interval against {against} ({said})"
    figure.alt = f"{title}. {ylabel} of {', '.join(values)}: {drawn}. {alt}".strip()
    return figure


def _draw_intervals(
    axes: Axes,
    verdicts: Mapping[str, Verdict],
    ends: Mapping[str, NDArray[np.float64]],
    places: NDArray[np.float64],
    scale: float,
) -> None:
    """Where each strategy ends, with its interval; beside its dots, or at the end of its curve."""
    level = ends[next(iter(verdicts.values())).over].mean()
    axes.axhline(level, color=DATA, linestyle="--", linewidth=1)
    for place, colour, name in zip(places, colours_of(ends), ends):
        if name not in verdicts:
            continue
        axes.errorbar(
            place,
            ends[name].mean(),
            scale * verdicts[name].smallest,
            color=colour,
            capsize=4,
            linewidth=1.2,
        )


def verdicts(
    panels: Mapping[str, Mapping[str, Verdict]], xlabel: str, *, scale: float = 1.0, alt: str = ""
) -> Figure:
    """Gains over the baseline, each with its 95 % interval and its word; one plot for each title.

    An interval that touches the line of the baseline says *too close to tell*: it is hollow.

    Parameters
    ----------
    panels : mapping of str to mapping of str to Verdict
        By title, what ``Comparison.verdicts`` gave. The plots share their axes.
    xlabel : str
        What was measured, with its unit, such as ``"points of accuracy"``.
    scale : float
        What the gains are multiplied by, such as 100 for per cent.
    alt : str
        What is seen, in words. The numbers are best printed.
    """
    panels = named(panels, "figures.verdicts", "panels")
    names = list(dict.fromkeys(name for shown in panels.values() for name in shown))
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure = Figure(8.0, 0.6 + lines * (0.75 + 0.24 * len(names)), alt=alt)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat
    colours = dict(zip(names, colours_of(names)))
    for axes in list(grid)[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, shown) in zip(figure.axes, panels.items()):
        axes.axvline(0, color=DATA, linestyle="--", linewidth=1)
        for name, verdict in shown.items():
            axes.errorbar(
                scale * verdict.gain,
                names.index(name),
                xerr=scale * verdict.smallest,
                fmt="o",
                color=colours[name],
                mfc="white" if verdict.word == "too close to tell" else colours[name],
                capsize=3,
                linewidth=1.5,
            )
        axes.set_yticks(range(len(names)), map(literal, names))
        axes.set_ylim(len(names) - 0.5, -0.5)
        over = next(iter(shown.values())).over
        tidy(axes, title, f"{xlabel} over {over}", "")
    return figure
