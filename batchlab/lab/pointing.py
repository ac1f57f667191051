"""What a hand in the page points at, and what it does there.

The page finds the sample under the pointer, the samples inside a lasso or under a brush, by itself: see
``drawing/pointer.js``. It asks the kernel for what only that knows of a sample, and tells it each
gesture: one letter to the worker, which does it between two steps.
"""

from __future__ import annotations

import base64
import io
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.lab.byhand import GESTURES
from batchlab.lab.drawing.colouring import BY, Colouring, chances_of
from batchlab.lab.drawing.stage import are_images, held_by, image_of
from batchlab.lab.session import Session
from batchlab.parameters import Parameter
from batchlab.validation import check_finite

MOST_VISITS = 300  # of one sample in a small picture
IMAGE_SIDE = 64  # pixels


@dataclass(frozen=True, eq=False)
class Request:
    """A letter to the worker: no two are alike, so each is done, in order.

    Attributes
    ----------
    do : callable
        Told the panel and the session that is meant.
    """

    do: Callable[[Any, Session], None]


class Pointing:
    """Hears what a hand does in the pictures of a panel.

    Parameters
    ----------
    panel : BatchLab
        Whose pictures.
    scores : mapping of str to array_like of float, shape (n,), optional
        A user's own numbers by which points can be coloured.

    Attributes
    ----------
    colouring : Colouring
        What the colours of the points say.
    """

    def __init__(self, panel: Any, scores: Mapping[str, Any] | None = None) -> None:
        self._panel = weakref.ref(panel)
        self.colouring = Colouring(_checked(scores, len(panel.a.given.x)))
        self._questions: deque[Callable[[], None]] = deque()
        screens = panel.board.screen, panel.board.past_screen
        name, there = uuid.uuid4().hex, weakref.ref(self)

        def heard(canvas: Any, message: dict[str, Any], _: Any) -> None:
            if (pointing := there()) is not None:
                pointing.hear(canvas, message)

        for screen in screens:
            screen.canvas.panel = name
            screen.canvas.on_msg(heard)

    def traits(self, session: Session) -> dict[str, Any]:
        """What the page has to know, besides the picture."""
        return {
            "count": len(session.x),
            "hand": {how: samples.tolist() for how, samples in held_by(session).items()},
            "colours": list(self.colouring.choices),
            "colour_by": self.colouring.by,
            "key": self.colouring.key(session),
        }

    # -- what a page says --------------------------------------------------------------------------

    def hear(self, canvas: Any, message: dict[str, Any]) -> None:
        """Do what the page asks for, or leave it to the worker; nothing here waits for a step."""
        panel = self._panel()
        if panel is None:
            return
        try:
            kind, run = message["kind"], message.get("run", -1)
            if kind == "look":
                self._look(panel, canvas, message)
                return
            if kind == "play":
                panel.board.controls["Play"].value = not panel.playing
                return
            do = {"pick": _pick, "what if": _what_if, "branch": _branch, "colour": _colour}[kind]
            if run < 0:
                run = panel.board.controls["Shown run"].value
            panel.worker.box.write((run, Request(lambda *to: do(*to, message))), None)
            panel.worker.call()
        except Exception:  # elsewhere it would be lost
            panel.board.show_traceback()

    def _look(self, panel: Any, canvas: Any, message: dict[str, Any]) -> None:
        """Answer at once where nothing is being trained just now, else let the worker do it."""
        run = min(max(message["run"], 0), len(panel.runs.sessions) - 1)

        def answer() -> None:
            sample = message["sample"]
            card = self.card(panel.runs.sessions[run], sample, message["kept"])
            canvas.send({"kind": "card", "bars": panel.views.picture.bars_of(run, sample), **card})

        if not panel.worker.now(answer):
            self._questions.append(answer)
            panel.worker.call()

    def answer(self) -> None:
        """Answer what was asked while the worker was busy; to be called by it."""
        while self._questions:
            self._questions.popleft()()

    # -- what the kernel knows ---------------------------------------------------------------------

    def card(self, session: Session, sample: int, full: bool = False) -> dict[str, Any]:
        """What is known of a sample, in words; `full` adds its losses over the run."""
        visits, chances = int(session.history.visits[sample]), chances_of(session)
        rows = _answers(session, sample)
        rows.append(("loss now", f"{session.losses_of([sample])[0]:.3g}"))
        rows.append(("drawn", "never" if not visits else f"{visits} time{'s' * (visits > 1)}"))
        times = "not known"
        if chances is not None:
            times = f"×{chances[sample] * len(session.x):.2g} of chance" if chances[sample] else "not now"
        rows.append(("next", times))
        for name, scores in self.colouring.scores.items():
            rows.append((name, f"{scores[session.kept[sample]]:.4g}"))
        said = [how for how, samples in held_by(session).items() if sample in samples]
        if said:
            rows.append(("by hand", ", ".join(said)))
        card = {"sample": sample, "kept": full, "title": f"#{sample}", "rows": rows}
        if are_images(session):
            card["image"] = _data_url(image_of(session, sample, IMAGE_SIDE))
        if full:
            card["curve"] = _curve(session, sample)
        return card


class PanelPointing:
    """What a :class:`BatchLab` offers to who colours its points from Python."""

    pointing: Pointing
    runs: Any
    worker: Any

    @property
    def colour_by(self) -> str:
        """What the colours of the points say.

        "class", "last loss", "visits", "chance to be next", or the name of one of the `scores`.
        """
        return self.pointing.colouring.by

    @colour_by.setter
    def colour_by(self, value: str) -> None:
        colouring = self.pointing.colouring
        named = Parameter(BY[0], choices=colouring.choices, name="colour_by")
        colouring.by = named.check(value, "BatchLab")
        self.worker.call()


def _pick(panel: Any, session: Session, message: dict[str, Any]) -> None:
    session.pick(message["samples"], Parameter("next", choices=GESTURES).check(message["how"]))


def _what_if(panel: Any, session: Session, message: dict[str, Any]) -> None:
    samples, canvas = message["samples"], panel.board.screen.canvas
    canvas.note = (
        f"Replaying {session.history.steps} steps without {len(samples)} "
        f"sample{'s' * (len(samples) != 1)} …"
    )
    try:
        panel.what_if(exclude=samples)
    finally:
        canvas.note = ""


def _branch(panel: Any, session: Session, message: dict[str, Any]) -> None:
    panel.branch(panel.views.past_step)


def _colour(panel: Any, session: Session, message: dict[str, Any]) -> None:
    panel.colour_by = message["by"]


def _checked(scores: Mapping[str, Any] | None, n: int) -> dict[str, NDArray[np.float64]]:
    """The scores as arrays, or an error that names the wrong one."""
    if scores is not None and not isinstance(scores, Mapping):
        raise TypeError(f"BatchLab: scores must be a dict by name, got {type(scores).__name__}.")
    checked = {}
    for name, values in (scores or {}).items():
        if not isinstance(name, str) or not name or name in BY:
            raise ValueError(f"BatchLab: scores need names of their own, other than {BY}; got {name!r}.")
        checked[name] = check_finite(values, "BatchLab", f"scores[{name!r}]", length=n).astype(float)
    return checked


def _answers(session: Session, sample: int) -> list[tuple[str, str]]:
    """The class of a sample, and the true one where it is wrong; its labels, or its target."""
    if session.has_classes:
        given, now = session.given.labels[session.kept[sample]], session.labels[sample]
        true = [("true class", session.classes[given])] if given != now else []
        return [("class", session.classes[now]), *true]
    if session.classes:
        names = [name for name, has in zip(session.classes, session.targets[sample]) if has]
        return [("labels", ", ".join(names) or "none")]
    return [] if session.shade is None else [("target", f"{session.shade[sample]:.4g}")]


def _curve(session: Session, sample: int) -> dict[str, Any]:
    """When a sample was drawn, of late, and what it cost then."""
    history = session.history
    batches, losses = history.indices, history.losses
    ends = np.cumsum([len(batch) for batch in batches])
    chosen = np.concatenate([np.empty(0, int), *batches])
    places = np.flatnonzero(chosen == sample)[-MOST_VISITS:]
    costs = np.concatenate([np.empty(0, np.float32), *losses])[places]
    first = history.steps - len(batches)
    steps = first + np.searchsorted(ends, places, side="right")
    known = [float(cost) if np.isfinite(cost) else None for cost in costs]
    words = "loss when drawn (log), and each visit"
    return {"steps": steps.tolist(), "losses": known, "last": history.steps, "words": words}


def _data_url(image: Any) -> str:
    file = io.BytesIO()
    image.save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
