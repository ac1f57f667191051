"""The picture of one or two running sessions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batchlab.lab.drawing.charts import Distribution, Losses, Mix, Scores, Visits, names_of
from batchlab.lab.drawing.colouring import Colouring, Key
from batchlab.lab.drawing.layered import WIDTH, LayeredFigure, Split, Targets
from batchlab.lab.drawing.stage import Points, make_stage, margins_of
from batchlab.lab.session import Session

CHARTS = {"L": Losses, "R": Scores, "M": Mix, "V": Visits, "D": Distribution}
# Where the stages A and B, the Loss, the scoRe, the Mix, the Visits and the Distribution of the
# losses are, by the width of the page and the number of sessions.
BELOW, CURVES = ((1, 1, 1), ("M", "V", "D")), ((1, 1), ("L", "R"))
SPLITS: dict[tuple[str, int], Split] = {
    ("wide", 1): ((1.2, 1.85), ("A", ((1, 1), (CURVES, BELOW)))),
    ("wide", 2): ((1,), (((2.1, 1), (((1, 1, 0.8), ("A", "B", CURVES)), BELOW)),)),
    ("narrow", 1): ((1,), (((2, 1), (((1, 0.9), ("A", CURVES)), BELOW)),)),
    ("narrow", 2): ((1,), (((1.8, 1.1, 1), (((1, 1), ("A", "B")), CURVES, BELOW)),)),
}
# Inches. At 110 pixels an inch, wide is 1120 pixels, which fits a page of 1280, and narrow is 680,
# for one of 800.
SIZES = {
    ("wide", 1): (10.2, 444 / 110),
    ("wide", 2): (10.2, 6.6),
    ("narrow", 1): (6.2, 6.2),
    ("narrow", 2): (6.2, 7.6),
}


class Picture(LayeredFigure):
    """Stage, loss, score, class mix, visits and recent losses of one or two sessions.

    Without classes there is no class mix, and the others get its room.

    Parameters
    ----------
    sessions : sequence of Session
        One, or two to compare: A is drawn solid, B dashed or hatched, each in the colour of its
        strategy.
    theme : {"light", "dark"}
        Colours of the page.
    width : {"wide", "narrow"}
        For pages of 1280 or of 800 pixels.
    colouring : Colouring, optional
        What the colours of the points say; by default their classes.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        theme: str = "light",
        width: str = "wide",
        colouring: Colouring | None = None,
    ) -> None:
        self.sessions = list(sessions)
        layout = (WIDTH.check(width, "Picture"), len(self.sessions))
        if layout not in SIZES:
            raise ValueError(f"Picture: sessions must be one or two, got {len(self.sessions)}.")
        margins = {letter: margins_of(session) for letter, session in zip("AB", self.sessions)}
        split = SPLITS[layout] if self.sessions[0].classes else _without(SPLITS[layout], "M")
        super().__init__(SIZES[layout], split, margins, theme, width)
        self._stages = [
            make_stage(self.axes[letter], session, name, self.theme, colouring)
            for letter, session, name in zip("AB", self.sessions, names_of(self.sessions))
        ]
        self._charts = {
            letter: chart(self.axes[letter], self.sessions, self.theme)
            for letter, chart in CHARTS.items()
            if letter in self.axes
        }
        self._name_strategies()
        parts = (*self._stages, *self._charts.values())
        pointed = [stage for stage in self._stages if isinstance(stage, Points)]
        self._keys = [Key(each.axes, each.session, each.colouring, self.theme) for each in pointed]
        moving = [each for part in parts for each in part.moving]
        self.settle(moving, in_files=[key.axes for key in self._keys])

    def _name_strategies(self) -> None:
        """Titles, keys and colours say which strategies are at work."""
        self._named = names_of(self.sessions)
        for letter, name in zip("AB", self._named):
            self.axes[letter].set_title(name, loc="left", fontsize=10)
        for chart in self._charts.values():
            chart.paint()
        self.outgrown(*self.axes)

    def update(self) -> None:
        if self._named != names_of(self.sessions):
            self._name_strategies()
        for stage, session in zip(self._stages, self.sessions):
            stage.refresh()
            if session.history.steps:
                stage.show(session.history.indices[-1], session.history.losses[-1])
            else:
                stage.show(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        for letter, chart in self._charts.items():
            if chart.update():
                self.outgrown(letter)

    def update_files(self) -> None:
        for key in self._keys:
            key.update()

    def targets(self) -> list[tuple[int, Targets]]:
        return [(run, stage.targets) for run, stage in enumerate(self._stages)]

    def bars_of(self, run: int, sample: int) -> list[list[float]]:
        """Where the histograms count a sample: left, top, width and height in pixels."""
        height = self.size[1]
        boxes = [box for letter in "VD" for box in self._charts[letter].bars_of(run, sample)]
        return [
            [left, height - top, right - left, top - below]
            for left, below, right, top in np.reshape(boxes, (-1, 4)).round(1).tolist()
        ]

    def words(self) -> str:
        """What the picture shows, for readers who cannot see it and for tests.

        Only what the samplers decided: it is the same on every computer, unlike losses.
        """
        if len(self.sessions) == 1:
            return _words(self.sessions[0], "BatchLab")
        return " ".join(map(_words, self.sessions, "AB"))


def _words(session: Session, name: str) -> str:
    history = session.history
    if not history.steps:
        return f"{name}, not trained yet. Strategy: {session.strategy}. Press Play."
    mix = ""
    if session.has_classes:
        rarest = int(np.bincount(session.labels).argmin())
        share = history.visits[session.labels == rarest].sum() / history.visits.sum()
        mix = (
            f"class {session.classes[rarest]} is {(session.labels == rarest).mean():.0%} of the data "
            f"and {share:.0%} of the batches; "
        )
    return (
        f"{name} after {history.steps} steps, now with the strategy {session.strategy}: "
        f"{history.coverage:.0%} of the samples seen; {mix}"
        f"live changes: {len(history.changes)}."
    )


def _without(split: Split, letter: str) -> Split:
    """`split` without one of its axes: those beside it get its room."""
    if isinstance(split, str):
        return split
    kept = [(size, _without(part, letter)) for size, part in zip(*split) if part != letter]
    sizes, parts = zip(*kept)
    return sizes, parts
