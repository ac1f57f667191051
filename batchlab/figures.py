"""From a history to a picture: matplotlib figures that carry their own description in words."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from numpy.typing import ArrayLike, NDArray

from batchlab.history import History
from batchlab.parameters import Parameter, shown
from batchlab.style import (
    BLUE,
    CHOSEN,
    DATA,
    INK,
    LIGHT,
    ORANGE,
    PALETTE,
    Theme,
    class_colours,
    colours_of,
    literal,
    tidy,
)
from batchlab.validation import as_array, as_numbers, check_finite

if TYPE_CHECKING:
    from batchlab.comparison import Verdict

# Notebooks take the colours for their own figures from here, where the other figures are.
__all__ = [
    "CHOSEN",
    "DATA",
    "INK",
    "ORANGE",
    "PALETTE",
    "Figure",
    "class_mix",
    "comparison",
    "confusion",
    "decision_surface",
    "learning_curves",
    "scatter",
    "smooth",
    "surface",
    "surface_values",
    "grid_of",
    "tidy",
    "visits",
]


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
        return {"image/png": png.getvalue(), "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def _named(things: Any, owner: str, name: str, needs: str = "") -> dict[Any, Any]:
    """A dict from names to what is drawn: not empty, and all with the attribute `needs`."""
    if not isinstance(things, Mapping) or not things:
        raise TypeError(
            f"{owner}: {name} must be a dict by name that is not empty, got {shown(things)}."
        )
    for key, thing in things.items():
        if needs and not hasattr(thing, needs):
            raise TypeError(f"{owner}: {name}[{key!r}] must be a History, got {shown(thing)}.")
    return dict(things)


def _class_names(classes: Any, owner: str) -> list[str]:
    try:
        names = [] if isinstance(classes, str) else list(map(literal, classes))
    except TypeError:  # nothing to go through
        names = []
    if not names:
        raise TypeError(
            f"{owner}: classes must be a list with the names of the classes, got {shown(classes)}."
        )
    return names


def _class_numbers(values: ArrayLike, classes: list[str], owner: str, name: str) -> NDArray[Any]:
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


_CURVES = "Curves, (seeds, points), need points=; single numbers, (seeds,), do without."
_OUTPUTS = "one row per point of the grid, (resolution ** 2, 1 or classes)"
_PLANE = "Choose two columns: x[:, [0, 1]]."


def smooth(values: ArrayLike, window: int) -> NDArray[np.float64]:
    """Mean of each value and the up to `window - 1` before it; float64, same length."""
    window = Parameter(1, low=1, name="window").check(window, "figures.smooth")
    sums = np.cumsum(as_numbers(values, "figures.smooth", "values", least=0))
    counts = np.minimum(np.arange(1, sums.size + 1), window)
    sums[window:] = sums[window:] - sums[:-window]
    return sums / counts


def learning_curves(
    histories: Mapping[str, History], metrics: Sequence[str] = ("loss",), title: str = ""
) -> Figure:
    """Metrics by epoch, one line per run and one pair of axes per metric.

    Parameters
    ----------
    histories : mapping of str to History
        The runs, by the name to show. Live changes of a run have no place on this axis; the panel
        shows them.
    metrics : sequence of str
        Keys of ``history.history``.
    title : str
        What is compared.
    """
    owner = "figures.learning_curves"
    histories = _named(histories, owner, "histories", "history")
    given = [] if isinstance(metrics, str) or not isinstance(metrics, Sequence) else metrics
    if not given or not all(isinstance(metric, str) for metric in given):
        raise TypeError(f"{owner}: metrics must be a list of names, got {shown(metrics)}.")
    for name, history in histories.items():
        for metric in metrics:
            if metric not in history.history:
                raise ValueError(
                    f"{owner}: metrics asks for {metric!r}, but {name!r} has recorded "
                    f"{list(history.history)}."
                )
    figure = Figure(4.0 * len(metrics), 3.0)
    words = []
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics):
        for colour, (name, history) in zip(colours_of(histories), histories.items()):
            values = as_numbers(history.history[metric], owner, f"{metric!r} of {name!r}")
            steps = np.arange(1, len(values) + 1)
            axes.plot(steps, values, color=colour, label=literal(name), marker=".")
            words.append(f"{name}: {metric} {values[0]:.1f} to {values[-1]:.1f}")
        tidy(axes, title, "epoch", metric.replace("_", " "))
    axes.legend(frameon=False, fontsize=8)
    figure.alt = f"Learning curves. {title} " + "; ".join(words) + "."
    return figure


def class_mix(
    mixes: Mapping[str, ArrayLike], classes: Sequence[str], title: str = "Class mix"
) -> Figure:
    """Shares of the classes side by side, e.g. in the data and among the chosen samples.

    Parameters
    ----------
    mixes : mapping of str to array_like of float, shape (classes,)
        Shares from 0 to 1 by the name to show. The first is drawn as the data, in grey.
    classes : sequence of str
        Names of the classes.
    title : str
        What is compared.
    """
    owner = "figures.class_mix"
    names = _class_names(classes, owner)
    mixes = {
        name: as_numbers(shares, owner, f"mixes[{name!r}]", holds="one share per class")
        for name, shares in _named(mixes, owner, "mixes").items()
    }
    for name, shares in mixes.items():
        if len(shares) != len(names):
            raise ValueError(
                f"{owner}: mixes[{name!r}] has {len(shares)} shares, but there are {len(names)} "
                "classes. Give one share per class."
            )
    figure = Figure(8.0, 3.0)
    axes = figure.subplots()
    width = 0.8 / len(mixes)
    colours = [DATA, *colours_of(list(mixes)[1:])]
    for number, (colour, (name, shares)) in enumerate(zip(colours, mixes.items())):
        left = np.arange(len(classes)) - 0.4 + width * number
        axes.bar(left, shares, width * 0.95, align="edge", color=colour, label=literal(name))
    axes.set_xticks(range(len(names)), names)
    tidy(axes, title, "class", "share of the samples")
    axes.legend(frameon=False, fontsize=8)
    rarest = int(np.argmin(next(iter(mixes.values()))))
    figure.alt = f"{title}. Share of class {classes[rarest]}: " + ", ".join(
        f"{name} {shares[rarest]:.0%}" for name, shares in mixes.items()
    )
    return figure


def visits(histories: Mapping[str, History], title: str = "Visits per sample") -> Figure:
    """How many samples were chosen how often, for one or more runs."""
    histories = _named(histories, "figures.visits", "histories", "visits")
    figure = Figure(4.0 * len(histories), 3.0)
    words = []
    most = max(int(history.visits.max()) for history in histories.values())
    plots = figure.subplots(1, len(histories), squeeze=False, sharey=True)[0]
    for axes, colour, (name, history) in zip(plots, colours_of(histories), histories.items()):
        axes.hist(history.visits, np.arange(most + 2) - 0.5, color=colour, rwidth=0.9)
        tidy(axes, f"{title}: {name}", "times chosen", "samples")
        words.append(f"{name}: {1 - history.coverage:.0%} never, at most {history.visits.max()}×")
    figure.alt = f"{title}. " + "; ".join(words) + "."
    return figure


def confusion(
    y_true: ArrayLike, y_pred: ArrayLike, classes: Sequence[str], title: str = "Confusion matrix"
) -> Figure:
    """Confusion matrix in counts, every row a true class, shaded by its share of the row."""
    from sklearn.metrics import confusion_matrix

    owner = "figures.confusion"
    names = _class_names(classes, owner)
    true = _class_numbers(y_true, names, owner, "y_true")
    predicted = _class_numbers(y_pred, names, owner, "y_pred")
    if true.size != predicted.size:
        raise ValueError(
            f"{owner}: y_true and y_pred must have one entry per sample each, got {true.size} and "
            f"{predicted.size}."
        )
    matrix = confusion_matrix(true, predicted, labels=range(len(names)))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.32 * len(names)
    figure = Figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix >= 0):
        colour = "white" if shares[row, column] > 0.5 else INK
        text = str(matrix[row, column])
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    tidy(axes, title, "predicted", "true")
    recalls = np.diag(shares)
    figure.alt = (
        f"{title}. Best recognised class: {classes[int(recalls.argmax())]}, "
        f"worst: {classes[int(recalls.argmin())]}."
    )
    return figure


def scatter(
    axes: Axes, x: ArrayLike, y: ArrayLike, classes: Sequence[str], theme: Theme = LIGHT
) -> None:
    """The samples of 2-D data as points, rarer classes on top and larger."""
    owner = "figures.scatter"
    names = _class_names(classes, owner)
    points = as_numbers(x, owner, "x", axes=(2,), holds="two numbers per sample", mend=_PLANE)
    labels = _class_numbers(y, names, owner, "y")
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
    colours = class_colours(len(names), theme)
    edge = {"linewidths": 0.3, "edgecolors": theme.edge}
    for number in np.argsort(-counts):
        members = points[labels == number]
        size = 6 if counts[number] == counts.max() else 12
        axes.scatter(*members.T, s=size, color=colours[number], label=names[number], **edge)
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
        for name, runs in _named(values, owner, "values").items()
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
