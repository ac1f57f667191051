"""``predict``, ``reveal`` and ``card``: say first what you expect, then see how far off you were."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

from batchlab.exercises.checking import Text
from batchlab.exercises.store import STORE

_last: list[str] = []  # the number of the newest prediction


def predict(
    number: str,
    question: str,
    options: Sequence[str] | None = None,
    *,
    unit: str = "",
    guess: float | str | None = None,
) -> None:
    """Ask what the learner expects: a field for a number, or buttons to choose from.

    The guess is kept beside the notebook until :func:`reveal` compares it; skipping is fine. Where
    nobody sits before the notebook, only the question is shown, always the same.

    Parameters
    ----------
    number : str
        The prediction's name, such as ``"02.3"``: notebook, place.
    question : str
        What to guess, in one sentence.
    options : sequence of str, optional
        What to choose from; by default a number is asked for.
    unit : str
        Of the number, such as ``"%"``.
    guess : float or str, optional
        The guess itself, where no widgets can be shown.

    Raises
    ------
    ValueError
        If `guess` is not among the options, or no number.
    """
    _last[:] = [number]
    STORE.note(
        "predictions",
        number,
        question=question,
        unit=unit,
        options=list(options) if options else None,
    )
    if guess is not None:
        STORE.note("predictions", number, guess=_read(number, guess))
    _show(_field(number, lambda _: ""), f"Predict {number}: {_asked(number)}")


def reveal(truth: float | str, number: str | None = None) -> Text:
    """The guess, the truth and the distance between them.

    Parameters
    ----------
    truth : float or str
        As it is to be shown: round it to what every computer gives.
    number : str, optional
        Which prediction; by default the newest.

    Raises
    ------
    ValueError
        If nothing was predicted, or `truth` is not among the options.
    """
    number = number or (_last[0] if _last else "")
    if number not in STORE.table("predictions"):
        raise ValueError(
            f"reveal: there is no prediction {number!r}. Call predict({number!r}, …) first."
        )
    return Text(_compared(number, STORE.note("predictions", number, truth=_read(number, truth))))


def card(worst: int = 3) -> None:
    """Show the predictions that were furthest off, and ask them again.

    Parameters
    ----------
    worst : int
        How many.
    """
    made = {
        number: entry
        for number, entry in STORE.table("predictions").items()
        if "guess" in entry and "truth" in entry
    }
    if not made:
        _show(None, "Your card is empty: no prediction was made yet.")
        return
    import ipywidgets

    ranked = sorted(made, key=lambda number: -_miss(made[number]))[:worst]
    exact = sum(_miss(entry) < 0.1 for entry in made.values())
    title = (
        f"{len(made)} predictions, {exact} of them right or nearly. Once more, the furthest off:"
    )
    lines = [title, *(f"{number}: {_asked(number)}" for number in ranked)]
    fields = [
        _field(number, lambda again, number=number: _compared(number, made[number], again))
        for number in ranked
    ]
    _show(ipywidgets.VBox([ipywidgets.HTML(title), *fields]), "\n".join(lines))


def _asked(number: str) -> str:
    entry = STORE.table("predictions")[number]
    if entry["options"]:
        return f"{entry['question']} ({' | '.join(entry['options'])})"
    return entry["question"] + (f" (in {entry['unit']})" if entry["unit"] else "")


def _read(number: str, value: Any) -> float | str:
    """A guess or a truth as the prediction wants it."""
    entry = STORE.table("predictions")[number]
    options, unit = entry["options"], entry["unit"]
    if options:
        if value not in options:
            raise ValueError(f"{number}: {value!r} is not among the options {options}.")
        return value
    try:
        read = float(str(value).replace(unit, "").replace(",", ".") if unit else str(value))
    except ValueError:
        read = math.nan
    if not math.isfinite(read):
        raise ValueError(f"{number}: a number is asked for, got {value!r}.")
    return read


def _compared(number: str, entry: dict[str, Any], again: Any = None) -> str:
    unit = f" {entry['unit']}" if entry["unit"] else ""
    truth = entry["truth"]
    if "guess" not in entry:
        return f"{number}: it is {_short(truth)}{unit}. No guess was made."
    guesses = [entry["guess"]] if again is None else [again, entry["guess"]]
    said = ", at first ".join(f"{_short(guess)}{unit}" for guess in guesses)
    text = f"{number}: you said {said}, it is {_short(truth)}{unit}"
    if entry["options"]:
        return text + (" · right." if guesses[0] == truth else " · not this time.")
    away = f"{abs(guesses[0] - truth):.3g}"
    return f"{text} · {'exactly right' if guesses[0] == truth else f'{away}{unit} away'}."


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _miss(entry: dict[str, Any]) -> float:
    """From 0, right, to 1: as far off as can be told, relative to guess and truth."""
    guess, truth = entry["guess"], entry["truth"]
    if entry["options"]:
        return float(guess != truth)
    size = max(abs(guess), abs(truth))
    return min(abs(guess - truth) / size, 1.0) if size else 0.0


def _field(number: str, then: Callable[[Any], str]) -> Any:
    """Question, a place to answer, and what `then` says to the answer."""
    import ipywidgets

    entry = STORE.table("predictions")[number]
    question = ipywidgets.HTML()
    unit = f" (in {entry['unit']})" if entry["unit"] else ""
    question.value = f"<b>Predict {number}</b> &nbsp;{html.escape(entry['question'])}{unit}"
    said = ipywidgets.Label()
    if entry["options"]:
        place: Any = ipywidgets.ToggleButtons(options=entry["options"], value=None)
    else:
        place = ipywidgets.Text(placeholder="your guess", continuous_update=False)

    def note(change: dict[str, Any]) -> None:
        if change["new"] in ("", None):
            return
        try:
            guess = _read(number, change["new"])
        except ValueError:
            said.value = "A number, please."
            return
        answer = then(guess)
        if answer:
            STORE.note("predictions", number, again=guess)
        else:
            STORE.note("predictions", number, guess=guess)
        noted = f"{_short(guess)} {entry['unit']}".strip()
        said.value = answer or f"Noted: {noted}. Now run the next cell."

    place.observe(note, names="value")
    return ipywidgets.VBox([question, ipywidgets.HBox([place, said])])


def _show(widget: Any, text: str) -> None:
    """The widget, with `text` for front ends without widgets and for comparing outputs."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text)
    else:
        bundle = {} if widget is None else widget._repr_mimebundle_()
        display({**bundle, "text/plain": text}, raw=True)
