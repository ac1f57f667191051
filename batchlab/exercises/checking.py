"""``check`` and ``hint``: what a learner's answer does, where it goes wrong, and what to look at."""

from __future__ import annotations

import html
import importlib
from dataclasses import dataclass
from typing import Any

from batchlab.exercises import limits
from batchlab.exercises.judging import Exercise, Wrong
from batchlab.exercises.store import STORE


@dataclass(frozen=True)
class Result:
    """What :func:`check` found; true where the answer is right.

    Attributes
    ----------
    number : str
        The exercise.
    state : str
        ``"solved"``, ``"not yet"`` or ``"your turn"``.
    message : str
        What was seen, and where.
    hint : str
        What to look at; empty if it is solved.
    """

    number: str
    state: str
    message: str
    hint: str = ""

    def __bool__(self) -> bool:
        return self.state == "solved"

    def __str__(self) -> str:
        first = f"{self.number} {self.state}: {self.message}"
        return f"{first}\nHint: {self.hint}" if self.hint else first

    __repr__ = __str__

    def _ipython_display_(self) -> None:
        """Show it as a display, for nbgrader reads the value of a test's cell as its points."""
        from IPython.display import display

        colour = {"solved": "#009E73", "not yet": "#D55E00"}.get(self.state, "#0072B2")
        lines = html.escape(str(self)).replace("\n", "<br>")
        shown = f"<div style='border-left:4px solid {colour}; padding:2px 10px'>{lines}</div>"
        display({"text/plain": str(self), "text/html": shown}, raw=True)


def exercise(number: str) -> Exercise:
    """The exercise of that number, such as ``"04.1"``."""
    notebook, _, _ = str(number).partition(".")
    try:
        known = importlib.import_module(f"batchlab.exercises.e{notebook}").EXERCISES
    except ModuleNotFoundError:
        raise ValueError(
            f"there is no exercise {number!r}: its notebook is not known. Write the notebook's number"
            ' with two digits, such as "04.1".'
        ) from None
    if number not in known:
        raise ValueError(f"there is no exercise {number!r}. Notebook {notebook} has {list(known)}.")
    return known[number]


def check(number: str, answer: Any = ..., *, seconds: float | None = None) -> Result:
    """Judge an answer by what it does, for several sizes, seeds and epochs.

    Whatever the learner's code does, there is an answer: an exception, an endless loop, endless
    printing and ``sys.exit`` are told like any other fault.

    Parameters
    ----------
    number : str
        The exercise, such as ``"04.1"``.
    answer : object
        What was written: a class, a function or a number. ``...`` and ``NotImplementedError`` mean
        that nobody tried yet.
    seconds : float, optional
        How long the answer may take; by default what the exercise allows, mostly 30.

    Returns
    -------
    Result
        Shown by a notebook, true where the answer is right.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    asked = exercise(number)
    if answer is ... or answer is None:
        return _noted(_result(asked, NotImplementedError(), 0))
    seconds = asked.seconds if seconds is None else seconds
    _, error = limits.run(lambda: asked.judge(answer), seconds)
    return _noted(_result(asked, error, seconds))


def _result(asked: Exercise, error: BaseException | None, seconds: float) -> Result:
    number, first = asked.number, asked.hints[0]
    if error is None:
        return Result(number, "solved", asked.praise)
    if isinstance(error, NotImplementedError):
        ask = f'from batchlab.exercises import hint; hint("{number}") gives one.'
        return Result(number, "your turn", asked.task, ask)
    if isinstance(error, Wrong):
        return Result(number, "not yet", error.symptom, error.hint or first)
    if isinstance(error, limits.TimeUp):
        symptom = f"your code did not end within {seconds:g} seconds."
        return Result(
            number, "not yet", symptom, "Is there a loop that never ends? Look at `while`."
        )
    if isinstance(error, limits.TooMuchPrinted):
        symptom = f"your code prints more than {limits.MOST_PRINTED} characters."
        return Result(number, "not yet", symptom, "Take the print out of the loop.")
    if isinstance(error, SystemExit):
        symptom = "your code calls sys.exit, which would end the notebook."
        return Result(number, "not yet", symptom, "Return from the function instead.")
    symptom = f"{type(error).__name__}: {error}, {limits.place_of(error)}."
    return Result(number, "not yet", symptom, first)


def _noted(result: Result) -> Result:
    before = STORE.table("exercises").get(result.number, {})
    if result.state != "your turn":
        STORE.note(
            "exercises",
            result.number,
            solved=bool(result) or before.get("solved", False),
            attempts=before.get("attempts", 0) + 1,
            hints=before.get("hints", 0),
        )
    return result


def hint(number: str) -> str:
    """The next hint of an exercise; after the last one, all of them.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    hints = exercise(number).hints
    seen = min(STORE.table("exercises").get(number, {}).get("hints", 0) + 1, len(hints))
    STORE.note("exercises", number, hints=seen)
    shown = [f"Hint {place} of {len(hints)}: {text}" for place, text in enumerate(hints, start=1)]
    return Text("\n".join(shown[:seen]))


class Text(str):
    """A text that a notebook shows without quotation marks."""

    __repr__ = str.__str__


def results() -> dict[str, dict[str, Any]]:
    """By exercise: whether it is solved, with how many attempts and hints; plain JSON.

    The same is in ``batchlab-progress.json`` beside the notebooks, for an instructor to collect.
    """
    known = STORE.table("exercises")
    blank = {"solved": False, "attempts": 0, "hints": 0}
    return {number: {**blank, **known[number]} for number in sorted(known)}
