"""One run, or two side by side that differ in what one wants to compare."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from batchlab.lab.session import Events, Session
from batchlab.lab.settings import DATA_SETTINGS
from batchlab.loops.interrupt import DeferredInterrupt
from batchlab.parameters import Parameter, shown


class Runs:
    """The sessions of a panel.

    Parameters
    ----------
    first : Session
        Run A.
    versus : mapping of str to value, optional
        In what run B differs from A; without it there is no B.

    Attributes
    ----------
    sessions : tuple of Session
        One or two. It is never changed, only replaced: who reads it once sees runs that belong
        together, on any thread.
    kept : Kept or None
        The run that was thrown away last, for :meth:`undo`.
    """

    def __init__(self, first: Session, versus: Mapping[str, Any] | None = None) -> None:
        if versus is not None and not isinstance(versus, Mapping):
            raise TypeError(
                f"BatchLab: versus must be a dict from setting to value, got {shown(versus)}."
            )
        self.sessions = (first,) if versus is None else (first, first.twin(**versus))
        self.kept: Kept | None = None

    @property
    def a(self) -> Session:
        """The run, or the first one of two."""
        return self.sessions[0]

    @property
    def b(self) -> Session | None:
        """The second run, if there is one."""
        return self.sessions[1] if len(self.sessions) > 1 else None

    @property
    def steps(self) -> int:
        """The steps of the longer run."""
        return max(session.history.steps for session in self.sessions)

    def train(self, steps: int, pace: str) -> None:
        """Train a piece; at equal time B goes on until it has used as much as A."""
        for session in self.sessions[: 1 if pace == "time" else 2]:
            session.advance(steps)
        while steps and self._b_is_behind(pace):
            self.b.advance(steps)
        for session in self.sessions:
            session.score_if_due()

    def run(
        self, steps: int, pace: str, events: Events | None, versus_events: Events | None
    ) -> None:
        """Train with changes at stated steps: see :meth:`batchlab.BatchLab.run`."""
        Parameter(1, low=1, name="steps").check(steps, "BatchLab")
        pieces = [self.a.pieces(steps, events)]
        if self.b is not None:
            pieces.append(self.b.pieces(steps if pace == "step" else math.inf, versus_events))
        with DeferredInterrupt() as interrupt:
            for _ in pieces[0] if pace == "time" else zip_longest(*pieces):
                if interrupt.pressed:
                    break
                while self._b_is_behind(pace):
                    next(pieces[1])

    def _b_is_behind(self, pace: str) -> bool:
        at_equal_time = self.b is not None and pace == "time"
        return at_equal_time and self.b.time_used < self.a.time_used

    def start_anew(self, data: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        """All runs back to step 0 with the settings they have, and new data where asked for.

        Parameters
        ----------
        data : mapping of int to mapping of str to value, optional
            By the number of a run, its new label noise, imbalance or seed.
        """
        last = Kept(self.sessions) if self.steps else self.kept
        present = [_live_values(session) for session in self.sessions]
        for run, settings in (data or {}).items():
            self.sessions[run].rebuild(**settings)  # may refuse, before the others are reset
        for session, values in zip(self.sessions, present):
            session.reset()
            for name, value in values.items():
                with contextlib.suppress(ValueError):  # e.g. batches too large for thinned data
                    session.apply(name, value)
        self.kept = last

    def undo(self) -> None:
        """Put back the run that was thrown away last; what there is now is kept in its place."""
        if self.kept is not None:
            last, self.kept = self.kept, Kept(self.sessions)
            self.sessions = last.put_back()

    def compare(self, wanted: bool) -> None:
        """Begin or end the second run; both start anew.

        Raises
        ------
        ValueError
            If the model cannot be cloned.
        """
        last = Kept(self.sessions) if self.steps else self.kept
        twins = (self.a.twin(**_live_values(self.a)),) if wanted else ()
        self.sessions = (self.a, *twins)
        self.start_anew()
        self.kept = last


class Kept:
    """Sessions as they were.

    One that begins anew replaces what it has and changes none of it, but for the variables of model
    and optimizer.
    """

    def __init__(self, sessions: tuple[Session, ...]) -> None:
        self._runs = [
            (session, dict(vars(session)), [variable.numpy() for variable in session._variables()])
            for session in sessions
        ]

    def put_back(self) -> tuple[Session, ...]:
        """The sessions, as they were again."""
        for session, attributes, values in self._runs:
            vars(session).clear()
            vars(session).update(attributes)
            session._put_back(values)
        return tuple(session for session, *_ in self._runs)


def _live_values(session: Session) -> dict[str, Any]:
    """The settings that may change during a run, the strategy first."""
    return {name: value for name, value in session.settings.items() if name not in DATA_SETTINGS}
