"""One run or a few: curves, class mix, visits, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.figures.figure import Figure, class_names, class_numbers, named
from batchlab.history import History
from batchlab.parameters import Parameter, shown
from batchlab.style import (
    DATA,
    INK,
    colours_of,
    literal,
    tidy,
)
from batchlab.validation import as_numbers


def smooth(values: ArrayLike, window: int) -> NDArray[np.float64]:
    """Mean of each value and the up to `window - 1` before it; float64, same length."""
    window = Parameter(1, low=1, name="window").check(window, "figures.smooth")
    values = as_numbers(values, "figures.smooth", "values", least=0)
    counts = np.minimum(np.arange(1, values.size + 1), window)
    # Each sum is of its own window: a running one would never forget a NaN.
    return np.convolve(np.append(values, 0), np.ones(counts.max(initial=1)))[: values.size] / counts


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
    histories = named(histories, owner, "histories", "history")
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
    names = class_names(classes, owner)
    mixes = {
        name: as_numbers(shares, owner, f"mixes[{name!r}]", holds="one share per class")
        for name, shares in named(mixes, owner, "mixes").items()
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
    histories = named(histories, "figures.visits", "histories", "visits")
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
    names = class_names(classes, owner)
    true = class_numbers(y_true, names, owner, "y_true")
    predicted = class_numbers(y_pred, names, owner, "y_pred")
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
