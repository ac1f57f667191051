"""The thread that trains, and the letter box through which the board's widgets reach it."""

from __future__ import annotations

import html
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchlab.lab.parts import SLIDERS
from batchlab.lab.pointing import Request
from batchlab.lab.session import FEEDBACK_LAG
from batchlab.lab.settings import DATA_SETTINGS

FRAMES_PER_SECOND, STATUS_PER_SECOND = 12, 3
# Drawing gets this share of the time, or half of the time in which the training waits for its next
# step if that is more: so a slow picture cannot starve the training.
DRAWING_SHARE = 0.18
HANDS_REST = 0.25  # seconds between two values of one drag: each is an event, for a replay to be exact
HANDS_PAUSE = 1.0  # seconds after which the next value of a slider is another drag, another change
PATIENCE = 30.0  # seconds that a call waits for the step at work; to compile a model takes some
FILES = {"Save": ".json", "CSV": ".csv", "PNG": ".png", "SVG": ".svg"}


class LetterBox:
    """What widgets write and the training thread reads: one object, one lock.

    Widget callbacks may run on any thread and must be quick: they only write here. The training
    thread reads between batches. Of many values written for one name the last one counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._values: dict[Any, Any] = {}
        self._last: tuple[float, set[Any]] = (-math.inf, set())  # when were which taken
        self._steps_to_go = 0
        self._manned = False  # a thread is at work
        self._called = False  # it shall come and look, even if there is no step to train
        self._closed = False

    def write(self, name: Any, value: Any) -> None:
        """Ask for something; `name` is any key."""
        with self._lock:
            self._values.pop(name, None)  # so that the order is that of the last writing
            self._values[name] = value

    def take_values(self, rest: float = 0.0) -> dict[Any, Any]:
        """All that was asked for since the last call, in order.

        Nothing yet if it is the same again within `rest` seconds: somebody is dragging a slider.
        """
        with self._lock:
            then, names = self._last
            if self._values.keys() <= names and time.monotonic() < then + rest:
                return {}
            values, self._values = self._values, {}
            if values:
                self._last = (time.monotonic(), set(values))
            return values

    def go(self, steps: int) -> bool:
        """Allow so many steps more; True if there is no thread yet to train them.

        Zero steps only call the thread to take the values.
        """
        with self._lock:
            if self._closed:
                return False
            self._steps_to_go += steps
            self._called = True
            self._lock.notify_all()
            needed, self._manned = not self._manned, True
            return needed

    def claim(self, at_most: int) -> int | None:
        """Take up to `at_most` of the allowed steps; with None the thread must end."""
        with self._lock:
            steps = min(at_most, self._steps_to_go)
            self._steps_to_go -= steps
            self._manned, self._called = steps > 0 or self._called, False
            return steps if self._manned else None

    def pause(self) -> None:
        """Allow no further step."""
        with self._lock:
            self._steps_to_go = 0
            self._lock.notify_all()

    def close(self) -> None:
        """Allow no further step, ever."""
        with self._lock:
            self._closed = True
        self.pause()

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the panel is paused, or the thread is called."""
        with self._lock:
            self._lock.wait_for(lambda: self._called or not self._steps_to_go, timeout=seconds)

    @property
    def waiting(self) -> list[Any]:
        """The names that were written and not taken yet."""
        with self._lock:
            return list(self._values)

    @property
    def closed(self) -> bool:
        """Whether no step will ever be trained again."""
        return self._closed

    @property
    def playing(self) -> bool:
        """Whether there are steps to train."""
        return self._steps_to_go > 0


class Worker:
    """Trains in the background, does what the board asks for, and draws.

    Parameters
    ----------
    panel : BatchLab
        Whose runs to train, and whose board and views to keep up to date.
    """

    def __init__(self, panel: Any) -> None:
        # A panel that nobody has any more need not train on: it is kept only while it is at work.
        self._panel = weakref.ref(panel)
        self.box = LetterBox()
        # Held while the runs train, are drawn or begin anew; never by a widget's callback.
        self._busy = threading.RLock()
        self._thread: threading.Thread | None = None
        self._at_most = 0  # the steps that the last Play allowed; 0 if it was paused since
        self._status_due = 0.0  # these are on the clock of time.monotonic
        self._draw_at = self._draw_change_at = 0.0
        self._drawing_cost = 0.0  # seconds of a picture, on average: now and then one takes long
        self._changed: tuple[Any, float] = (None, 0.0)  # which letter was done last, and when
        self._took = 0.0  # seconds of the steps that were trained last: letters wait for them

    # -- from any thread ---------------------------------------------------------------------------

    def tell(self, name: str, value: Any) -> None:
        """Hear what a reader does. Nothing here waits for a step: a sampler may take its time."""
        panel = self.panel
        at_once = {
            "Play": panel.play if value else panel.pause,
            "Step": panel.step,
            "10 steps": lambda: panel.step(10),
        }
        if name in at_once:
            at_once[name]()
            panel.board.show_state(self.state, self.playing_on)
            return
        if name in ("Reset", "Undo"):
            self.pause()
        if name in ("strategy", "Shown run"):
            # Now, not by the thread: the next move of a slider is for this strategy or run already.
            strategy = value if name == "strategy" else None
            panel.board.show_settings(panel.runs.sessions, strategy)
        run = panel.board.controls["Shown run"].value
        self.box.write((run, name), value)
        if name not in panel.board.live:
            self.call()

    def play(self, at_most: int) -> None:
        """Train until told otherwise, but not more than so many steps from now on."""
        self.pause()
        self._at_most = at_most
        self.start(at_most)

    def start(self, steps: int) -> None:
        """Train so many steps more."""
        self.panel.board.error.value = ""
        self.call(steps)

    def pause(self) -> None:
        """Train no further step for now."""
        self._at_most = 0
        self.box.pause()

    def call(self, steps: int = 0) -> None:
        """Let the thread read its letters, and train so many steps more."""
        if self.box.go(steps):
            self._draw_at = self._draw_change_at = time.monotonic()
            self._drawing_cost = 0.0
            self._thread = threading.Thread(target=self._work, name="BatchLab", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (pause := self.round()) is not None:
            self.box.sleep(pause)

    def close(self) -> None:
        """Train no further step, ever."""
        self.box.close()
        self.panel.board.disable()

    def join(self) -> None:
        """Wait until the thread has ended, but not for ever."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    @property
    def panel(self) -> Any:
        """The panel; None if it is gone."""
        return self._panel()

    @property
    def state(self) -> str:
        """What the panel is doing, in a word or two."""
        if self.box.closed:
            return "stopped; show the panel again to go on"
        if self.box.playing:
            return "training"
        if self._at_most:
            return f"paused, since nobody did so for {self._at_most} steps; Play goes on"
        return "paused"

    @property
    def playing_on(self) -> bool:
        """Whether it trains because of Play, not a step or ten."""
        return self.box.playing and self._at_most > 0

    def now(self, do: Callable[[], None]) -> bool:
        """Do something quick if nothing is trained or drawn at this moment; whether it was done."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            do()
        finally:
            self._busy.release()
        return True

    # -- between two steps -------------------------------------------------------------------------

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Let nothing be trained or drawn meanwhile: for calls from Python.

        Raises
        ------
        TimeoutError
            If the present step does not end.
        """
        if not self._busy.acquire(timeout=PATIENCE):
            raise TimeoutError(
                f"BatchLab: the present step has not ended within {PATIENCE:g} s, so the run cannot be "
                "read or changed. Its sampler or model may hang: look there, and restart the kernel."
            )
        try:
            yield
        finally:
            self._busy.release()

    def round(self) -> float | None:
        """Read the letters, train a piece, draw if it is time; seconds to wait, None at the end."""
        panel, box = self.panel, self.box
        if panel is None:
            return None
        steps = box.claim(self._steps_at_once())
        began = time.monotonic()
        try:
            if steps is None:
                self.show()
                return None
            with self._busy:
                panel.pointing.answer()
                changed = self.take_letters(HANDS_REST if steps else 0)
                panel.runs.train(steps, panel.pace)
            self._took = time.monotonic() - began
            idle = 1 - self._took * panel.speed / max(steps, 1)
            if steps and panel.views.seen and began >= (self._draw_change_at if changed else self._draw_at):
                self._drawing_cost += (self.show() - self._drawing_cost) / 4
                share = max(DRAWING_SHARE, idle / 2)
                cost = self._drawing_cost
                self._draw_at = max(self._draw_at + 1 / FRAMES_PER_SECOND, began + cost / share)
                self._draw_change_at = began + 2 * cost  # what a reader does is shown at once
        except BaseException:  # also SystemExit from a model or a sampler: show it, stay alive
            panel.board.show_traceback()
            if steps is None:  # what is asked for now is for the next thread
                return None
            self.pause()
        return max(steps / panel.speed - (time.monotonic() - began), 0)

    def _steps_at_once(self) -> int:
        """As many as fit into half the time of a picture, so that a slider is heard at once."""
        return max(1, min(round(self.panel.speed / (2 * FRAMES_PER_SECOND)), FEEDBACK_LAG))

    def take_letters(self, rest: float = 0.0) -> bool:
        """Do what the board asks for; whether there was anything."""
        letters, board = self.box.take_values(rest), self.panel.board
        if letters:
            board.error.value = ""
        for (run, name), value in letters.items():
            try:
                self._take(run, name, value, drag=self._goes_on(run, name))
            except (TypeError, ValueError, IndexError) as error:  # all has stayed as it was: go on
                board.show_error(error)
            except Exception:
                board.show_traceback()
        if letters:
            with board.lock:  # else a value could come between these two lines, and be shown no more
                asked_for = {name for _, name in self.box.waiting}  # the next call sees to these
                board.show_values(self.panel.runs.sessions, asked_for)
        return bool(letters)

    def _goes_on(self, run: int, name: Any) -> bool:
        """Whether this is the same slider as before and soon after: one drag, or a few key presses."""
        (before, then), now = self._changed, time.monotonic()
        self._changed = ((run, name), now)
        soon = now < then + HANDS_PAUSE + self._took
        slides = isinstance(self.panel.board.controls.get(name), SLIDERS)
        return before == (run, name) and soon and slides

    def _take(self, run: int, name: Any, value: Any, drag: bool) -> None:
        panel = self.panel
        if isinstance(name, Request):
            name.do(panel, panel.runs.sessions[min(run, len(panel.runs.sessions) - 1)])
        elif name in ("speed", "theme", "width"):
            setattr(panel, name, value)
        elif name in DATA_SETTINGS:
            self.start_anew({run: {name: value}})
        elif name in panel.board.live:
            if run < len(panel.runs.sessions):  # or there is no B any more
                panel.runs.sessions[run].apply(name, value, drag)
        elif name == "Reset":
            self.start_anew()
        elif name == "Undo":
            panel.runs.undo()
            self._show_other_runs()
        elif name == "Compare with B":
            self._compare(value)
        elif name == "Recipe":
            panel.board.show_recipe(panel.recipe())
        elif name in FILES:
            self._write(name)
        if name not in panel.board.live:
            panel.views.show_past()

    def start_anew(self, data: dict[int, dict[str, Any]] | None = None) -> None:
        """All runs back to step 0, and other data where asked for."""
        self.panel.runs.start_anew(data)
        self.panel.views.forget()
        self.panel.board.show_undo(self.panel.runs.kept is not None)

    def _compare(self, wanted: bool) -> None:
        panel = self.panel
        if wanted == (panel.b is not None):
            return
        try:
            panel.runs.compare(wanted)
        finally:  # a model that cannot be cloned
            self._show_other_runs()

    def _show_other_runs(self) -> None:
        panel = self.panel
        panel.views.forget()
        panel.board.show_runs(panel.runs.sessions)
        panel.board.show_undo(panel.runs.kept is not None)

    def _write(self, name: str) -> None:
        panel = self.panel
        path = Path(panel.board.controls["File"].value + FILES[name])
        writers = {"Save": panel.save, "CSV": panel.export_curves}
        writers.get(name, panel.export_picture)(path)
        panel.board.written.value = f"written: {html.escape(str(path))}"

    def show(self) -> float:
        """Draw, if anyone sees it; the seconds it took."""
        began = time.monotonic()
        if not self.panel.views.seen:
            return 0.0
        with self._busy:
            self.panel.views.show()
            cost = time.monotonic() - began
            # The first picture, and those of a panel that waits, take nothing from the training.
            sessions = self.panel.runs.sessions
            for session in sessions if self.box.playing else ():
                session.clock["drawing"] += cost / len(sessions)
            self.show_status()
        return time.monotonic() - began

    def show_status(self) -> None:
        """Say what the runs are doing, but while they train not twelve times a second."""
        if self.box.playing and time.monotonic() < self._status_due:
            return
        self._status_due = time.monotonic() + 1 / STATUS_PER_SECOND
        self.panel.board.show_status(self.state, self.playing_on, self.panel.runs.sessions)
