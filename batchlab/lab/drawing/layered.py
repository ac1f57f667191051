"""A figure in two layers: what stays for a while is drawn seldom, what moves is drawn into it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.spines import Spine
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from batchlab import figures
from batchlab.lab.drawing.recorder import Recorder, Recording
from batchlab.parameters import Parameter
from batchlab.style import THEMES

# Parts side by side with their sizes; those of a part below each other, and so on.
Split = str | tuple[tuple[float, ...], tuple["Split", ...]]
Box = tuple[float, float, float, float]  # left, bottom, width, height
Margins = tuple[float, float, float, float]  # inches on the left, below, on the right and above
CHART = (0.66, 0.42, 0.2, 0.27)  # of axes with labels, and ticks like 12.5%

THEME = Parameter("light", "colours of the page", choices=tuple(THEMES), name="theme")
WIDTH = Parameter("wide", "page of 1280 or 800 pixels", choices=("wide", "narrow"), name="width")
# matplotlib's fonts are not made for two threads that draw at once, as two panels would.
DRAWING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Targets:
    """Where which samples can be pointed at.

    Attributes
    ----------
    samples : ndarray of int, shape (m,)
        Their numbers.
    places : ndarray of float, shape (m, 2)
        Pixels from the upper left corner of the figure.
    reach : tuple of float
        How far from the place, across and up, a pointer still means that sample.
    round : bool
        Whether `reach` is a circle, else it is a box.
    """

    samples: NDArray[Any]
    places: NDArray[Any]
    reach: tuple[float, float]
    round: bool = False

    def message(self, run: int = 0) -> dict[str, Any]:
        """The same for a page, as targets of run A or B."""
        return {
            "run": run,
            "samples": self.samples.astype(np.int32).tobytes(),
            "places": self.places.astype(np.float32).tobytes(),
            "reach": list(self.reach),
            "round": self.round,
        }


class LayeredFigure:
    """A figure that is drawn again and again.

    Drawing all of it takes two tenths of a second, most of it for axes and text. So axes keep their
    limits until the data outgrows them, and only what moves is drawn anew ("blitting").

    Parameters
    ----------
    size : tuple of float
        Inches.
    split : tuple
        How the axes, by name, share it.
    margins : mapping of str to tuple of float
        Around axes other than charts. matplotlib would find them, too, in a fifth of a second.
    theme, width : str
        Colours of the page, and for which page the layout is.

    Attributes
    ----------
    look : tuple of str
        Theme and width.
    """

    def __init__(
        self,
        size: tuple[float, float],
        split: Split,
        margins: Mapping[str, Margins],
        theme: str,
        width: str,
    ) -> None:
        self.look = (THEME.check(theme, type(self).__name__), width)
        self.theme = THEMES[theme]
        self.figure = figures.Figure(*size)
        self.figure.set_layout_engine("none")
        self.figure.set_facecolor(self.theme.background)
        self._canvas = FigureCanvasAgg(self.figure)
        self.axes = {
            name: self.figure.add_axes(_inside(box, margins.get(name, CHART), size))
            for name, box in _boxes(split).items()
        }
        self._moving: list[Artist] = []
        self._in_files: list[Artist] = []
        # What is drawn already: the pixels of all that stays, and for a page each artist.
        self._frame: Any = None
        # By one recorder: matplotlib remembers for it how wide its words are.
        self._recorder = Recorder(self.figure)
        self._recorded: dict[Artist, Recording] = {}

    def settle(self, moving: Iterable[Artist], in_files: Iterable[Artist] = ()) -> None:
        """Say which artists move, in the order of drawing, and which of them only files need."""
        self._moving, self._in_files = list(moving), list(in_files)
        self._move(True)

    def outgrown(self, *names: str) -> None:
        """The limits of these axes are others; what lies in them has to be drawn anew."""
        self._frame = None
        for name in names:
            for artist in self.axes[name].get_children():
                # These have a place of their own, or are "stale" with new limits.
                stays = isinstance(artist, (Axis, Legend, Spine, Text)) and artist not in self._moving
                if not stays:
                    self._recorded.pop(artist, None)

    def update(self) -> None:
        """Bring everything up to the present."""
        raise NotImplementedError

    def update_files(self) -> None:
        """Bring up to the present what only files need."""

    def targets(self) -> list[tuple[int, Targets]]:
        """What can be pointed at, each with the number of its run; as of the last `update`."""
        return []

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._canvas.get_width_height()

    def recording(self) -> tuple[list[Recording], list[Recording]]:
        """The picture as it is now, for a page: what stays for a while, and what moves."""
        with DRAWING:
            self.update()
            frame = [self.figure.patch]
            for axes in self.axes.values():
                frame += _parts(axes)
            self._recorded = {
                artist: self._recorder.record(artist)
                if artist.stale or artist not in self._recorded
                else self._recorded[artist]
                for artist in (*frame, *self._moving)
            }
        return tuple([self._recorded[part] for part in parts] for parts in (frame, self._moving))

    def png(self) -> bytes:
        """The picture as it is now, as a PNG file."""
        with DRAWING:
            self.update()
            self.update_files()
            if self._frame is None:
                self._show_images(False)  # before matplotlib 3.11, "animated" ones would be drawn, too
                self._canvas.draw()
                self._show_images(True)
                self._frame = self._canvas.copy_from_bbox(self.figure.bbox)
                self._recorded.clear()  # nothing is "stale" any more
            self._canvas.restore_region(self._frame)
            for artist in (*self._moving, *self._in_files):
                artist.draw(self._canvas.get_renderer())
                self._recorded.pop(artist, None)
            file = io.BytesIO()
            Image.fromarray(np.asarray(self._canvas.buffer_rgba())).save(file, "png", compress_level=1)
        return file.getvalue()

    def svg(self) -> str:
        """The picture as it is now, as an SVG file, which stays sharp at any size."""
        with DRAWING:
            self.update()
            self.update_files()
            file = io.StringIO()
            self._move(False)
            self.figure.savefig(file, format="svg", metadata={"Date": None})
            self._move(True)
            self._recorded.clear()  # as after `png`
        return file.getvalue()

    def _move(self, moving: bool) -> None:
        for artist in (*self._moving, *self._in_files):
            artist.set_animated(moving)

    def _show_images(self, shown: bool) -> None:
        for artist in self._moving:
            if isinstance(artist, AxesImage):
                artist.set_visible(shown)


def _parts(axes: Axes) -> list[Artist]:
    """What axes consist of, but for what moves, in the order of drawing."""
    hidden = [] if axes.axison else [axes.patch, *axes.spines.values(), axes.xaxis, axes.yaxis]
    hidden += [part for part in axes.get_children() if isinstance(part, Text) and not part.get_text()]
    parts = [part for part in axes.get_children() if not (part.get_animated() or part in hidden)]
    return sorted(parts, key=lambda part: (part is not axes.patch, part.get_zorder()))


def _boxes(split: Split, box: Box = (0, 0, 1, 1), across: bool = True) -> dict[str, Box]:
    """Left, bottom, width and height of every part, as shares of the figure."""
    if isinstance(split, str):
        return {split: box}
    left, bottom, width, height = box
    boxes = {}
    ends = np.cumsum([0, *split[0]]) / sum(split[0])
    for part, begin, end in zip(split[1], ends, ends[1:]):
        inner = (left, bottom + (1 - end) * height, width, (end - begin) * height)
        if across:
            inner = (left + begin * width, bottom, (end - begin) * width, height)
        boxes |= _boxes(part, inner, not across)
    return boxes


def _inside(box: Box, margins: Margins, size: tuple[float, float]) -> Box:
    left, below, right, above = np.array(margins) / (*size, *size)
    return box[0] + left, box[1] + below, box[2] - left - right, box[3] - below - above
