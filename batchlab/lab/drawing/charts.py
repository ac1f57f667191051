"""The charts beside the stage: each knows its artists that move, and brings them up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from batchlab import figures
from batchlab.lab.drawing.thinned import Thinned
from batchlab.lab.session import Session
from batchlab.style import Theme, colour_of, literal, moved, tidy

RECENT = 50  # steps that count as recent in the class mix and among the losses
SMOOTHED = 20  # steps whose mean the loss curve shows
MOST_NAMES = 12  # classes that are named under the class mix
LOSS_EDGES = np.geomspace(1e-6, 10, 29)  # what is beyond is counted in the first and last bar
# A second session is told from the first without colour, too.
LINES, HATCHES = ("-", (0, (4, 1.5))), ("", "////")
SEEN_THROUGH = 0.55  # how opaque its curves are when they are dense


def percent(share: float, _: Any = None) -> str:
    """A share as the label of a tick."""
    return f"{100 * share:.3g}%"


class Chart:
    """A pair of axes for one or two sessions.

    Attributes
    ----------
    moving : list of Artist
        What `update` changes, in the order of drawing.
    """

    def __init__(self, axes: Axes, sessions: Sequence[Session], theme: Theme) -> None:
        self.axes, self.sessions, self.theme = axes, sessions, theme
        self.moving: list[Artist] = []
        self.build()

    def build(self) -> None:
        """Label the axes and make the artists."""
        raise NotImplementedError

    def paint(self) -> None:
        """Take the colours of the strategies that are at work now."""
        raise NotImplementedError

    def update(self) -> bool:
        """Bring what moves up to the present step; True if the axes have new limits."""
        raise NotImplementedError

    def key(self, place: str = "upper right", **options: Any) -> None:
        """Say what is what, in small print."""
        small = {"frameon": False, "fontsize": 8, "labelcolor": self.theme.ink}
        tight = {"handletextpad": 0.4, "columnspacing": 0.8, "borderpad": 0.1, "labelspacing": 0.3}
        self.axes.legend(loc=place, **small, **tight, **options).set_in_layout(False)


class Curves(Chart):
    """Lines over the steps, in the colour of the strategy that was at work, and every change."""

    def __init__(self, axes: Axes, sessions: Sequence[Session], theme: Theme) -> None:
        self._kept: dict[tuple[Session, str], tuple[Any, Thinned]] = {}
        # So few and so short that they have room: 20k, not 20000.
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        super().__init__(axes, sessions, theme)

    def curve(self, session: Session, name: str, record: Any) -> Thinned:
        """What is kept of a curve; it begins anew with its record, as after a reset."""
        if self._kept.get((session, name), (None,))[0] is not record:
            self._kept[session, name] = record, Thinned()
        return self._kept[session, name][1]

    def measured(self, session: Session, name: str, pairs: Sequence[tuple[int, float]]) -> Thinned:
        """The curve of what is measured now and then, up to the present."""
        curve = self.curve(session, name, pairs)
        curve.extend(pairs[curve.count :])
        return curve

    def line(self, number: int, **style: Any) -> LineCollection:
        """A curve of session `number`."""
        lines = LineCollection([], linestyle=LINES[number], **style)
        self.axes.add_collection(lines, autolim=False)
        self.moving.append(lines)
        return lines

    def draw(self, lines: LineCollection, session: Session, curve: Thinned) -> None:
        """Draw a curve in pieces, one for each time that a strategy was at work."""
        points, starts = curve.points, _starts(session)
        cuts = np.searchsorted(points[:, 0], starts[1:], side="right")
        # A piece begins with the last point of the one before, so that there is no gap.
        firsts, ends = [0, *np.maximum(cuts - 1, 0)], [*cuts, len(points)]
        lines.set_segments([points[first:end] for first, end in zip(firsts, ends)])
        # So many steps paint an area, in which no dash is seen: the first session is, through the second.
        opaque = 1.0 if curve.every == 1 or session is self.sessions[0] else SEEN_THROUGH
        lines.set_color([to_rgba(colour_of(session.strategy_at(start)), opaque) for start in starts])

    def mark_changes(self) -> None:
        """Make the ticks: those of the first session stand below, of the second one above."""
        self._changes = []
        for ends in ((0, 0.07), (0.93, 1))[: len(self.sessions)]:
            ticks = LineCollection([], colors=self.theme.ink, linewidths=1.0)
            ticks.set_transform(self.axes.get_xaxis_transform())
            self.axes.add_collection(ticks, autolim=False)
            self._changes.append((ticks, ends))
            self.moving.append(ticks)

    def paint(self) -> None:
        """Every piece of a curve has the colour of its own strategy already."""

    def update(self) -> bool:
        for session, (ticks, (low, high)) in zip(self.sessions, self._changes):
            steps = [change.step for change in session.history.changes]
            ticks.set_segments([[(step, low), (step, high)] for step in steps])
        last = max(session.history.steps for session in self.sessions)
        return fit(self.axes.set_xlim, self.axes.get_xlim(), max(last, 10))


class Losses(Curves):
    """Mean loss of the batches, and of the validation data where there are some."""

    def build(self) -> None:
        tidy(self.axes, "Loss", "step · ticks are changes", "loss", self.theme)
        alone = len(self.sessions) == 1
        self._raw = [self.line(0, alpha=0.3, linewidths=0.6)] if alone else []
        self._train = [self.line(n, linewidths=1.2) for n in range(len(self.sessions))]
        self._validation = [self.line(n, linewidths=2.4) for n in range(len(self.sessions))]
        self.mark_changes()
        ink = {"color": self.theme.ink}
        handles = [Line2D([], [], **ink, linewidth=1.2, label=f"mean of {SMOOTHED}")]
        if any(session.validated for session in self.sessions):
            handles.append(Line2D([], [], **ink, linewidth=2.4, label="validation"))
        # Beside the title, where no curve can come.
        self.key("lower right", handles=handles, ncols=3, handlelength=1.1, bbox_to_anchor=(1.05, 0.98))

    def update(self) -> bool:
        tops = []
        for number, session in enumerate(self.sessions):
            losses, means = self._steps(session)
            validation = self.measured(session, "validation", session.validation_losses)
            for raw in self._raw:
                self.draw(raw, session, losses)
            self.draw(self._train[number], session, means)
            self.draw(self._validation[number], session, validation)
            for shown in (losses if self._raw else means, validation):
                values = shown.points[:, 1]
                finite = values[np.isfinite(values)]  # a model may diverge
                tops.append(np.quantile(finite, 0.99) if finite.size else 0.0)
        grown = fit(self.axes.set_ylim, self.axes.get_ylim(), max(tops) or 1.0)
        return super().update() or grown

    def _steps(self, session: Session) -> tuple[Thinned, Thinned]:
        """The curves of the steps' losses and of their means, up to the present."""
        history = session.history
        losses, means = (self.curve(session, name, history) for name in ("losses", "means"))
        values = history.arrays()["step_losses"]
        steps = np.arange(losses.count, len(values))
        values = values[max(losses.count - SMOOTHED + 1, 0) :]  # as far back as a mean reaches
        smooth = figures.smooth(values, SMOOTHED)
        for curve, new in ((losses, values), (means, smooth)):
            curve.extend(np.column_stack([steps + 1, new[len(new) - len(steps) :]]))
        return losses, means


class Scores(Curves):
    """Balanced accuracy, or what else is the score; its key names the strategies."""

    def build(self) -> None:
        name = self._name = self.sessions[0].score_name
        title = "Loss of all data" if name == "loss" else name[0].upper() + name[1:].replace("_", " ")
        tidy(self.axes, title, "step", "", self.theme)
        self._lines = [self.line(n, linewidths=1.8) for n in range(len(self.sessions))]
        self.mark_changes()
        self._of_classes = name == "balanced accuracy"
        if self._of_classes:
            self.axes.set_ylim(0, 1.02)
            self.axes.yaxis.set_major_formatter(percent)

    def paint(self) -> None:
        if len(self.sessions) == 1:  # all that were at work, in that order
            (session,) = self.sessions
            names = dict.fromkeys(session.strategy_at(step) for step in _starts(session))
            keys = [(name, literal(_cut(name)), LINES[0]) for name in names]
        else:
            strategies = [session.strategy for session in self.sessions]
            keys = list(zip(strategies, names_of(self.sessions), LINES))
        handles = [
            Line2D([], [], color=colour_of(strategy), linestyle=line, label=name)
            for strategy, name, line in keys
        ]
        # Above the ticks of the changes.
        place = {"bbox_to_anchor": (1, 0.07), "ncols": 1 + (len(handles) > 3)}
        self.key("lower right", handles=handles, handlelength=1.6, **place)

    def update(self) -> bool:
        curves = [self.measured(session, self._name, session.scores) for session in self.sessions]
        for lines, session, curve in zip(self._lines, self.sessions, curves):
            self.draw(lines, session, curve)
        grown = not self._of_classes and self._fit_scores(curves)
        return super().update() or grown

    def _fit_scores(self, curves: list[Thinned]) -> bool:
        """Limits for a score that may be any number."""
        scores = np.concatenate([curve.points[:, 1] for curve in curves])
        finite = np.append(scores[np.isfinite(scores)], 0.0)
        low = -_round_up(-1.05 * finite.min()) if finite.min() < 0 else 0.0
        present = self.axes.get_ylim()
        needed = max(finite.max(), 1e-9)
        if present[0] != low:
            present = (low, -np.inf)
        return fit(self.axes.set_ylim, present, needed, low=low)


class Mix(Chart):
    """Share of every class, or label, in the data and in the recent batches."""

    def build(self) -> None:
        axes, first = self.axes, self.sessions[0]
        tidy(axes, "Classes", f"class · last {RECENT} batches", "share", self.theme)
        count = len(first.classes)
        places, width = np.arange(count), 0.84 / (1 + len(self.sessions))
        share = first.class_mix()
        left = places - 0.42 + width / 2
        self._data = axes.bar(left, share, width, color=self.theme.data, label="data")
        rims = {"linewidth": 1} if count < 6 else {"linewidth": 0, "hatch": ""}  # narrow bars
        self._bars = [
            axes.bar(left + (1 + n) * width, 0 * share, width, **{"hatch": hatch, **rims})
            for n, hatch in zip(range(len(self.sessions)), HATCHES)
        ]
        self.moving = [bar for bars in self._bars for bar in bars]
        every = -(-count // MOST_NAMES)
        names = [literal(name[:10]) for name in first.classes[::every]]
        axes.set_xticks(places[::every], names)
        if 8 * len("".join(names)) > axes.get_window_extent().width:
            axes.tick_params(axis="x", rotation=30)
        axes.set_ylim(0, min(1.0, _round_up(1.3 * max(share.max(), 1 / count))))
        axes.yaxis.set_major_formatter(percent)

    def paint(self) -> None:
        for name, session, bars in zip(_letters(self.sessions), self.sessions, self._bars):
            bars.set_label(name)
            for bar in bars:
                bar.set(facecolor=colour_of(session.strategy), edgecolor=self.theme.background)
        # Beside the title, where no bar can come, and a little further.
        place = {"bbox_to_anchor": (1, 0.97), "bbox_transform": moved(self.axes, right=0.5)}
        self.key("lower right", ncols=3, handlelength=0.8, **place)

    def update(self) -> bool:
        tops = []
        for session, bars in zip(self.sessions, self._bars):
            recent = session.history.indices[-RECENT:]
            mix = session.class_mix(np.concatenate(recent)) if len(recent) else session.class_mix() * 0
            tops.append(mix.max())
            for bar, share in zip(bars, mix):
                bar.set_height(share)
        tops.append(max(bar.get_height() for bar in self._data))
        return fit(self.axes.set_ylim, self.axes.get_ylim(), max(tops), most=1.0)


class Histogram(Chart):
    """Bars that touch, one outline per session."""

    def outlines(self, edges: NDArray[Any]) -> None:
        """Make them."""
        self.steps = [
            self.axes.stairs(np.zeros(len(edges) - 1), edges, fill=True, linestyle=line)
            for line in LINES[: len(self.sessions)]
        ]
        self.moving += self.steps

    def values_of(self, session: Session, sample: int) -> NDArray[Any]:
        """What is counted of one sample."""
        raise NotImplementedError

    def bars_of(self, run: int, sample: int) -> list[NDArray[Any]]:
        """The bars in which a sample is counted: left, bottom, right and top, in pixels from below."""
        counts, edges, _ = self.steps[run].get_data()
        places = np.searchsorted(edges, self.values_of(self.sessions[run], sample), side="right") - 1
        places = np.unique(np.clip(places, 0, len(counts) - 1))
        corners = [[(edges[place], 0), (edges[place + 1], counts[place])] for place in places]
        return [self.axes.transData.transform(both).ravel() for both in corners]

    def paint(self) -> None:
        for session, step in zip(self.sessions, self.steps):
            colour = colour_of(session.strategy)
            step.set(facecolor=to_rgba(colour, 0.35), edgecolor=colour, linewidth=1.2)


class Visits(Histogram):
    """How many samples were chosen how often, and how many never."""

    def build(self) -> None:
        tidy(self.axes, "Visits", "times chosen", "samples", self.theme)
        self.outlines(np.array([-0.5, 0.5]))
        place = {"transform": self.axes.transAxes, "ha": "right", "va": "bottom", "fontsize": 8}
        self._unseen = self.axes.text(1.06, 1.02, "", color=self.theme.ink, **place)
        self.moving.append(self._unseen)

    def values_of(self, session: Session, sample: int) -> NDArray[Any]:
        return session.history.visits[sample : sample + 1]

    def update(self) -> bool:
        most = max(int(session.history.visits.max()) for session in self.sessions)
        width = most // 25 + 1
        edges = np.arange(0, most + 1 + width, width) - 0.5
        counts = [np.histogram(session.history.visits, edges)[0] for session in self.sessions]
        for step, count in zip(self.steps, counts):
            step.set_data(count, edges)
        unseen = [f"{1 - session.history.coverage:.0%}" for session in self.sessions]
        self._unseen.set_text(" | ".join(unseen) + " never")
        grown = fit(self.axes.set_xlim, self.axes.get_xlim(), max(edges[-1], 4), low=-0.5)
        return fit(self.axes.set_ylim, self.axes.get_ylim(), 1.05 * np.max(counts)) or grown


class Distribution(Histogram):
    """Losses of the samples in the recent batches."""

    def build(self) -> None:
        tidy(self.axes, "Recent losses", "loss of a sample (log)", "share", self.theme)
        self.axes.set_xscale("log")
        self.axes.set_xlim(LOSS_EDGES[0], LOSS_EDGES[-1])
        self.axes.set_xticks([1e-6, 1e-3, 1], ["≤ 10⁻⁶", "0.001", "1"])
        self.axes.minorticks_off()
        self.axes.yaxis.set_major_formatter(percent)
        self.outlines(LOSS_EDGES)

    def values_of(self, session: Session, sample: int) -> NDArray[Any]:
        recent = zip(session.history.indices[-RECENT:], session.history.losses[-RECENT:])
        return _countable(np.concatenate([*(losses[batch == sample] for batch, losses in recent), []]))

    def update(self) -> bool:
        tops = []
        for session, step in zip(self.sessions, self.steps):
            losses = _countable(np.concatenate([*session.history.losses[-RECENT:], []]))
            counts = np.histogram(losses, LOSS_EDGES)[0] / max(len(losses), 1)
            step.set_data(counts, LOSS_EDGES)
            tops.append(counts.max())
        return fit(self.axes.set_ylim, self.axes.get_ylim(), max(*tops, 0.1))


def _countable(losses: NDArray[Any]) -> NDArray[Any]:
    """Losses as the bars count them."""
    return np.clip(losses[np.isfinite(losses)], LOSS_EDGES[0], LOSS_EDGES[-1])


def names_of(sessions: Sequence[Session]) -> list[str]:
    """What to call the sessions: their strategies, with a letter where there are two."""
    if len(sessions) == 1:
        return [f"Strategy: {literal(sessions[0].strategy)}"]
    return [f"{letter}: {literal(session.strategy)}" for letter, session in zip("AB", sessions)]


def _letters(sessions: Sequence[Session]) -> list[str]:
    return ["batches"] if len(sessions) == 1 else ["A", "B"]


def _cut(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:16]} …"


def _starts(session: Session) -> list[int]:
    """The steps from which on another strategy was at work."""
    return sorted({0, *(e.step for e in session.history.events if e.name == "strategy")})


def fit(
    set_limits: Callable[[float, float], Any],
    present: tuple[float, float],
    needed: float,
    low: float = 0.0,
    most: float = np.inf,
) -> bool:
    """Give an axis a round upper limit, when it is too small or more than thrice too large.

    Nothing it shows is more than `most`.
    """
    limit = min(_round_up(1.05 * needed), most)
    if needed <= present[1] <= 3 * limit or present[1] == limit:
        return False
    set_limits(low, limit)
    return True


def _round_up(value: float) -> float:
    """The next number that makes a calm axis: 1, 1.5, 2, 3, 4, 5, 7 or 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    steps = (1, 1.5, 2, 3, 4, 5, 7, 10)
    return next(step * power for step in steps if step * power >= value * 0.999)
