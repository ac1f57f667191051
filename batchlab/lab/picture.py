"""The picture of a running session: the frame is drawn seldom, what moves is drawn into it."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import PercentFormatter
from PIL import Image

from batchlab import figures, style
from batchlab.lab.session import Session

RECENT = 50  # steps that count as recent in the class mix
# matplotlib's fonts are not made for two threads that draw at once, as two panels would.
_DRAWING = threading.Lock()


class Picture:
    """Loss, balanced accuracy, class mix and visits; for 2-D data the decision surface too.

    Drawing all of it takes a tenth of a second, most of it for axes and text. So axes keep their
    limits until the data outgrows them, and only what moves is drawn anew ("blitting").

    Parameters
    ----------
    session : Session
        What to show.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.flat = session.x.ndim == 2 and session.x.shape[1] == 2
        self.figure = figures.Figure(10.4 if self.flat else 8.6, 4.6)
        self._canvas = FigureCanvasAgg(self.figure)
        if self.flat:
            mosaic, ratios = [["stage", "loss", "score"], ["stage", "mix", "visits"]], (1.45, 1, 1)
        else:
            mosaic, ratios = [["loss", "score"], ["mix", "visits"]], (1, 1)
        self.axes = self.figure.subplot_mosaic(mosaic, width_ratios=ratios)
        if self.flat:
            self._build_stage(self.axes["stage"])
        self._build_curves(self.axes["loss"], self.axes["score"])
        self._build_mix(self.axes["mix"])
        self._build_visits(self.axes["visits"])
        # What moves, in the order of drawing; "animated" keeps it out of the frame.
        self._moving = [
            artist
            for axes in self.axes.values()
            for artist in (*axes.images, *axes.collections, *axes.lines, *axes.patches, *axes.texts)
            if artist.get_gid() != "frame"
        ]
        for artist in self._moving:
            artist.set_animated(True)
        # Places for the axes are sought once: doing so at every picture takes most of the time.
        self.figure.get_layout_engine().set(rect=(0, 0, 0.985, 1))  # room for the last tick label
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        self._frame: Any = None

    def _build_stage(self, axes: Axes) -> None:
        session = self.session
        figures.tidy(axes, "The model, the data and the batch", "first feature", "second feature")
        figures.scatter(axes, session.x, session.labels, session.classes)
        self._grid = figures.grid_of(axes)
        self._surface = figures.surface(axes, session.predict(self._grid))
        self._batch = axes.scatter(
            [], [], s=60, facecolors="none", edgecolors=figures.INK, linewidths=1.1, label="batch"
        )
        below = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.11), "ncols": 5}
        axes.legend(frameon=False, fontsize=8, handletextpad=0.1, columnspacing=1, **below)

    def _build_curves(self, loss: Axes, score: Axes) -> None:
        figures.tidy(loss, "Loss of the batches", "step", "loss")
        figures.tidy(score, "Balanced accuracy", "step", "")
        (self._loss,) = loss.plot([], [], color=figures.CHOSEN, alpha=0.25, linewidth=0.8)
        (self._smooth,) = loss.plot([], [], color=figures.CHOSEN, linewidth=1.6)
        (self._score,) = score.plot([], [], color=figures.CHOSEN, linewidth=1.6)
        line = {"color": style.RED, "linewidth": 1.0, "linestyle": ":"}
        self._ticks = [
            axes.plot([], [], transform=axes.get_xaxis_transform(), **line)[0]
            for axes in (loss, score)
        ]
        score.set_ylim(0, 1.02)
        score.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    def _build_mix(self, axes: Axes) -> None:
        session = self.session
        figures.tidy(axes, f"Class mix, last {RECENT} batches", "class", "")
        places = np.arange(len(session.classes))
        share = np.bincount(session.labels, minlength=len(places)) / len(session.labels)
        for bar in axes.bar(places - 0.2, share, 0.38, color=figures.DATA, label="data"):
            bar.set_gid("frame")
        empty = np.zeros(len(places))
        self._mix = axes.bar(places + 0.2, empty, 0.38, color=figures.CHOSEN, label="chosen")
        axes.set_xticks(places, session.classes)
        axes.set_ylim(0, min(1.0, 1.5 * max(share.max(), 1 / len(places))))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(frameon=False, fontsize=8)

    def _build_visits(self, axes: Axes) -> None:
        figures.tidy(axes, "Visits per sample", "times chosen", "samples")
        self._visits = axes.stairs([0], [-0.5, 0.5], fill=True, color=figures.CHOSEN)
        place = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 8}
        self._unseen = axes.text(0.98, 0.97, "", **place)

    def _update(self) -> None:
        """Bring what moves up to the present step."""
        history = self.session.history
        losses = history.step_losses
        steps = np.arange(1, history.steps + 1)
        self._loss.set_data(steps, losses)
        self._smooth.set_data(steps, figures.smooth(losses, 20))
        self._score.set_data(*np.transpose(self.session.scores))
        changes = [event.step for event in history.events]
        for tick in self._ticks:
            tick.set_data(np.repeat(changes, 3), np.tile([0, 1, np.nan], len(changes)))
        for name in ("loss", "score"):
            self._fit(self.axes[name].set_xlim, self.axes[name].get_xlim()[1], history.steps)
        top = np.quantile(losses, 0.99) if losses.size else 1.0
        self._fit(self.axes["loss"].set_ylim, self.axes["loss"].get_ylim()[1], top)
        mix = history.class_mix(self.session.labels, last=RECENT)
        for bar, share in zip(self._mix, mix):
            bar.set_height(share)
        self._fit(self.axes["mix"].set_ylim, self.axes["mix"].get_ylim()[1], mix.max(), shrink=False)
        self._update_visits()
        if self.flat:
            self._surface.set_data(figures.surface_values(self.session.predict(self._grid)))
            batch = history.indices[-1] if history.steps else []
            self._batch.set_offsets(self.session.x[batch].reshape(-1, 2))

    def _update_visits(self) -> None:
        axes, visits = self.axes["visits"], self.session.history.visits
        width = visits.max() // 25 + 1
        edges = np.arange(0, visits.max() + 1 + width, width) - 0.5
        counts, _ = np.histogram(visits, edges)
        self._visits.set_data(counts, edges)
        self._unseen.set_text(f"{1 - self.session.history.coverage:.0%} never chosen")
        self._fit(axes.set_xlim, axes.get_xlim()[1], edges[-1], low=-0.5)
        self._fit(axes.set_ylim, axes.get_ylim()[1], counts.max() * 1.1)

    def _fit(
        self, set_limits: Any, present: float, needed: float, low: float = 0.0, shrink: bool = True
    ) -> None:
        """Give an axis a round upper limit, when it is too small or more than thrice too large."""
        if present < needed or (shrink and present > 3 * max(needed, 10 * (low < 0))):
            set_limits(low, _round_up(1.05 * needed))
            self._frame = None

    def png(self) -> bytes:
        """The picture as it is now, as a PNG file."""
        with _DRAWING:
            self._update()
            if self._frame is None:
                self._canvas.draw()
                self._frame = self._canvas.copy_from_bbox(self.figure.bbox)
            self._canvas.restore_region(self._frame)
            for artist in self._moving:
                artist.axes.draw_artist(artist)
            image = Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")
        file = io.BytesIO()
        image.save(file, format="png", compress_level=1)  # 1: a tenth of the time, a little larger
        return file.getvalue()

    def words(self) -> str:
        """What the picture shows, for readers who cannot see it and for tests.

        Only what the samplers decided: it is the same on every computer, unlike losses.
        """
        session = self.session
        history = session.history
        if not history.steps:
            return f"BatchLab, not trained yet. Strategy: {session.strategy}. Press Play."
        rarest = int(np.bincount(session.labels).argmin())
        share = history.class_mix(session.labels)[rarest]
        return (
            f"BatchLab after {history.steps} steps, now with the strategy {session.strategy}: "
            f"{history.coverage:.0%} of the samples seen; class {session.classes[rarest]} is "
            f"{(session.labels == rarest).mean():.0%} of the data and {share:.0%} of the batches; "
            f"live changes: {len(history.events)}."
        )


def _round_up(value: float) -> float:
    """The next number that makes a calm axis: 1, 1.5, 2, 3, 4, 5, 7 or 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 7, 10) if step * power >= value * 0.999)
