"""What matplotlib draws, written down for a canvas in the page: see `canvas.js`, which draws it.

A PNG of the same picture takes the kernel four times as long, and the browser has to decode it. What
is written down are matplotlib's own calls, so a picture is described once, for files and for pages.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Transform
from numpy.typing import NDArray

Recording = dict[str, Any]  # what `Recorder.record` returns
_NUMBERS = count()  # of recordings: a page draws one of them once, where that takes long


class Recorder(RendererBase):
    """A renderer that draws nothing and writes down what it is told to draw.

    Pixels count from the upper left corner, as on a canvas.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Whose size and resolution to use.
    """

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self.width, self.height = (int(side) for side in figure.bbox.size)
        self.dpi = figure.dpi
        # What to do, one after the other; a list of two integers says where its numbers are.
        self._commands: list[dict[str, Any]] = []
        # Rows of x, y, and what `matplotlib.path.Path` calls a code; or of x and y.
        self._rows_kept: list[NDArray[np.float32]] = []
        self._images: list[bytes] = []  # RGBA
        self._count = 0

    def record(self, artist: Artist) -> Recording:
        """What drawing `artist` takes: commands, with the numbers and images they refer to; its number."""
        self._commands, self._rows_kept, self._images, self._count = [], [], [], 0
        artist.draw(self)
        numbers = np.concatenate([np.empty(0, np.float32), *self._rows_kept])
        return {
            "number": next(_NUMBERS),
            "commands": self._commands,
            "numbers": numbers.tobytes(),
            "images": self._images,
        }

    def get_canvas_width_height(self) -> tuple[float, float]:
        return self.width, self.height

    def points_to_pixels(self, points: float) -> float:
        return points * self.dpi / 72

    def option_scale_image(self) -> bool:
        return True  # the browser does it

    def draw_path(
        self,
        gc: GraphicsContextBase,
        path: Path,
        transform: Transform,
        rgbFace: Any = None,  # noqa: N803 (the name is matplotlib's)
    ) -> None:
        outline = self._path(gc, path, transform)
        self._add("path", gc, path=outline, **self._paint(gc, rgbFace))
        if gc.get_hatch():
            self._hatch(gc, outline, path.get_extents(transform))

    def draw_markers(
        self,
        gc: GraphicsContextBase,
        marker_path: Path,
        marker_trans: Transform,
        path: Path,
        trans: Transform,
        rgbFace: Any = None,  # noqa: N803
    ) -> None:
        places = self._down(trans.transform(path.vertices))
        if gc.get_snap():  # ticks: sharp where they lie between two pixels
            places = np.floor(places) + 0.5
        marker = marker_trans.transform_path(marker_path)
        self._add(
            "markers",
            gc,
            path=self._numbers(self._rows(marker) * (1, -1, 1)),
            places=self._numbers(places),
            **self._paint(gc, rgbFace),
        )

    def draw_path_collection(
        self,
        gc: GraphicsContextBase,
        master_transform: Transform,
        paths: Any,
        all_transforms: Any,
        offsets: Any,
        offset_trans: Transform,
        facecolors: Any,
        edgecolors: Any,
        *rest: Any,
        **options: Any,
    ) -> None:
        same_looks = max(len(facecolors), len(edgecolors)) < 2
        if len(paths) != 1 or len(all_transforms) > 1 or same_looks:
            arguments = (paths, all_transforms, offsets, offset_trans, facecolors, edgecolors)
            super().draw_path_collection(gc, master_transform, *arguments, *rest, **options)
            return
        # Points of many colours: those of one colour are drawn together, else it takes the kernel
        # forty microseconds a point.
        to_shape = Affine2D(all_transforms[0] if len(all_transforms) else None) + master_transform
        looks = [np.broadcast_to(each, (len(offsets), 4)) for each in (facecolors, edgecolors)]
        kinds, which = np.unique(np.hstack(looks), axis=0, return_inverse=True)
        gc.set_linewidth(rest[0][0])
        for number, kind in enumerate(kinds):
            gc.set_foreground(kind[4:], isRGBA=True)
            there = Path(np.asarray(offsets)[which.ravel() == number])
            self.draw_markers(gc, paths[0], to_shape, there, offset_trans, kind[:4])

    def draw_image(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        im: NDArray[np.uint8],
        transform: Affine2D | None = None,
    ) -> None:
        height, width = im.shape[:2]
        # As in matplotlib's SVG: the transform is for an image of one by one pixel.
        place = Affine2D()
        if transform is not None:
            place.scale(1 / width, 1 / height)
            place = Affine2D((place + transform).get_matrix())
        place = place.translate(x, y).scale(1, -1).translate(0, self.height).get_matrix()
        self._add(
            "image",
            gc,
            size=[width, height],
            pixels=len(self._images),
            matrix=[float(place[row, column]) for column in range(3) for row in range(2)],
            alpha=1.0 if transform is None else gc.get_alpha(),  # the pixels have it otherwise
        )
        self._images.append(np.ascontiguousarray(im).tobytes())

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        if ismath:
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)  # as paths
            return
        width, _, _ = self.get_text_width_height_descent(s, prop, ismath)
        self._add(
            "text",
            gc,
            text=s,
            place=[float(x), float(y)],
            angle=angle,
            font=self.points_to_pixels(prop.get_size_in_points()),
            width=width,
            fill=_css(gc.get_rgb()),
        )

    def _hatch(self, gc: GraphicsContextBase, outline: list[int], box: Any) -> None:
        """Lines over a path: a tile of so many pixels as an inch has, again and again."""
        tile, rows = Affine2D().scale(self.dpi), []
        if not np.all(np.isfinite(box.get_points())):
            return
        for across in np.arange(np.floor(box.x0 / self.dpi), np.ceil(box.x1 / self.dpi)):
            for up in np.arange(np.floor(box.y0 / self.dpi), np.ceil(box.y1 / self.dpi)):
                shifted = tile + Affine2D().translate(across * self.dpi, up * self.dpi)
                rows.append(self._rows(gc.get_hatch_path(), shifted, down=True))
        if rows:
            self._add(
                "hatch",
                gc,
                path=self._numbers(np.concatenate(rows)),
                within=outline,
                stroke=_css(gc.get_hatch_color()),
                width=self.points_to_pixels(gc.get_hatch_linewidth()),
            )

    def _add(self, kind: str, gc: GraphicsContextBase, **what: Any) -> None:
        """Write down a command, without what is not said of it."""
        box = gc.get_clip_rectangle()
        clip = box and [box.x0, self.height - box.y1, box.width, box.height]
        command = {"kind": kind, "clip": clip, **what}
        self._commands.append({name: value for name, value in command.items() if value is not None})

    def _paint(self, gc: GraphicsContextBase, face: Any) -> dict[str, Any]:
        """Colours and line of a path."""
        paint: dict[str, Any] = {}
        if face is not None and face[3:] != (0,):
            paint["fill"] = _css(face if len(face) == 4 else (*face, gc.get_alpha()))
        if gc.get_linewidth():
            _, dashes = gc.get_dashes()
            paint |= {
                "stroke": _css(gc.get_rgb()),
                "width": self.points_to_pixels(gc.get_linewidth()),
                "cap": {"projecting": "square"}.get(str(gc.get_capstyle()), str(gc.get_capstyle())),
                "join": str(gc.get_joinstyle()),
                "dashes": dashes and [self.points_to_pixels(dash) for dash in dashes],
            }
        return paint

    def _path(self, gc: GraphicsContextBase, path: Path, transform: Transform) -> list[int]:
        width = self.points_to_pixels(gc.get_linewidth())
        return self._numbers(
            self._rows(path, transform, down=True, snap=gc.get_snap(), stroke_width=width)
        )

    def _rows(
        self, path: Path, transform: Transform | None = None, down: bool = False, **options: Any
    ) -> NDArray[np.float32]:
        """A path as rows of x, y and code."""
        clean = path.cleaned(transform, remove_nans=True, curves=True, **options)
        points = self._down(clean.vertices) if down else clean.vertices
        return np.column_stack([points, clean.codes])

    def _down(self, points: NDArray[Any]) -> NDArray[Any]:
        return points * (1, -1) + (0, self.height)

    def _numbers(self, rows: NDArray[Any]) -> list[int]:
        """Keep numbers; where they begin and end."""
        self._rows_kept.append(np.asarray(rows, dtype=np.float32).ravel())
        begin, self._count = self._count, self._count + rows.size
        return [begin, self._count]


def _css(colour: Any) -> str:
    """A colour as the page writes it."""
    return to_hex(colour, keep_alpha=True)
