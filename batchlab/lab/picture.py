"""The picture of one or two running sessions: the frame is drawn seldom, what moves, into it."""

from __future__ import annotations

import io
import struct
import threading
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from batchlab import figures
from batchlab.lab.charts import Distribution, Losses, Mix, Scores, Visits, names_of
from batchlab.lab.session import Session
from batchlab.lab.stage import make_stage
from batchlab.samplers import Parameter
from batchlab.style import THEMES

CHARTS = {"L": Losses, "R": Scores, "M": Mix, "V": Visits, "D": Distribution}
# Where the stages A and B, the Loss, the scoRe, the Mix, the Visits and the Distribution of the
# losses are, by the width of the page and the number of sessions: rows and columns, nested.
BELOW, CURVES = [["M", "V", "D"]], [["L"], ["R"]]
MOSAICS: dict[tuple[str, int], list[list[Any]]] = {
    ("wide", 1): [["A", [[[["L", "R"]]], [BELOW]]]],
    ("wide", 2): [[[["A", "B", CURVES]]], [BELOW]],
    ("narrow", 1): [[[["A", CURVES]]], [BELOW]],
    ("narrow", 2): [[[["A", "B"]]], [[["L", "R"]]], [BELOW]],
}
# Inches, and the relative sizes of the outermost columns and rows. At 110 pixels an inch, wide is
# 1120 pixels, which fits a page of 1280, and narrow is 680, for one of 800.
SIZES = {
    ("wide", 1): ((10.2, 4.7), (1, 1.95), (1,)),
    ("wide", 2): ((10.2, 6.6), (1,), (2.1, 1)),
    ("narrow", 1): ((6.2, 6.2), (1,), (2, 1)),
    ("narrow", 2): ((6.2, 7.6), (1,), (1.8, 1.1, 1)),
}
THEME = Parameter("light", "colours of the page", choices=tuple(THEMES), name="theme")
WIDTH = Parameter("wide", "room on the page", choices=("wide", "narrow"), name="width")
# matplotlib's fonts are not made for two threads that draw at once, as two panels would.
DRAWING = threading.Lock()


class Picture:
    """Stage, loss, balanced accuracy, class mix, visits and recent losses of one or two sessions.

    Drawing all of it takes two tenths of a second, most of it for axes and text. So axes keep their
    limits until the data outgrows them, and only what moves is drawn anew ("blitting").

    Parameters
    ----------
    sessions : sequence of Session
        One, or two to compare: A is drawn solid, B dashed or hatched, each in the colour of its
        strategy.
    theme : {"light", "dark"}
        Colours of the page.
    width : {"wide", "narrow"}
        For pages of 1280 or of 800 pixels.

    Attributes
    ----------
    cost : float
        Seconds that the last picture took.
    """

    def __init__(
        self, sessions: Sequence[Session], theme: str = "light", width: str = "wide"
    ) -> None:
        self.sessions = list(sessions)
        self.theme = THEMES[THEME.check(theme, "Picture")]
        self.cost = 0.0
        layout = (WIDTH.check(width, "Picture"), len(self.sessions))
        if layout not in SIZES:
            raise ValueError(f"Picture: sessions must be one or two, got {len(self.sessions)}.")
        size, columns, rows = SIZES[layout]
        self.figure = figures.Figure(*size)
        self.figure.set_facecolor(self.theme.background)
        self._canvas = FigureCanvasAgg(self.figure)
        self.axes = self.figure.subplot_mosaic(
            MOSAICS[layout], width_ratios=columns, height_ratios=rows
        )
        self._stages = [
            make_stage(self.axes[letter], session, name, self.theme)
            for letter, session, name in zip("AB", self.sessions, names_of(self.sessions))
        ]
        self._charts = [
            chart(self.axes[letter], self.sessions, self.theme) for letter, chart in CHARTS.items()
        ]
        self._name_strategies()
        self._moving = [
            artist for part in (*self._stages, *self._charts) for artist in part.moving
        ]
        self._keep_out_of_frame(True)
        # Places for the axes are sought once: doing so at every picture takes most of the time.
        # With room for tick labels that come to be longer.
        self.figure.get_layout_engine().set(rect=(0.01, 0, 0.975, 1))
        self.figure.get_layout_engine().execute(self.figure)
        self.figure.set_layout_engine("none")
        self._frame: Any = None

    def _keep_out_of_frame(self, moving: bool) -> None:
        for artist in self._moving:
            artist.set_animated(moving)

    def _name_strategies(self) -> None:
        """Titles, keys and colours say which strategies are at work."""
        self._named = names_of(self.sessions)
        for letter, name in zip("AB", self._named):
            self.axes[letter].set_title(name, loc="left", fontsize=10)
        for chart in self._charts:
            chart.paint()
        self._frame = None

    def _update(self) -> None:
        """Bring everything up to the present step."""
        if self._named != names_of(self.sessions):
            self._name_strategies()
        for stage, session in zip(self._stages, self.sessions):
            stage.refresh()
            if session.history.steps:
                stage.show(session.history.indices[-1], session.history.losses[-1])
            else:
                stage.show(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        for chart in self._charts:
            if chart.update():
                self._frame = None

    def png(self) -> bytes:
        """The picture as it is now, as a PNG file."""
        began = time.monotonic()
        with DRAWING:
            self._update()
            if self._frame is None:
                self._canvas.draw()
                self._frame = self._canvas.copy_from_bbox(self.figure.bbox)
            self._canvas.restore_region(self._frame)
            for artist in self._moving:
                artist.draw(self._canvas.get_renderer())
            picture = png_of(self._canvas)
        self.cost = time.monotonic() - began
        return picture

    def svg(self) -> str:
        """The picture as it is now, as an SVG file, which stays sharp at any size."""
        with DRAWING:
            self._update()
            file = io.StringIO()
            self._keep_out_of_frame(False)
            self.figure.savefig(file, format="svg", metadata={"Date": None})
            self._keep_out_of_frame(True)
        return file.getvalue()

    def words(self) -> str:
        """What the picture shows, for readers who cannot see it and for tests.

        Only what the samplers decided: it is the same on every computer, unlike losses.
        """
        if len(self.sessions) == 1:
            return _words(self.sessions[0], "BatchLab")
        return " ".join(map(_words, self.sessions, "AB"))


def png_of(canvas: FigureCanvasAgg) -> bytes:
    """What was drawn, as a PNG file.

    Pillow tries all filters on every row, which takes twice as long and saves nothing for charts.
    """
    pixels = np.asarray(canvas.buffer_rgba())
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + channels * width), dtype=np.uint8)  # filter 0, none, then the row
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">2I5B", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def _words(session: Session, name: str) -> str:
    history = session.history
    if not history.steps:
        return f"{name}, not trained yet. Strategy: {session.strategy}. Press Play."
    rarest = int(np.bincount(session.labels).argmin())
    share = history.class_mix(session.labels)[rarest]
    return (
        f"{name} after {history.steps} steps, now with the strategy {session.strategy}: "
        f"{history.coverage:.0%} of the samples seen; class {session.classes[rarest]} is "
        f"{(session.labels == rarest).mean():.0%} of the data and {share:.0%} of the batches; "
        f"live changes: {len(history.events)}."
    )
