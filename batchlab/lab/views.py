"""The two pictures of a panel, each on its screen: of the run, and of any past batch."""

from __future__ import annotations

import html
from typing import Any

from batchlab.lab.board import Board
from batchlab.lab.drawing.microscope import Microscope
from batchlab.lab.drawing.picture import Picture
from batchlab.lab.runs import Runs
from batchlab.lab.session import Session


class Views:
    """Draws what the board's screens show; made anew when what it would show is another.

    Parameters
    ----------
    runs : Runs
        What is drawn.
    board : Board
        On whose screens.
    look : object
        Whose ``theme``, ``width`` and ``pointing`` to follow: the panel.
    """

    def __init__(self, runs: Runs, board: Board, look: Any) -> None:
        self._runs, self._board, self._look = runs, board, look
        self._picture: Picture | None = None
        self._microscope: Microscope | None = None
        self._opened = False  # whether the microscope was there and had a batch, when last shown

    @property
    def theme(self) -> str:
        """The colours in use; "auto" takes those of the page."""
        if self._look.theme == "auto":
            return "dark" if self._board.screen.canvas.dark else "light"
        return self._look.theme

    @property
    def width(self) -> str:
        """The layout in use; "auto" takes what the page has room for."""
        if self._look.width == "auto":
            return "narrow" if self._board.page.narrow else "wide"
        return self._look.width

    @property
    def seen(self) -> bool:
        """Whether the panel is in sight, as far as is known."""
        return self._board.page.seen

    def still(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The picture for a notebook that is saved: data and metadata of an output."""
        words = self.picture.words()
        return {"text/plain": words, "image/png": self.picture.png()}, {"image/png": {"alt": words}}

    @property
    def picture(self) -> Picture:
        """The picture of the run, as the panel is to look now."""
        sessions, look = self._runs.sessions, (self.theme, self.width)
        picture = self._picture
        if picture is None or picture.sessions != list(sessions) or picture.look != look:
            picture = self._picture = Picture(sessions, *look, self._look.pointing.colouring)
        return picture

    def _microscope_on(self, session: Session) -> Microscope:
        glass, look = self._microscope, (self.theme, self.width)
        if glass is None or glass.session is not session or glass.look != look:
            glass = self._microscope = Microscope(session, *look)
        return glass

    def forget(self) -> None:
        """Draw all anew: the runs have other data, or begin again."""
        self._picture = self._microscope = None

    def show(self) -> None:
        """Show the run as it is now."""
        traits = self._look.pointing.traits(self._board.shown_of(self._runs.sessions))
        self._board.screen.show(self.picture, self.picture.words(), **traits)

    @property
    def past_step(self) -> int:
        """The step whose batch is under the microscope."""
        session = self._board.shown_of(self._runs.sessions)
        first = session.history.steps - len(session.history.indices)
        return min(max(self._board.controls["Past step"].value, first), session.history.steps - 1)

    def show_past(self) -> None:
        """Show the past batch that the timeline stands at, if anyone is looking."""
        board = self._board
        session = board.shown_of(self._runs.sessions)
        before, steps = self._opened, session.history.steps
        self._opened = bool(board.controls["Batch microscope"].value and steps)
        if not self._opened:
            return
        if not before:  # it opens at the newest batch
            board.controls["Past step"].max = steps - 1
            board.show("Past step", steps - 1)
        glass = self._microscope_on(session)
        glass.look_at(self.past_step)
        words = glass.words()
        board.past_screen.show(glass, words, count=len(session.x))
        board.past_words.value = f'<div style="line-height: 1.4">{html.escape(words)}</div>'
