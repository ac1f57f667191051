"""One batch of the past under the microscope: which samples, why they were likely, what they cost."""

from __future__ import annotations

from itertools import zip_longest
from textwrap import shorten, wrap
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from batchlab.lab.drawing.charts import LOSS_EDGES
from batchlab.lab.drawing.layered import WIDTH, LayeredFigure, Split, Targets
from batchlab.lab.drawing.stage import largest_first, make_stage, margins_of
from batchlab.lab.session import Session
from batchlab.lab.settings import DATA_SETTINGS, HAND
from batchlab.style import class_colours, literal, tidy

MOST_ROWS = 24  # samples in the table
LEAST_LIKELY = 0.01  # chances are drawn on a logarithmic scale, which has no zero
UNKNOWN = "how likely they were is not known for this strategy or for so many samples"
SIZES = {"wide": (10.2, 4.8), "narrow": (6.2, 8.0)}
TABLES = ((1.15, 1), ("chances", "losses"))
SPLITS: dict[str, Split] = {
    "wide": ((1.3, 2), ("stage", ((1,), (TABLES,)))),
    "narrow": ((1,), (((1.1, 1), ("stage", TABLES)),)),
}


class Microscope(LayeredFigure):
    """Any recorded batch of a session: its samples, their chance to be drawn, and their losses.

    Parameters
    ----------
    session : Session
        Whose past.
    theme : {"light", "dark"}
        Colours of the page.
    width : {"wide", "narrow"}
        For pages of 1280 or of 800 pixels.

    Attributes
    ----------
    step : int
        Whose batch is shown; as in ``session.history.events``, the first batch is step 0.
    """

    def __init__(self, session: Session, theme: str = "light", width: str = "wide") -> None:
        self.session, self.step = session, 0
        width = WIDTH.check(width, "Microscope")
        names = session.classes if session.has_classes else ("",)
        longest = max(len(name[:10]) for name in names) + len(f"9× #{len(session.x)}")
        below = 0.6  # two lines of text
        margins = {
            "stage": margins_of(session),
            "chances": (0.1 + longest * 0.065, below, 0.12, 0.27),
            "losses": (0.3, below, 0.2, 0.27),
        }
        super().__init__(SIZES[width], SPLITS[width], margins, theme, width)
        self._flat = session.x.shape[1:] == (2,)
        self._stage = make_stage(self.axes["stage"], session, "The batch", self.theme)
        self._rows = [Targets(np.empty(0, np.int64), np.empty((0, 2)), (1, 1))]
        self.settle([*self._stage.moving, *self._build_chances(), *self._build_losses()])

    def _build_chances(self) -> list[Artist]:
        """Bars from ×1, to the right for what was likelier than in a uniform draw."""
        axes, ink = self.axes["chances"], self.theme.ink
        tidy(axes, "How likely it was", "", "", self.theme)
        axes.set_xscale("log")
        axes.set_xlim(0.1, 10)
        axes.xaxis.set_major_formatter(lambda value, _: f"×{value:g}")
        axes.minorticks_off()
        axes.set_yticks([])
        axes.axvline(1, color=ink, linewidth=0.8)
        rows = np.arange(MOST_ROWS)
        small = {"fontsize": 7, "color": ink, "va": "center", "clip_on": False}
        beside = {**small, "ha": "right", "transform": axes.get_yaxis_transform()}
        self._names = [axes.text(-0.02, row, "", **beside) for row in rows]
        self._times = [axes.text(1, row, "", **small) for row in rows]
        self._bars = axes.barh(rows, np.zeros(MOST_ROWS), 0.7, left=1)
        words = {"transform": axes.transAxes, "ha": "center", "va": "center", "fontsize": 9}
        self._unknown = axes.text(0.5, 0.5, "\n".join(wrap(UNKNOWN, 24)), color=ink, **words)
        return [*self._names, *self._bars, *self._times, self._unknown]

    def _build_losses(self) -> list[Artist]:
        axes, ink = self.axes["losses"], self.theme.ink
        tidy(axes, "Its loss then ○ and now ●", "loss (log)", "", self.theme)
        axes.set_xscale("log")
        axes.set_xlim(LOSS_EDGES[0] / 2, LOSS_EDGES[-1] * 2)
        axes.set_xticks([1e-6, 1e-3, 1], ["≤ 10⁻⁶", "0.001", "1"])
        axes.minorticks_off()
        axes.set_yticks([])
        self._changes = LineCollection([], color=self.theme.data, linewidth=1)
        axes.add_collection(self._changes, autolim=False)
        self._then, self._now = (
            axes.plot([], [], "o", markersize=5, color=ink, fillstyle=fill)[0]
            for fill in ("none", "full")
        )
        return [self._changes, self._then, self._now]

    def look_at(self, step: int) -> None:
        """Show another batch.

        Raises
        ------
        IndexError
            If there is no record of that step.
        """
        self.session.batch(step)
        self.step = step

    def update(self) -> None:
        session = self.session
        batch, losses = session.batch(self.step), session.losses_at(self.step)
        with session.models.as_of(self.step, session.history.steps) as then:
            self._stage.refresh()
        self._stage.show(batch, losses)
        self._give_title(then)
        order = largest_first(losses)
        samples, first = np.unique(batch[order], return_index=True)  # one that came twice has one row
        order = order[np.sort(first)][:MOST_ROWS]
        self._give_rows(len(order), len(samples))
        self._show_chances(batch[order], session.chances_at(self.step), order)
        self._show_losses(batch[order], losses[order])
        self._rows = [self._targets_in(name, batch[order]) for name in ("chances", "losses")]

    def targets(self) -> list[tuple[int, Targets]]:
        return [(0, each) for each in (self._stage.targets, *self._rows)]

    def _targets_in(self, name: str, samples: NDArray[Any]) -> Targets:
        """The rows of a table, with the words to the left of it."""
        axes, rows = self.axes[name], np.arange(len(samples))
        x0, _, x1, _ = axes.bbox.extents
        x0 -= axes.figure.dpi if name == "chances" else 0
        heights = axes.transData.transform(np.column_stack([np.ones(len(rows)), rows]))[:, 1]
        places = np.column_stack([np.full(len(rows), (x0 + x1) / 2), self.size[1] - heights])
        return Targets(samples, places, ((x1 - x0) / 2, axes.bbox.height / (2 * len(rows) or 1)))

    def _give_title(self, then: int) -> None:
        """Whose batch it is, and whose model the surface is: of that step, or shortly before."""
        title = f"Batch of step {self.step}"
        if self._flat:
            title += " and the model then" if then == self.step else f", model of step {then}"
        if self.axes["stage"].get_title(loc="left") != title:
            self.axes["stage"].set_title(title, loc="left", fontsize=10)
            self.outgrown("stage")

    def _give_rows(self, shown: int, samples: int) -> None:
        """The largest loss on top, a sample at the same height in both tables."""
        limits = (shown - 0.4, -0.6)
        label = "times the chance of a uniform draw"
        if shown < samples:
            label += f"\nthe {shown} largest losses of {samples}"
        chances = self.axes["chances"]
        if (chances.get_ylim(), chances.get_xlabel()) != (limits, label):
            chances.set_xlabel(label)
            for name in ("chances", "losses"):
                self.axes[name].set_ylim(limits)
            self.outgrown("chances", "losses")

    def _show_chances(
        self, batch: NDArray[Any], chances: NDArray[np.float32] | None, order: NDArray[np.int64]
    ) -> None:
        session, known = self.session, chances is not None
        labels, whole = session.labels[batch], session.batch(self.step)
        classes = session.classes if session.has_classes else ("",)
        names = [f"{literal(classes[k][:10])} #{i}".lstrip() for k, i in zip(labels, batch)]
        counts = [int((whole == sample).sum()) for sample in batch]
        names = [f"{count}× {name}" if count > 1 else name for count, name in zip(counts, names)]
        for text, name in zip_longest(self._names, names, fillvalue=""):
            text.set_text(name)
        self._unknown.set_visible(not known)
        for row, (bar, text) in enumerate(zip(self._bars, self._times)):
            shown = known and row < len(order)
            bar.set_visible(shown)
            text.set_visible(shown)
        if not known:
            return
        times = chances[order] * len(session.x)
        ends = np.maximum(times, LEAST_LIKELY)
        colours = np.array(class_colours(len(classes), self.theme))[labels]
        for bar, text, value, end, colour in zip(self._bars, self._times, times, ends, colours):
            bar.set(width=end - 1, facecolor=colour)
            text.set(x=end, text=f" ×{value:.2g} ", ha="left" if value > 0.995 else "right")
        # Round limits with room for the numbers, which hold for most batches.
        powers = np.floor(np.log10(ends.min() / 3)), np.ceil(np.log10(3 * ends.max()))
        limits = (min(0.1, 10 ** powers[0]), max(10.0, 10 ** powers[1]))
        if self.axes["chances"].get_xlim() != limits:
            self.axes["chances"].set_xlim(limits)
            self.outgrown("chances")

    def _show_losses(self, batch: NDArray[Any], losses: NDArray[np.float32]) -> None:
        rows = np.arange(len(batch))
        then, now = (
            np.clip(values, LOSS_EDGES[0], LOSS_EDGES[-1])
            for values in (losses, self.session.losses_of(batch))
        )
        points = [np.column_stack([values, rows]) for values in (then, now)]
        self._changes.set_segments(np.stack(points, axis=1))
        self._then.set_data(then, rows)
        self._now.set_data(now, rows)

    def words(self) -> str:
        """What the picture shows, for readers who cannot see it."""
        session, step = self.session, self.step
        batch, chances = session.batch(step), session.chances_at(step)
        counts = ""
        if session.has_classes:
            mix = np.bincount(session.labels[batch], minlength=len(session.classes))
            pairs = zip(session.classes, mix)
            counts = ": " + ", ".join(f"{count} of class {name}" for name, count in pairs if count)
        likely = UNKNOWN
        if chances is not None:
            times = chances * len(session.x)
            likely = f"each was ×{times.min():.2g} to ×{times.max():.2g} as likely as in a uniform draw"
        then, now = session.losses_at(step).mean(), session.losses_of(batch).mean()
        return (
            f"Step {step}: {_settings(session, step)}. {len(batch)} samples{counts}; {likely}. "
            f"Their mean loss was {then:.2g} and is {now:.2g} now."
        )


def _settings(session: Session, step: int) -> str:
    """The strategy of a step and its settings, in words."""
    settings = session.settings_at(step)
    values = [
        f"{name.replace('_', ' ')} {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in settings.items()
        if name not in ("strategy", *DATA_SETTINGS) and (value or name not in HAND)
    ]
    values = [shorten(value, 60, placeholder=" …") for value in values]
    return ", ".join([f"strategy {settings['strategy']}", *values])
