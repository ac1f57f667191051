"""Run a learner's code so that it can neither stop nor flood the notebook."""

from __future__ import annotations

import contextlib
import ctypes
import io
import linecache
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS = str(Path(__file__).parents[1])
MOST_PRINTED = 10_000  # characters


class TimeUp(BaseException):
    """Raised inside a learner's code; no ``except Exception`` holds it up."""


class TooMuchPrinted(BaseException):
    """Raised by ``print`` inside a learner's code."""


class _Paper(io.TextIOBase):
    """Takes what is printed, and ends the code that prints without end."""

    def __init__(self) -> None:
        self.length = 0

    def write(self, text: str) -> int:
        self.length += len(text)
        if self.length > MOST_PRINTED:
            raise TooMuchPrinted
        return len(text)


def run(function: Callable[[], Any], seconds: float) -> tuple[Any, BaseException | None]:
    """What `function` returned, and what it raised, ``TimeUp`` after `seconds`.

    It runs in a thread of its own, because only that can be given up: code that even swallows
    ``TimeUp``, or waits inside C, is left behind. What it prints is not shown.
    """
    value: Any = None
    error: BaseException | None = TimeUp()

    def work() -> None:
        nonlocal value, error
        try:
            value = function()
            error = None
        except BaseException as raised:  # SystemExit too: it would end the kernel
            error = raised

    thread = threading.Thread(target=work, daemon=True)
    paper = _Paper()
    with contextlib.redirect_stdout(paper), contextlib.redirect_stderr(paper):
        thread.start()
        try:
            thread.join(seconds)
        finally:
            _stop(thread)
    return value, error


def _stop(thread: threading.Thread) -> None:
    """Raise ``TimeUp`` in the thread, again and again: a bare ``except:`` may swallow one."""
    for _ in range(500):
        if not thread.is_alive():
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeUp)
        )
        thread.join(0.002)


def place_of(error: BaseException) -> str:
    """Where in the learner's own code it happened: ``in draw, line 3: return self.n / 0``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_learners(frame.filename)]
    if not own:
        return "when the check looked at what your code gave back"
    line = linecache.getline(own[-1].filename, own[-1].lineno or 0).strip()
    return f"in {own[-1].name}, line {own[-1].lineno}" + (f": {line}" if line else "")


def _is_learners(filename: str) -> bool:
    return not filename.startswith(OURS) and "site-packages" not in filename
