"""The stage: the data, the model where it can be seen, and one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.font_manager import findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from batchlab import figures
from batchlab.lab.drawing.layered import Margins
from batchlab.lab.session import Session
from batchlab.style import BLUE, ORANGE, Theme, class_colours, literal, moved, tidy

MOST_POINTS = 2_000  # drawn of the data: more take longer and hide each other
MOST_NAMES = 20  # classes in a legend
COLUMNS, ROWS = 6, 6  # of thumbnails, at least: room for a usual batch of 32
FRAME, CAPTION, GAP = 3, 15, 12  # pixels around a thumbnail, under it, and to the next one


def make_stage(axes: Axes, session: Session, title: str, theme: Theme) -> Points | Thumbnails:
    """The stage that fits the data: thumbnails of images, else points on a plane."""
    if _are_images(session):
        return Thumbnails(axes, session, title, theme)
    # A surface shows one number per point, or the likeliest class.
    seen = session.given.answers is not None or session.shade is not None
    if session.x.shape[1:] == (2,) and seen:
        return Plane(axes, session, title, theme)
    if session.x.shape[1:] == (2,):
        return Points(axes, session, title, theme)
    return Projection(axes, session, title, theme)


def margins_of(session: Session) -> Margins:
    """Room around the stage: for labels and the names of the classes, or for neither."""
    if _are_images(session):
        return (0.05, 0.05, 0.15, 0.27)
    return (0.6, 0.72, 0.1, 0.27)


def _are_images(session: Session) -> bool:
    shape = session.x.shape[1:]
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3))


class Points:
    """Samples as points on a plane, with a ring around those of the batch.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    session : Session
        Whose data.
    title : str
        What is shown.
    theme : Theme
        Colours of the page.
    """

    labels = ("first feature", "second feature")

    def __init__(self, axes: Axes, session: Session, title: str, theme: Theme) -> None:
        self.axes, self.session, self.theme = axes, session, theme
        shown = _some_of_every_class(session.labels, MOST_POINTS)
        points = self.places(shown)
        self._names = [literal(name) for name in session.classes] if session.has_classes else []
        across, up = self.labels
        if session.has_classes:
            figures.scatter(axes, points, session.labels[shown], session.classes, theme)
        else:
            figures.scatter(axes, points, np.zeros(len(shown), np.int64), [""], theme)
            self._paint(axes.collections[-1], shown)
            if session.shade is not None:
                low, high = session.shade.min(), session.shade.max()
                across += f" · colour: target, {low:.3g} blue to {high:.3g} orange"
        if len(shown) < len(session.labels):
            across += f" · {len(shown)} of {len(session.labels)} samples drawn"
        tidy(axes, title, across, up, theme)
        # Clear, not "none", which matplotlib draws ring by ring.
        rings = {"s": 60, "facecolors": (0, 0, 0, 0), "edgecolors": theme.ink, "linewidths": 1.1}
        self._batch = axes.scatter([], [], label="batch", **rings)
        self._legend()
        self.moving: list[Artist] = [self._batch]

    def _paint(self, points: Any, shown: NDArray[np.int64]) -> None:
        """Give samples without classes the colour of their target, or none."""
        points.set_color(self.theme.data)
        if self.session.shade is not None:
            shades = LinearSegmentedColormap.from_list("target", [BLUE, self.theme.data, ORANGE])
            points.set_color(shades(scaled(self.session.shade[shown], self.session.shade)))

    def places(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        """Where samples are on the plane, float32 (m, 2)."""
        return self.session.x[indices]

    def refresh(self) -> None:
        """Show what the model has become."""

    def show(self, indices: NDArray[Any], losses: NDArray[np.float32]) -> None:
        """Show a batch; its losses have no place here."""
        self._batch.set_offsets(self.places(indices).reshape(-1, 2))

    def _legend(self) -> None:
        handle_of = {handle.get_label(): handle for handle in self.axes.collections}
        names = [*self._names[:MOST_NAMES], "batch"]
        letters = max(map(len, names))
        self.axes.legend(
            [handle_of[name] for name in names],
            names,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=moved(self.axes, down=0.37),  # below the label of the axis
            ncols=max(1, min(6, int(self.axes.get_window_extent().width / (26 + 7 * letters)))),
            frameon=False,
            fontsize=8,
            labelcolor=self.theme.ink,
            handletextpad=0.1,
            columnspacing=1,
        )


class Plane(Points):
    """Two features: the decision surface can be drawn under the samples."""

    def __init__(self, axes: Axes, session: Session, title: str, theme: Theme) -> None:
        super().__init__(axes, session, title, theme)
        self._grid = figures.grid_of(axes)
        self._surface = figures.surface(axes, self._seen(), theme)
        # The samples lie on the surface: they have to be drawn again with it.
        self.moving = [self._surface, *axes.collections]

    def refresh(self) -> None:
        self._surface.set_data(figures.surface_values(self._seen()))

    def _seen(self) -> NDArray[Any]:
        """What the model says on the grid; where targets are numbers, from 0 to 1."""
        outputs, shade = self.session.predict(self._grid), self.session.shade
        return outputs if shade is None else scaled(outputs.reshape(-1, 1), shade)


class Projection(Points):
    """More features: the two directions in which the samples differ most."""

    def __init__(self, axes: Axes, session: Session, title: str, theme: Theme) -> None:
        from sklearn.decomposition import PCA

        rows = session.x.reshape(len(session.x), -1)
        few = _some_of_every_class(session.labels, MOST_POINTS)
        # A second, empty feature gives data that has only one a plane to lie on.
        self._wide = rows if rows.shape[1] > 1 else np.hstack([rows, np.zeros_like(rows)])
        self._project = PCA(2, random_state=0).fit(self._wide[few])
        shares = np.nan_to_num(self._project.explained_variance_ratio_)
        self.labels = tuple(
            f"{which} principal component ({share:.0%} of variance)"
            for which, share in zip(("1st", "2nd"), shares)
        )
        super().__init__(axes, session, title, theme)

    def places(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        if not len(indices):
            return np.empty((0, 2), dtype=np.float32)
        return self._project.transform(self._wide[indices])


class Thumbnails:
    """The images of the batch, each with its class and its loss, the largest loss first.

    The parameters are those of `Points`. As many images are shown as there is room for, on one sheet
    of pixels: dozens of texts, drawn by matplotlib, would take longer than all the rest.
    """

    def __init__(self, axes: Axes, session: Session, title: str, theme: Theme) -> None:
        self.axes, self.session, self.theme = axes, session, theme
        tidy(axes, title, "", "", theme).set_axis_off()
        self._low, self._high = float(session.x.min()), float(session.x.max())
        colours = class_colours(len(session.classes), theme) if session.has_classes else [theme.data]
        self._frames = _bytes_of([to_rgb(c) for c in colours])
        self._font = ImageFont.truetype(findfont("DejaVu Sans"), CAPTION - 4)
        self._sheet = axes.figure.figimage(np.zeros((1, 1, 4), dtype=np.uint8))
        self.moving: list[Artist] = [self._sheet]

    def refresh(self) -> None:
        """Thumbnails say nothing of the model but the losses."""

    def show(self, indices: NDArray[Any], losses: NDArray[np.float32]) -> None:
        """Show a batch."""
        box = self.axes.get_window_extent()  # known only when the places of all axes are
        self._sheet.ox, self._sheet.oy = round(box.x0), round(box.y0)
        sheet = Image.new("RGBA", (int(box.width), int(box.height)), self.theme.background)
        words = ImageDraw.Draw(sheet)
        side = min(sheet.width // COLUMNS - GAP, (sheet.height - CAPTION) // ROWS - CAPTION)
        across, down = side + GAP, side + CAPTION
        columns = sheet.width // across
        order = largest_first(losses)[: columns * ROWS]
        for number, place in enumerate(order):
            left, top = number % columns * across, number // columns * down
            sheet.paste(self._thumbnail(indices[place], side), (left, top))
            caption = f"{self._name(indices[place])}{losses[place]:.2f}"
            words.text((left, top + side), caption, self.theme.ink, self._font)
        what = "loss"
        if self.session.has_classes or self.session.shade is not None:
            what = "class · loss" if self.session.has_classes else "target · loss"
        batch = f"batch of {len(indices)}: {what}, the largest loss first"
        if len(order) < len(indices):
            batch = f"{what}, the {len(order)} largest losses of {len(indices)}"
        words.text((0, -(-len(order) // columns) * down), batch, self.theme.ink, self._font)
        self._sheet.set_data(np.asarray(sheet))

    def _name(self, index: int) -> str:
        """The class or the target of a sample."""
        session = self.session
        if session.has_classes:
            return f"{session.classes[session.labels[index]][:4]} · "
        return "" if session.shade is None else f"{session.shade[index]:.3g} · "

    def _thumbnail(self, index: int, side: int) -> Image.Image:
        """One image in the frame of its class."""
        image = np.atleast_3d(self.session.x[index])
        span = (self._high - self._low) or 1.0
        pixels = np.broadcast_to(_bytes_of((image - self._low) / span), (*image.shape[:2], 3))
        framed = Image.new("RGB", (side, side), tuple(self._frames[self.session.labels[index]]))
        inside = (side - 2 * FRAME,) * 2
        framed.paste(Image.fromarray(pixels).resize(inside, Image.Resampling.NEAREST), (FRAME, FRAME))
        return framed


def largest_first(losses: NDArray[np.float32]) -> NDArray[np.int64]:
    """The places of a batch by falling loss; unknown losses come last."""
    return np.argsort(-np.nan_to_num(losses, nan=-np.inf), kind="stable")


def scaled(values: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """`values` from 0, the smallest of the targets, to 1, the largest."""
    low, high = targets.min(), targets.max()
    return np.clip((values - low) / ((high - low) or 1.0), 0, 1)


def _bytes_of(colours: Any) -> NDArray[np.uint8]:
    """Brightness from 0 to 1 as 0 to 255."""
    return (255 * np.asarray(colours)).round().astype(np.uint8)


def _some_of_every_class(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """All samples, or about `most` of them with up to fifty of the rarest class; in order."""
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(0).permutation(len(labels))
    kept = [np.flatnonzero(labels[order] == number) for number in np.unique(labels)]
    share = most / len(labels)
    return np.sort(order[np.concatenate([k[: max(50, int(share * len(k)))] for k in kept])])
