"""One batch of the past under the microscope: which samples, why they were likely, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray

from batchlab import figures
from batchlab.lab.charts import LOSS_EDGES
from batchlab.lab.picture import DRAWING, THEME, WIDTH, png_of
from batchlab.lab.session import Session
from batchlab.lab.settings import DATA_SETTINGS
from batchlab.lab.stage import largest_first, make_stage
from batchlab.style import THEMES, class_colours, tidy

MOST_ROWS = 24  # samples in the table
LEAST_LIKELY = 0.01  # chances are drawn on a logarithmic scale, which has no zero
UNKNOWN = "how likely they were is not known for this strategy or for so many samples"
LETTERS = {"wide": 130, "narrow": 78}  # that fit into a line
SIZES = {"wide": (10.2, 5.2), "narrow": (6.2, 8.4)}
MOSAICS: dict[str, list[list[Any]]] = {
    "wide": [["stage", "chances", "losses"]],
    "narrow": [["stage", "stage"], ["chances", "losses"]],
}
SHARES = {"wide": ((1.4, 1, 1), (1,)), "narrow": ((1, 1), (1.1, 1))}


class Microscope:
    """Any recorded batch of a session: its samples, their chance to be drawn, and their losses.

    Parameters
    ----------
    session : Session
        Whose past.
    theme : {"light", "dark"}
        Colours of the page.
    width : {"wide", "narrow"}
        For pages of 1280 or of 800 pixels.
    """

    def __init__(self, session: Session, theme: str = "light", width: str = "wide") -> None:
        self.session = session
        self.theme = THEMES[THEME.check(theme, "Microscope")]
        self.width = WIDTH.check(width, "Microscope")
        self.figure = figures.Figure(*SIZES[self.width])
        self.figure.set_facecolor(self.theme.background)
        self._canvas = FigureCanvasAgg(self.figure)
        columns, rows = SHARES[self.width]
        self.axes = self.figure.subplot_mosaic(
            MOSAICS[self.width], width_ratios=columns, height_ratios=rows
        )
        flat = session.x.shape[1:] == (2,)
        title = "The batch, and the model now" if flat else "The batch"
        self._stage = make_stage(self.axes["stage"], session, title, self.theme)
        self._title = self.figure.suptitle(
            "\n", x=0.01, ha="left", fontsize=10, color=self.theme.ink
        )
        # Places are sought once, with the longest words that can come: it is most of the work.
        longest = max(session.classes, key=len)
        self._label_chances([f"{longest[:10]} #{len(session.x)}"], "largest losses")
        self._label_losses(1)
        self.figure.get_layout_engine().set(w_pad=0.12)
        self.figure.get_layout_engine().execute(self.figure)
        self.figure.set_layout_engine("none")

    def png(self, step: int) -> bytes:
        """The batch of a step, as a PNG file.

        Parameters
        ----------
        step : int
            As in ``session.history.events``: the first batch is step 0.

        Raises
        ------
        IndexError
            If there is no record of that step.
        """
        session = self.session
        batch, losses = session.batch(step), session.losses_at(step)
        with DRAWING:
            settings = wrap(f"Step {step}: {_settings(session, step)}", LETTERS[self.width])
            self._title.set_text("\n".join(settings[:2]))
            self._stage.refresh()
            self._stage.show(batch, losses)
            order = largest_first(losses)[:MOST_ROWS]
            self._draw_chances(batch, session.chances_at(step), order)
            self._draw_losses(batch[order], losses[order])
            self._canvas.draw()
            return png_of(self._canvas)

    def words(self, step: int) -> str:
        """What the picture of a step shows, for readers who cannot see it."""
        session = self.session
        batch, chances = session.batch(step), session.chances_at(step)
        mix = np.bincount(session.labels[batch], minlength=len(session.classes))
        counts = ", ".join(
            f"{count} of class {name}" for name, count in zip(session.classes, mix) if count
        )
        likely = UNKNOWN
        if chances is not None:
            times = chances * len(session.x)
            likely = f"each was ×{times.min():.2g} to ×{times.max():.2g} as likely as in a uniform draw"
        then, now = session.losses_at(step).mean(), session.losses_of(batch).mean()
        return (
            f"Step {step}: {_settings(session, step)}. {len(batch)} samples: {counts}; {likely}. "
            f"Their mean loss was {then:.2g} and is {now:.2g} now."
        )

    def _label_chances(self, names: Sequence[str], ylabel: str) -> Axes:
        axes = self.axes["chances"]
        axes.clear()
        tidy(axes, "How likely it was", "times the chance of a uniform draw", ylabel, self.theme)
        return _in_rows(axes, len(names), names)

    def _draw_chances(
        self, batch: NDArray[Any], chances: NDArray[np.float32] | None, order: NDArray[np.int64]
    ) -> None:
        """Bars from ×1, to the right for what was likelier than in a uniform draw."""
        session, ink = self.session, self.theme.ink
        labels = session.labels[batch[order]]
        names = [f"{session.classes[k][:10]} #{i}" for k, i in zip(labels, batch[order])]
        some = f"the {len(order)} largest losses of {len(batch)}" if len(order) < len(batch) else ""
        axes = self._label_chances(names, some)
        if chances is None:
            words = {"transform": axes.transAxes, "ha": "center", "va": "center", "fontsize": 9}
            axes.text(0.5, 0.5, "\n".join(wrap(UNKNOWN, 24)), color=ink, **words)
            axes.set_xticks([])
            return
        times = chances[order] * len(session.x)
        shown = np.maximum(times, LEAST_LIKELY)
        colours = np.array(class_colours(len(session.classes), self.theme))[labels]
        axes.barh(np.arange(len(order)), shown - 1, 0.7, left=1, color=colours)
        for row, (value, end) in enumerate(zip(times, shown)):
            side = "left" if value >= 1 else "right"
            axes.text(end, row, f" ×{value:.2g} ", fontsize=7, color=ink, ha=side, va="center")
        axes.axvline(1, color=ink, linewidth=0.8)
        axes.set_xscale("log")
        # Room for the numbers.
        low = min(0.1, shown.min() / 4) if shown.min() < 1 else 0.8
        axes.set_xlim(low, max(10, 4 * shown.max()) if shown.max() > 1 else 1.25)
        axes.xaxis.set_major_formatter(lambda value, _: f"×{value:g}")
        axes.minorticks_off()

    def _label_losses(self, rows: int) -> Axes:
        axes = self.axes["losses"]
        axes.clear()
        tidy(axes, "Its loss then ○ and now ●", "loss (log)", "", self.theme)
        axes.set_xscale("log")
        axes.set_xlim(LOSS_EDGES[0] / 2, LOSS_EDGES[-1] * 2)
        axes.set_xticks([1e-6, 1e-3, 1], ["≤ 10⁻⁶", "0.001", "1"])
        axes.minorticks_off()
        return _in_rows(axes, rows)

    def _draw_losses(self, batch: NDArray[Any], losses: NDArray[np.float32]) -> None:
        axes, rows = self._label_losses(len(batch)), np.arange(len(batch))
        then, now = (
            np.clip(values, LOSS_EDGES[0], LOSS_EDGES[-1])
            for values in (losses, self.session.losses_of(batch))
        )
        axes.hlines(rows, then, now, color=self.theme.data, linewidth=1)
        axes.plot(then, rows, "o", markersize=5, color=self.theme.ink, fillstyle="none")
        axes.plot(now, rows, "o", markersize=5, color=self.theme.ink)


def _in_rows(axes: Axes, rows: int, names: Sequence[str] = ()) -> Axes:
    """The largest loss on top, a sample at the same height in both tables."""
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows - 0.4, -0.6)
    return axes


def _settings(session: Session, step: int) -> str:
    """The strategy of a step and its settings, in words."""
    settings = session.settings_at(step)
    values = [
        f"{name.replace('_', ' ')} {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in settings.items()
        if name not in ("strategy", *DATA_SETTINGS)
    ]
    return ", ".join([f"strategy {settings['strategy']}", *values])
