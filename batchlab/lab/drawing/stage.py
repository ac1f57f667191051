"""The stage: the data, the model where it can be seen, and one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.font_manager import findfont
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from batchlab import figures
from batchlab.lab.drawing.colouring import CLASS, COLOURS, Colouring
from batchlab.lab.drawing.layered import Margins, Targets
from batchlab.lab.session import Session
from batchlab.style import Theme, class_colours, literal, moved, tidy

MOST_POINTS = 5_000  # drawn of the data: more take longer and hide each other
LONGEST = 16  # letters of a class in a legend
MOST_IMAGES, LARGEST = 36, 110  # thumbnails: how many at most, and the pixels of their sides
FRAME, CAPTION, GAP = 3, 15, 12  # pixels around a thumbnail, under it, and to the next one
REACH = 14.0  # pixels from a point within which one points at it
# What the hand said of samples: the marker and its size in points squared.
HELD = {"never": ("x", 55), "always": ("s", 95), "more": ("+", 55), "less": ("_", 55)}


def make_stage(
    axes: Axes, session: Session, title: str, theme: Theme, colouring: Colouring | None = None
) -> Points | Thumbnails:
    """The stage that fits the data: thumbnails of images, else points on a plane."""
    if are_images(session):
        return Thumbnails(axes, session, title, theme)
    kind = Projection
    if session.x.shape[1:] == (2,):
        # A surface shows one number per point, or the likeliest class.
        seen = session.given.answers is not None or session.shade is not None
        kind = Plane if seen else Points
    return kind(axes, session, title, theme, colouring or Colouring())


def margins_of(session: Session) -> Margins:
    """Room around the stage: for labels and the names of the classes, or for neither."""
    if are_images(session):
        return (0.05, 0.05, 0.15, 0.27)
    return (0.6, 0.72, 0.1, 0.27)


def are_images(session: Session) -> bool:
    """Whether samples are shown as what they are: images, grey or in colours."""
    shape = session.x.shape[1:]
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3))


def held_by(session: Session) -> dict[str, NDArray[np.int64]]:
    """The samples of which the hand said something, by what it said: see `HELD`."""
    sampler = session.sampler
    boost = getattr(sampler, "boost", {})
    said = {
        "never": [*getattr(sampler, "exclude", ()), *(i for i, b in boost.items() if b == 0)],
        "always": getattr(sampler, "pin", ()),
        "more": [i for i, factor in boost.items() if factor > 1],
        "less": [i for i, factor in boost.items() if 0 < factor < 1],
    }
    return {how: np.unique(np.array(samples, np.int64)) for how, samples in said.items()}


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
    colouring : Colouring
        What the colours say.

    Attributes
    ----------
    targets : Targets
        Where which sample can be pointed at.
    """

    labels = ("first feature", "second feature")

    def __init__(
        self, axes: Axes, session: Session, title: str, theme: Theme, colouring: Colouring
    ) -> None:
        self.axes, self.session, self.theme, self.colouring = axes, session, theme, colouring
        shown = _some_of_every_class(session.labels, MOST_POINTS)
        points = self.places(shown)
        known = session.has_classes
        self._names = [literal(name) for name in session.classes] if known else []
        groups = session.labels[shown] if known else np.zeros(len(shown), np.int64)
        figures.scatter(axes, points, groups, session.classes if known else [""], theme)
        counts = np.bincount(groups, minlength=max(len(self._names), 1))
        colours = class_colours(len(counts), theme) if known else [theme.data]
        self._members = [  # of each collection, in the order of figures.scatter
            (shown[groups == number], colours[number], number) for number in np.argsort(-counts)
        ]
        across, up = self.labels
        if session.shade is not None:
            low, high = session.shade.min(), session.shade.max()
            across += f" · colour: target, {low:.3g} dark to {high:.3g} light"
        if len(shown) < len(session.labels):
            across += f" · {len(shown)} of {len(session.labels)} samples drawn"
        tidy(axes, title, across, up, theme)
        # Clear, not "none", which matplotlib draws ring by ring.
        rings = {"s": 60, "facecolors": (0, 0, 0, 0), "edgecolors": theme.ink, "linewidths": 1.1}
        self._held = {
            how: axes.scatter(
                [], [], s=size, marker=marker, label=how, **_looks(marker, theme), zorder=0.7
            )
            for how, (marker, size) in HELD.items()
        }
        self._batch = axes.scatter([], [], label="batch", **rings)
        self._legend()
        self._by_value = False
        # Under the points: with hundreds of marks one still sees whose they are.
        self.moving: list[Artist] = sorted(axes.collections, key=lambda part: part.get_zorder())
        pixels = axes.transData.transform(points)
        height = axes.figure.bbox.height
        self.targets = Targets(shown, pixels * (1, -1) + (0, height), (REACH, REACH), round=True)

    def places(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        """Where samples are on the plane, float32 (m, 2)."""
        return self.session.x[indices]

    def refresh(self) -> None:
        """Show what the model, the run and the hand have become."""
        for how, samples in held_by(self.session).items():
            if samples.size or len(self._held[how].get_offsets()):  # else nothing is drawn anew
                self._held[how].set_offsets(self.places(samples).reshape(-1, 2))
        values = self.colouring.values(self.session)
        if values is None and not self._by_value:
            return
        self._by_value = values is not None
        for points, (members, colour, _) in zip(self.axes.collections, self._members):
            if values is None:
                points.set(facecolor=colour, edgecolor=self.theme.edge, linewidth=0.3)
                continue
            shades = self.colouring.shades(values)[0][members]
            colours = np.vstack([COLOURS, (0, 0, 0, 0)])[shades]
            rims = [to_rgba(self.theme.edge), to_rgba(self.theme.ink, 0.6)]
            points.set(facecolor=colours, edgecolor=np.take(rims, shades < 0, axis=0), linewidth=0.6)

    def show(self, indices: NDArray[Any], losses: NDArray[np.float32]) -> None:
        """Show a batch; its losses have no place here."""
        self._batch.set_offsets(self.places(indices).reshape(-1, 2))

    def _legend(self) -> None:
        """Name the classes in two lines; what there is no room for is counted."""
        handles = list(self.axes.collections[: len(self._names)])
        in_order = sorted(zip(self._members, handles), key=lambda each: each[0][2])
        names = [_cut(name) for name in self._names]
        width = 26 + 7 * max(map(len, names), default=0)
        columns = max(2, int(self.axes.get_window_extent().width / width))
        room = 2 * columns - 1  # and one for the batch
        keys = [handle for _, handle in in_order][:room]
        if len(names) > room:
            keys[-1] = Line2D([], [], linestyle="")
            names[room - 1 :] = [f"and {len(names) - room + 1} more"]
        self.axes.legend(
            [*keys, self._batch],
            [*names, "batch"],
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=moved(self.axes, down=0.37),  # below the label of the axis
            ncols=min(columns, len(names) + 1),
            frameon=False,
            fontsize=8,
            labelcolor=self.theme.ink,
            handletextpad=0.1,
            columnspacing=1,
            labelspacing=0.25,
            borderpad=0,
            borderaxespad=0.2,
        )


class Plane(Points):
    """Two features: the decision surface can be drawn under the samples."""

    def __init__(self, axes: Axes, session: Session, title: str, theme: Theme, *rest: Any) -> None:
        super().__init__(axes, session, title, theme, *rest)
        self._grid = figures.grid_of(axes)
        self._surface = figures.surface(axes, self._seen(), theme)
        # Regions are told apart without colour, too: by where they end.
        self._border = LineCollection([], colors=theme.ink, linewidths=1.0, alpha=0.7, zorder=0.5)
        # The samples lie on the surface: they have to be drawn again with it.
        self.moving = [self._surface, self._border, *self.moving]
        axes.add_collection(self._border, autolim=False)

    def refresh(self) -> None:
        said = self._seen()
        self._surface.set_data(figures.surface_values(said))
        # Pale, where colours say something else than the class.
        self._surface.set_alpha(self.theme.surface / (1 if self.colouring.by == CLASS else 3))
        if self.session.has_classes:
            limits = self.axes.get_xlim(), self.axes.get_ylim()
            self._border.set_segments(figures.borders(said, *limits))
        super().refresh()

    def _seen(self) -> NDArray[Any]:
        """What the model says on the grid; where targets are numbers, from 0 to 1."""
        outputs, shade = self.session.predict(self._grid), self.session.shade
        return outputs if shade is None else scaled(outputs.reshape(-1, 1), shade)


class Projection(Points):
    """More features: the two directions in which the samples differ most."""

    def __init__(self, axes: Axes, session: Session, title: str, theme: Theme, *rest: Any) -> None:
        from sklearn.decomposition import PCA

        few = _some_of_every_class(session.labels, MOST_POINTS)
        self.session = session
        self._project = PCA(2, random_state=0).fit(self._wide(few))
        shares = np.nan_to_num(self._project.explained_variance_ratio_)
        self.labels = tuple(
            f"{which} principal component ({share:.0%} of variance)"
            for which, share in zip(("1st", "2nd"), shares)
        )
        super().__init__(axes, session, title, theme, *rest)

    def places(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        if not len(indices):
            return np.empty((0, 2), dtype=np.float32)
        return self._project.transform(self._wide(indices))

    def _wide(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        rows = self.session.x[indices].reshape(len(indices), -1)
        # A second, empty feature gives data that has only one a plane to lie on.
        return rows if rows.shape[1] > 1 else np.hstack([rows, np.zeros_like(rows)])


class Thumbnails:
    """The images of the batch, each with its class and its loss, the largest loss first.

    The parameters are those of `Points`. As many images are shown as there is room for, on one sheet
    of pixels: dozens of texts, drawn by matplotlib, would take longer than all the rest.
    """

    def __init__(self, axes: Axes, session: Session, title: str, theme: Theme) -> None:
        self.axes, self.session, self.theme = axes, session, theme
        tidy(axes, title, "", "", theme).set_axis_off()
        colours = class_colours(len(session.classes), theme) if session.has_classes else [theme.data]
        self._frames = _bytes_of([to_rgb(c) for c in colours])
        self._font = ImageFont.truetype(findfont("DejaVu Sans"), CAPTION - 4)
        self._sheet = axes.figure.figimage(np.zeros((1, 1, 4), dtype=np.uint8))
        self.moving: list[Artist] = [self._sheet]
        self.targets = Targets(np.empty(0, np.int64), np.empty((0, 2)), (1, 1))

    def refresh(self) -> None:
        """Thumbnails say nothing of the model but the losses."""

    def show(self, indices: NDArray[Any], losses: NDArray[np.float32]) -> None:
        """Show a batch."""
        box = self.axes.get_window_extent()  # known only when the places of all axes are
        self._sheet.ox, self._sheet.oy = round(box.x0), round(box.y0)
        sheet = Image.new("RGBA", (int(box.width), int(box.height)), self.theme.background)
        words = ImageDraw.Draw(sheet)
        order = largest_first(losses)[:MOST_IMAGES]
        columns, side = _largest_grid(max(len(order), 1), *sheet.size)
        across, down = side + GAP, side + CAPTION
        corners = [(k % columns * across, k // columns * down) for k in range(len(order))]
        marks = {i: how for how, samples in held_by(self.session).items() for i in samples.tolist()}
        for (left, top), place in zip(corners, order):
            sheet.paste(self._thumbnail(indices[place], side), (left, top))
            self._mark(words, marks.get(int(indices[place])), left, top, side)
            caption = self._caption(indices[place], losses[place], across - 4)
            words.text((left, top + side), caption, self.theme.ink, self._font)
        what = "loss"
        if self.session.has_classes or self.session.shade is not None:
            what = "class · loss" if self.session.has_classes else "target · loss"
        batch = f"batch of {len(indices)}: {what}, the largest loss first"
        if len(order) < len(indices):
            batch = f"{what}, the {len(order)} largest losses of {len(indices)}"
        if len(order):
            words.text((0, -(-len(order) // columns) * down), batch, self.theme.ink, self._font)
        self._sheet.set_data(np.asarray(sheet))
        upper = self.axes.figure.bbox.height - round(box.y0) - sheet.height
        middles = np.reshape(corners, (-1, 2)) + side / 2 + (round(box.x0), upper)
        self.targets = Targets(indices[order], middles, (across / 2, down / 2))

    def _caption(self, index: int, loss: float, width: int) -> str:
        """Class and loss in so many pixels; a class that has no room is told by the frame alone."""
        name, value = self._name(index), f"{loss:.2f}"
        if not name:
            return value
        for letters in range(len(name), 2, -1):
            caption = f"{name[:letters]}{'…' * (letters < len(name))} · {value}"
            if self._font.getlength(caption) <= width:
                return caption
        short = f"{name} {value}"
        return short if self._font.getlength(short) <= width else value

    def _mark(self, draw: Any, how: str | None, left: int, top: int, side: int) -> None:
        """What the hand said of an image: crossed out, framed, or a sign in its corner."""
        box = (left, top, left + side - 1, top + side - 1)
        if how == "never":
            for ends in (box, (box[0], box[3], box[2], box[1])):
                draw.line(ends, self.theme.ink, 3)
        elif how == "always":
            draw.rectangle(box, outline=self.theme.ink, width=FRAME)
        elif how:
            place = (left + side - CAPTION, top, left + side, top + CAPTION)
            draw.rectangle(place, fill=self.theme.background)
            sign = {"more": "+", "less": "−"}[how]
            draw.text(place[:2], f" {sign}", self.theme.ink, self._font)

    def _name(self, index: int) -> str:
        """The class or the target of a sample, if there is either."""
        session = self.session
        if session.has_classes:
            return session.classes[session.labels[index]]
        return "" if session.shade is None else f"{session.shade[index]:.3g}"

    def _thumbnail(self, index: int, side: int) -> Image.Image:
        """One image in the frame of its class."""
        framed = Image.new("RGB", (side, side), tuple(self._frames[self.session.labels[index]]))
        framed.paste(image_of(self.session, index, side - 2 * FRAME), (FRAME, FRAME))
        return framed


def image_of(session: Session, index: int, side: int) -> Image.Image:
    """A sample that is an image, `side` pixels high and wide, from black to white."""
    image, (low, high) = np.atleast_3d(session.x[index]), session.extremes
    pixels = _bytes_of((image - low) / ((high - low) or 1.0))
    whole = np.broadcast_to(pixels, (*image.shape[:2], 3))
    return Image.fromarray(whole).resize((side, side), Image.Resampling.NEAREST)


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1].rstrip(chr(92))}…"


def _looks(marker: str, theme: Theme) -> dict[str, Any]:
    """How a mark of the hand is drawn: as a line, or as the rim of what is clear inside."""
    if marker == "s":
        return {"facecolors": (0, 0, 0, 0), "edgecolors": theme.ink, "linewidths": 1.6}
    return {"color": theme.ink, "linewidths": 1.2}


def largest_first(losses: NDArray[np.float32]) -> NDArray[np.int64]:
    """The places of a batch by falling loss; unknown losses come last."""
    return np.argsort(-np.nan_to_num(losses, nan=-np.inf), kind="stable")


def scaled(values: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """`values` from 0, the smallest of the targets, to 1, the largest."""
    low, high = targets.min(), targets.max()
    return np.clip((values - low) / ((high - low) or 1.0), 0, 1)


def _largest_grid(images: int, width: int, height: int) -> tuple[int, int]:
    """In how many columns so many images are largest, and their sides in pixels."""

    def side(columns: int) -> int:
        rows = -(-images // columns)
        return min(width // columns - GAP, (height - CAPTION) // rows - CAPTION, LARGEST)

    best = max(range(1, images + 1), key=side)
    return best, max(side(best), 2 * FRAME + 1)


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
