"""The picture of a running session: drawn once, then only its data is changed."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import PercentFormatter
from PIL import Image

from batchlab import figures
from batchlab.lab.session import Session

RECENT = 50  # steps that count as recent in the class mix
# matplotlib's fonts are not made for two threads that draw at once, as two panels would.
_DRAWING = threading.Lock()


class Picture:
    """Loss, balanced accuracy, class mix and visits; for 2-D data the decision surface too.

    Parameters
    ----------
    session : Session
        What to show.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.flat = session.x.ndim == 2 and session.x.shape[1] == 2
        self.figure = figures.Figure(10.4 if self.flat else 8.6, 4.6)
        FigureCanvasAgg(self.figure)
        if self.flat:
            mosaic, ratios = [["stage", "loss", "score"], ["stage", "mix", "visits"]], (1.45, 1, 1)
        else:
            mosaic, ratios = [["loss", "score"], ["mix", "visits"]], (1, 1)
        self.axes = self.figure.subplot_mosaic(mosaic, width_ratios=ratios)
        self._events: list[Any] = []
        self._draw_frame()

    def _draw_frame(self) -> None:
        """Everything that does not depend on the run."""
        session, axes = self.session, self.axes
        figures.tidy(axes["loss"], "Loss of the batches", "step", "loss")
        figures.tidy(axes["score"], "Balanced accuracy", "step", "")
        figures.tidy(axes["mix"], f"Class mix, last {RECENT} batches", "class", "")
        figures.tidy(axes["visits"], "Visits per sample", "times chosen", "samples")
        (self._loss,) = axes["loss"].plot([], [], color=figures.CHOSEN, alpha=0.25, linewidth=0.8)
        (self._smooth,) = axes["loss"].plot([], [], color=figures.CHOSEN, linewidth=1.6)
        (self._score,) = axes["score"].plot([], [], color=figures.CHOSEN, linewidth=1.6)
        axes["score"].set_ylim(0, 1.02)

        places = np.arange(len(session.classes))
        share = np.bincount(session.labels, minlength=len(places)) / len(session.labels)
        axes["mix"].bar(places - 0.2, share, 0.38, color=figures.DATA, label="data")
        self._mix = axes["mix"].bar(
            places + 0.2, np.zeros(len(places)), 0.38, color=figures.CHOSEN, label="chosen"
        )
        axes["mix"].set_xticks(places, session.classes)
        axes["mix"].set_ylim(0, min(1.0, 1.5 * max(share.max(), 1 / len(places))))
        axes["mix"].legend(frameon=False, fontsize=8)
        for name in ("score", "mix"):
            axes[name].yaxis.set_major_formatter(PercentFormatter(1.0))
        if self.flat:
            self._draw_stage()
        # Find the places of the axes once: doing so at every picture takes most of the time.
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def _draw_stage(self) -> None:
        stage, session = self.axes["stage"], self.session
        figures.tidy(stage, "The model, the data and the batch", "first feature", "second feature")
        figures.scatter(stage, session.x, session.labels, session.classes)
        self._grid = figures.grid_of(stage)
        self._surface = figures.surface(stage, session.predict(self._grid))
        self._batch = stage.scatter(
            [], [], s=60, facecolors="none", edgecolors=figures.INK, linewidths=1.1, label="batch"
        )
        stage.legend(frameon=True, framealpha=0.8, fontsize=8, loc="upper right")

    def update(self) -> None:
        """Bring the picture up to the present step."""
        session = self.session
        history, axes = session.history, self.axes
        losses = history.step_losses
        steps = np.arange(1, history.steps + 1)
        self._loss.set_data(steps, losses)
        self._smooth.set_data(steps, figures.smooth(losses, 20))
        if losses.size:
            axes["loss"].set_ylim(0, np.quantile(losses, 0.99) * 1.15 + 1e-6)
        self._score.set_data(*np.transpose(session.scores))
        for name in ("loss", "score"):
            axes[name].set_xlim(0, max(history.steps, 10))
        for bar, share in zip(self._mix, history.class_mix(session.labels, last=RECENT)):
            bar.set_height(share)
        self._show_visits()
        self._show_events()
        if self.flat:
            self._surface.set_data(figures.surface_values(session.predict(self._grid)))
            batch = history.indices[-1] if history.steps else []
            self._batch.set_offsets(session.x[batch].reshape(-1, 2))

    def _show_visits(self) -> None:
        axes, visits = self.axes["visits"], self.session.history.visits
        for patch in list(axes.patches):
            patch.remove()
        width = visits.max() // 25 + 1
        bins = np.arange(0, visits.max() + 1 + width, width) - 0.5
        counts, _, _ = axes.hist(visits, bins, color=figures.CHOSEN, rwidth=0.9)
        axes.set_xlim(bins[0], bins[-1])
        axes.set_ylim(0, counts.max() * 1.08)
        unseen = 1 - self.session.history.coverage
        axes.set_title(f"Visits per sample ({unseen:.0%} never)", loc="left", fontsize=10)

    def _show_events(self) -> None:
        for mark in self._events:
            mark.remove()
        self._events = [
            self.axes[name].axvline(event.step, color=figures.RED, linewidth=0.9, linestyle=":")
            for event in self.session.history.events
            for name in ("loss", "score")
        ]

    def png(self) -> bytes:
        """The picture as it is now, as a PNG file."""
        with _DRAWING:
            self.update()
            self.figure.canvas.draw()
            image = Image.fromarray(np.asarray(self.figure.canvas.buffer_rgba())).convert("RGB")
        file = io.BytesIO()
        image.save(file, format="png", compress_level=1)  # 1: a tenth of the time, a little larger
        return file.getvalue()

    def words(self) -> str:
        """What the picture shows, for readers who cannot see it and for tests."""
        session = self.session
        history = session.history
        if not history.steps:
            return f"BatchLab, not trained yet. Strategy: {session.strategy}. Press Play."
        rarest = int(np.bincount(session.labels).argmin())
        share = history.class_mix(session.labels)[rarest]
        return (
            f"BatchLab after {history.steps} steps with the strategy {session.strategy!r}: "
            f"{history.coverage:.0%} of the samples seen, class {session.classes[rarest]!r} is "
            f"{(session.labels == rarest).mean():.0%} of the data and {share:.0%} of the batches, "
            f"{len(history.events)} live changes."
        )
