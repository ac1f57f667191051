"""What the colour of a point says: its class, or a number on one perceptual scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from batchlab.history import History
from batchlab.lab.session import CHANCES_UP_TO, Session
from batchlab.style import Theme, literal

SHADES = 24  # so few that points of one shade are drawn together
COLOURS = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.97, SHADES))
GRADIENT = f"linear-gradient(to right, {', '.join(to_hex(colour) for colour in COLOURS[::3])})"
CLASS, LOSS, VISITS, CHANCE = "class", "last loss", "visits", "chance to be next"
BY = (CLASS, LOSS, VISITS, CHANCE)
LEAST_LOSS = 1e-4  # smaller ones have one shade
KEY = (2.1, 0.34)  # inches


class Colouring:
    """By what the points of a panel are coloured.

    Parameters
    ----------
    scores : mapping of str to ndarray of float, shape (n,), optional
        A user's own numbers, one for each sample of the data as they were given.

    Attributes
    ----------
    by : str
        One of `choices`.
    """

    def __init__(self, scores: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.scores = dict(scores or {})
        self.choices = (*BY, *self.scores)
        self.by = CLASS
        self._last: WeakKeyDictionary[History, tuple[int, NDArray[np.float32]]] = WeakKeyDictionary()

    def values(self, session: Session) -> NDArray[np.float64] | None:
        """The number of every sample, float64 (n,): NaN where there is none; None for classes."""
        if self.by == CLASS:  # or the target, where that is a number
            return None if session.shade is None else session.shade.astype(float)
        if self.by == LOSS:
            return self.last_losses(session.history).astype(float)
        if self.by == VISITS:
            visits = session.history.visits.astype(float)
            return np.where(visits > 0, visits, np.nan)
        if self.by == CHANCE:
            chances = chances_of(session)
            if chances is None:
                return np.full(len(session.x), np.nan)
            return np.where(chances > 0, chances * len(session.x), np.nan)
        return self.scores[self.by][session.kept]

    def shades(self, values: NDArray[np.float64]) -> tuple[NDArray[np.int64], tuple[float, float]]:
        """The shade of every value, from 0, -1 for NaN; and the values at both ends of the scale."""
        low, high = self._ends(values)
        scaled, ends = values, np.array([low, high])
        if self.by in (LOSS, CHANCE):
            with np.errstate(divide="ignore"):
                scaled, ends = np.log(values), np.log(ends)
        place = (scaled - ends[0]) / (ends[1] - ends[0])
        shades = np.nan_to_num(np.clip(place, 0, 1), nan=-1) * (SHADES - 1)
        return np.where(np.isnan(values), -1, shades.round()).astype(np.int64), (low, high)

    def _ends(self, values: NDArray[np.float64]) -> tuple[float, float]:
        """Ends that seldom move, so that a colour keeps its meaning for a while."""
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        if self.by == VISITS:
            return 1.0, max(5.0 * np.ceil(high / 5), 2.0)
        if self.by in (LOSS, CHANCE):
            floor = LEAST_LOSS if self.by == LOSS else 0.01
            low, high = (np.clip(end, floor, 1 / floor) for end in (low, high))
            return 10 ** (np.floor(4 * np.log10(low)) / 4), 10 ** (np.floor(4 * np.log10(high) + 1) / 4)
        return float(low), float(high if high > low else low + 1)

    def key(self, session: Session) -> dict[str, str]:
        """What a page needs to explain the colours; nothing for classes."""
        values = self.values(session)
        if values is None:
            return {}
        hollow = ""
        if np.isnan(values).any():
            known = self.by != CHANCE or chances_of(session) is not None
            hollow = {CHANCE: "cannot come now"}.get(self.by, "never drawn") if known else "not known"
            hollow = f"○ {hollow}"
        times = "×" if self.by == CHANCE else ""
        ends = [f"{times}{end:.2g}" for end in self.shades(values)[1]]
        return {"low": ends[0], "high": ends[1], "gradient": GRADIENT, "hollow": hollow}

    def last_losses(self, history: History) -> NDArray[np.float32]:
        """The loss of every sample when it was drawn last, float32 (n,); NaN before."""
        done, losses = self._last.get(history, (0, np.full(history.n, np.nan, np.float32)))
        new = min(history.steps - done, len(history.indices))
        if new:
            done = history.steps
            # Of several losses of one sample the newest stays.
            losses[np.concatenate(history.indices[-new:])] = np.concatenate(history.losses[-new:])
            self._last[history] = done, losses
        return losses


class Key:
    """The scale of the colours in a corner of the stage, for files: a page has its own above the picture.

    Parameters
    ----------
    stage : matplotlib.axes.Axes
        Where the points are.
    session : Session
        Whose points.
    colouring : Colouring
        What their colours say.
    theme : Theme
        Colours of the page.
    """

    def __init__(self, stage: Axes, session: Session, colouring: Colouring, theme: Theme) -> None:
        self.session, self.colouring = session, colouring
        figure, box = stage.figure, stage.get_position()
        width, height = KEY[0] / figure.get_figwidth(), KEY[1] / figure.get_figheight()
        self.axes = figure.add_axes((box.x1 - width, box.y1 - height, width, height))
        self.axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        self.axes.patch.set(facecolor=theme.background, alpha=0.85)
        self.axes.spines[:].set_color(theme.data)
        self.axes.imshow([COLOURS], extent=(0.25, 0.75, 0.12, 0.38), aspect="auto")
        small = {"fontsize": 7, "color": theme.ink, "va": "center"}
        self._name = self.axes.text(0.5, 0.72, "", ha="center", **small)
        self._low = self.axes.text(0.22, 0.25, "", ha="right", **small)
        self._high = self.axes.text(0.78, 0.25, "", ha="left", **small)

    def update(self) -> None:
        """Say what the colours mean now; nothing where they mean classes."""
        key = self.colouring.key(self.session)
        self.axes.set_visible(bool(key))
        if key:
            name = "target" if self.colouring.by == CLASS else self.colouring.by
            self._name.set_text(literal(f"{name} ({key['hollow']})" if key["hollow"] else name))
            self._low.set_text(key["low"])
            self._high.set_text(key["high"])


def chances_of(session: Session) -> NDArray[np.float64] | None:
    """How likely each sample is to fill one place of the next batch; None where that is unknown."""
    if len(session.x) > CHANCES_UP_TO:
        return None
    return getattr(session.sampler, "probabilities", None)
