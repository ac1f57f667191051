"""A hand in a run: gestures, and runs that are replayed with a change or from a past step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchlab.history import Event
from batchlab.lab.settings import HAND
from batchlab.parameters import Parameter
from batchlab.samplers import HandPickedSampler, Sampler

if TYPE_CHECKING:
    from batchlab.lab.session import Session

GESTURES = ("next", "always", "more", "less", "never", "clear")


def held(sampler: Any) -> Any:
    """`sampler` with a hand on it, where it is a strategy of batchlab's kind."""
    return HandPickedSampler(sampler) if isinstance(sampler, Sampler) else sampler


def hand_over(old: Any, new: Any) -> None:
    """Let what the hand does to one strategy hold for another."""
    new.pin, new.exclude, new.boost = (), (), {}  # what was there may rule out what comes
    for name in HAND:
        setattr(new, name, getattr(old, name))


def gesture(
    session: Session, indices: Any, how: str, factor: float
) -> Iterator[tuple[str, Any]]:
    """The changes of settings that a gesture makes, one after the other."""
    Parameter("next", choices=GESTURES, name="how").check(how, "Session.pick")
    factor = Parameter(5.0, low=1e-6, high=1e6, name="factor").check(factor, "Session.pick")
    if how == "next":
        yield "next", indices
        return
    chosen = session.check("exclude", indices)
    excluded, pinned, boost = (session.value(name) for name in ("exclude", "pin", "boost"))
    others = {i: b for i, b in boost.items() if i not in chosen}
    if how == "never":
        yield "exclude", (*excluded, *chosen)
        return
    if how == "clear":
        yield "pin", [i for i in pinned if i not in chosen]
        yield "next", [i for i in session.value("next") if i not in chosen]
        yield "boost", others
    elif how == "always":
        yield "pin", (*pinned, *(i for i in dict.fromkeys(chosen) if i not in pinned))
        yield "boost", {i: b for i, b in boost.items() if b > 0 or i not in chosen}
    else:
        times = factor if how == "more" else 1 / factor
        yield "boost", {**others, **{i: (boost.get(i) or 1.0) * times for i in chosen}}
    yield "exclude", [i for i in excluded if i not in chosen]


class ByHand:
    """What a :class:`Session` offers to a hand; its parts are explained there."""

    history: Any
    apply: Callable[..., None]
    run: Callable[..., Any]
    reset: Callable[[], None]
    twin: Callable[..., Session]

    def pick(self, indices: Any, how: str, factor: float = 5.0) -> None:
        """Do a gesture with some samples, from the next batch on.

        Parameters
        ----------
        indices : array_like of int, shape (m,)
            The samples.
        how : {"next", "always", "more", "less", "never", "clear"}
            The next batch is exactly these; they are in every batch; their chances are `factor`
            times what they are, or one `factor`-th; they never come; nothing is said of them any
            more. What is to come again is no longer excluded.
        factor : float, default 5.0
            Of "more" and "less".

        Raises
        ------
        TypeError, ValueError, IndexError
            If a sample or gesture is not possible.
        """
        for name, value in gesture(self, indices, how, factor):
            self.apply(name, value)

    def replayed(self, until: int | None = None, **changes: Any) -> Session:
        """Another session that has trained in the same way, from step 0, but for `changes`.

        Parameters
        ----------
        until : int, optional
            How many steps; by default all that were trained. All changes made before then are
            repeated, and those after the last step too.
        **changes
            Settings that are otherwise, from step 0 on; of the data, too. They hold all the way:
            later changes of the same setting are not repeated, except that `exclude` is added to
            what was excluded later. Settings that another strategy does not have are left out.

        Raises
        ------
        TypeError, ValueError, IndexError
            If a change is not possible, there alone or beside one that is repeated, or the model
            cannot be cloned.
        """
        steps, events = self._until(until)
        other = self.twin(**changes)
        other._repeat(steps, list(_with_changes(other, events, changes)))
        return other

    def rewind(self, until: int) -> None:
        """Go back to a past step: the run is repeated up to there, and what came after is dropped.

        Raises
        ------
        TypeError, ValueError
            If that many steps were not trained.
        """
        steps, events = self._until(until)
        self.reset()
        self._repeat(steps, events)

    def _until(self, until: int | None) -> tuple[int, list[Event]]:
        trained = self.history.steps
        if until is None:
            until = trained
        steps = Parameter(0, low=0, high=trained, name="until").check(until, "Session")
        # Those of the very last step were made after it, and no step was trained with them yet.
        return steps, [e for e in self.history.events if e.step < steps or steps == trained]

    def _repeat(self, steps: int, events: list[Event]) -> None:
        plan: dict[int, list[tuple[str, Any, bool]]] = {}
        for event in events:
            plan.setdefault(event.step, []).append((event.name, event.value, event.drag))
        since = plan.pop(steps, ())
        if steps:
            self.run(steps, plan)
        for change in since:
            self.apply(*change)


def _with_changes(
    session: Session, events: list[Event], changes: Mapping[str, Any]
) -> Iterator[Event]:
    """The events of another run that hold beside the changes already made in `session`."""
    strategy = session.strategy
    excluded = session.value("exclude") if "exclude" in changes else ()
    for event in events:
        if event.name == "exclude" and event.name in changes:
            event = replace(event, value=(*excluded, *event.value))
        elif event.name in changes or event.name not in session.settable(strategy):
            continue
        if event.name == "strategy":
            strategy = event.value
        yield event


class PanelByHand:
    """What a :class:`BatchLab` offers to a hand; one path for the page and for scripts."""

    runs: Any
    worker: Any
    board: Any
    views: Any
    pause: Callable[[], None]

    def pick(self, indices: Any, how: str, factor: float = 5.0) -> None:
        """Do a gesture with samples of the run that the sliders show: see :meth:`Session.pick`."""
        with self.worker.at_rest():
            self.worker.take_letters()
            self.board.shown_of(self.runs.sessions).pick(indices, how, factor)
            self.worker.show()

    def what_if(self, **changes: Any) -> Session:
        """Show beside run A the same run replayed from step 0, but for `changes`, as run B.

        See :meth:`Session.replayed`; it takes as long as the steps took. A run B that was there is
        replaced. Both go on from where A is.

        Returns
        -------
        Session
            Run B.

        Raises
        ------
        TypeError, ValueError, IndexError
            If a change is not possible, or the model cannot be cloned. Nothing has changed then.
        """
        self.pause()
        with self.worker.at_rest():
            self.worker.take_letters()
            first = self.runs.a
            self.runs.sessions = (first, first.replayed(**changes))
            self.views.forget()
            self.board.show_runs(self.runs.sessions)
            self.worker.show()
        return self.runs.b

    def branch(self, step: int) -> None:
        """Go back to a past step, in both runs: see :meth:`Session.rewind`.

        Raises
        ------
        TypeError, ValueError
            If a run has not trained that many steps. Nothing has changed then.
        """
        self.pause()
        with self.worker.at_rest():
            self.worker.take_letters()
            for session in self.runs.sessions:
                session._until(step)  # refuses, before any goes back
            for session in self.runs.sessions:
                session.rewind(step)
            self.views.forget()
            self.board.show_settings(self.runs.sessions)
            self.worker.show()
