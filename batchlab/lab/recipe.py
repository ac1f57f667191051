"""A run as plain Python that repeats it, and as a small JSON file.

What a learner must fill in — the data, a model or a class of their own — is a line with ``...`` and
the words FILL IN.
"""

from __future__ import annotations

import ast
import csv
import inspect
import io
import json
import keyword
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import batchlab
from batchlab.files import write_whole
from batchlab.lab.data import Loaded
from batchlab.lab.experiment import small_network
from batchlab.lab.session import Events, Session
from batchlab.lab.settings import DATA_SETTINGS
from batchlab.parameters import Schedule
from batchlab.samplers.draws.state import fingerprint

FORMAT, VERSION = "batchlab run", 1
# Arrays of a sampler's own, such as weights, are written out up to so many numbers.
WRITTEN_OUT = 1000
# Names that a recipe uses itself.
_TAKEN = {"x", "y", "np", "keras", "validation_data", "make_model", "strategies", "session", "a", "b"}


def grouped(changes: Sequence[Sequence[Any]]) -> Events:
    """Changes as `Session.run` takes them; in pairs where the order within a step counts."""
    events: dict[int, Any] = {}
    for step, group in groupby(changes, key=lambda change: change[0]):
        pairs = [tuple(change) for _, *change in group]
        names = [name for name, *_ in pairs]
        plain = len(set(names)) == len(names) and "strategy" not in names[1:]
        plain = plain and all(len(pair) == 2 for pair in pairs)
        events[step] = dict(pairs) if plain else pairs
    return events


def changes_of(session: Session) -> tuple[list[tuple[int, str, Any]], list[tuple[str, Any]]]:
    """The changes that steps were trained with, and those made since the last step."""
    steps = session.history.steps
    changes = [(event.step, event.name, event.value) for event in session.history.events]
    return (
        [change for change in changes if change[0] < steps],
        [(name, value) for step, name, value in changes if step >= steps],
    )


def recipe(sessions: Sequence[Session]) -> str:
    """Python code with batchlab's public names that repeats the runs, bit for bit."""
    writer = _Writer(sessions[0])
    body = [*writer.data(), *writer.model(len(sessions)), *writer.strategies()]
    for name, session in zip(("a", "b") if len(sessions) > 1 else ("session",), sessions):
        body += ["", *writer.run(session, name)]
    return "\n".join([*writer.head("\n".join(body)), *body]) + "\n"


class _Writer:
    """The parts of a recipe."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.public = {"Session"}
        self.own: dict[Any, str] = {}  # the user's own classes and functions, and their names here
        self.to_fill: list[str] = []

    def head(self, body: str) -> list[str]:
        lines = [f"from batchlab import {', '.join(sorted(self.public))}"]
        if "np." in body:
            lines.insert(0, "import numpy as np")
        if "keras." in body:
            lines.append("from batchlab.backend import keras")
        return [*lines, ""]

    def data(self) -> list[str]:
        session = self.session
        n, *shape = session.given.x.shape
        lines = [f"x, y = ...  # FILL IN: your data, {n} samples of shape {tuple(shape)}"]
        if isinstance(session.given.x, Loaded):
            lines.append("load = ...  # FILL IN: your function that makes a batch of rows of x")
        if session.given.grouped:
            lines.append(f"groups = ...  # FILL IN: the class of each of the {n} samples")
        if session.validation_data is not None:
            lines.append("validation_data = ...  # FILL IN: your validation data, (x, y)")
        return lines

    def model(self, runs: int) -> list[str]:
        session = self.session
        if not session.default_model:
            each = ", for each run a new one" if runs > 1 else ""
            return [
                "",
                "",
                "def make_model():",
                f"    return ...  # FILL IN: {session.model.name!r}, compiled, with the weights it "
                f"started with{each}",
                "",
            ]
        return ["", "", *inspect.getsource(small_network).splitlines(), ""]

    def strategies(self) -> list[str]:
        makers = self.session.makers
        lines = [f"    {name!r}: {self._maker(maker)}," for name, maker in makers.items()]
        moved = [
            f"strategies[{name!r}].load_state_dict({maker.state_dict()!r})"
            for name, maker in makers.items()
            if _is_built(maker) and maker.state_dict() != _built_again(maker).state_dict()
        ]
        return ["", *self.to_fill, "strategies = {", *lines, "}", *moved]

    def run(self, session: Session, name: str) -> list[str]:
        model = "make_model()"
        if session.default_model:
            seed = session.data_settings["seed"]
            shape, classes = session.x.shape[1:], len(session.given.answers)
            model = f"small_network({shape}, classes={classes}, seed={seed})"
        options = [f"batch_size={session.batch_size}", f"classes={session.classes or None!r}"]
        if session.given.grouped:
            options.append("groups=groups")
        if isinstance(session.given.x, Loaded):
            options.append("load=load")
        if session.validation_data is not None:
            options.append("validation_data=validation_data")
        if session.rebuildable:
            options += [f"{key}={session.data_settings[key]!r}" for key in DATA_SETTINGS]
        lines = [
            f"{name} = Session(",
            f"    x, y, {model}, strategies,",
            f"    {', '.join(options)},",
            ")",
        ]
        trained, since = changes_of(session)
        if session.history.steps:
            changes = [f"        {step}: {event!r}," for step, event in grouped(trained).items()]
            events = ["    events={", *changes, "    },"] if changes else []
            lines += [f"{name}.run(", f"    {session.history.steps},", *events, ")"]
        return lines + [f"{name}.apply({setting!r}, {value!r})" for setting, value in since]

    def _maker(self, maker: Any) -> str:
        """A class or function by its name, a ready-made sampler as the call that makes it."""
        if isinstance(maker, type) or not hasattr(maker, "__iter__"):
            return self._name_of(maker)
        if not _is_built(maker):  # not one of ours
            return self._filled_in("sampler", "sampler that you made yourself")
        arguments = [f"{name}={self._code(name, it)}" for name, it in maker.built_with.items()]
        return f"{self._name_of(type(maker))}({', '.join(arguments)})"

    def _name_of(self, own: Any) -> str:
        name = getattr(own, "__name__", type(own).__name__)
        if getattr(batchlab, name, None) is own:
            self.public.add(name)
            return name
        if own not in self.own:
            # A name may be anything, also code; and of two classes of one name, one needs another.
            taken = name in self.own.values() or name in _TAKEN or hasattr(batchlab, name)
            usable = name.isidentifier() and not keyword.iskeyword(name) and not taken
            self.own[own] = name if usable else f"strategy_{len(self.own) + 1}"
            shown = name if usable else repr(name)
            self.to_fill.append(f"{self.own[own]} = ...  # FILL IN: define or import your own {shown}")
        return self.own[own]

    def _code(self, name: str, value: Any) -> str:
        """The argument `name` of a sampler, as code that gives `value`."""
        session = self.session
        given, y = session.given, session.given.y
        if name == "n" and value == len(y):
            return "len(y)"
        if isinstance(value, Schedule):
            self.public.add("Schedule")
            return repr(value)
        if _is_built(value):
            return self._maker(value)
        if isinstance(value, Mapping) and any(map(_is_built, value.values())):
            return f"{{{', '.join(f'{key!r}: {self._maker(it)}' for key, it in value.items())}}}"
        value = value.item() if isinstance(value, np.generic) else value
        if _is_literal(value):
            return repr(value)
        array = np.asarray(value)
        known_data = {"y": y} if isinstance(given.x, Loaded) else {"x": given.x, "y": y}
        if given.grouped:
            known_data["groups"] = given.groups[given.labels]
        for known, data in known_data.items():
            if np.array_equal(array, data):
                return known
        if array.ndim and array.size <= WRITTEN_OUT and array.dtype.kind in "biufU":
            dtype = "" if array.dtype.kind == "U" else f", {array.dtype.name!r}"
            return f"np.array({array.tolist()!r}{dtype})"
        return self._filled_in(name, f"{name} that this sampler was given")

    def _filled_in(self, name: str, what: str) -> str:
        variable = f"{name}_{len(self.to_fill) + 1}"
        self.to_fill.append(f"{variable} = ...  # FILL IN: the {what}")
        return variable


def _is_built(value: Any) -> bool:
    """Whether this is a ready-made sampler that knows what it was built with."""
    return not isinstance(value, type) and hasattr(value, "built_with")


def _built_again(value: Any) -> Any:
    """A sampler as it was when it was built, with those inside it; anything else unchanged."""
    if isinstance(value, Mapping):
        return {key: _built_again(it) for key, it in value.items()}
    if not _is_built(value):
        return value
    return type(value)(**_built_again(value.built_with))


def _is_literal(value: Any) -> bool:
    """Whether this is a single value, or a dict of them, and its text is Python for the same."""
    single = value is None or isinstance(value, (bool, int, float, str, Mapping))
    try:
        return single and ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False


# -- files ---------------------------------------------------------------------------------------


def save(path: str | Path, sessions: Sequence[Session], pace: str) -> None:
    """Write settings, events and steps as JSON; data and model are only described."""
    state = {
        "format": FORMAT,
        "version": VERSION,
        **_described(sessions[0]),
        "pace": pace,
        "runs": [
            {
                "settings": session.data_settings,
                "steps": session.history.steps,
                "events": [event.plain() for event in session.history.events],
            }
            for session in sessions
        ],
    }
    write_whole(path, json.dumps(state, indent=1), "BatchLab.save")


def read(path: str | Path) -> dict[str, Any]:
    """What :func:`save` wrote, or a ValueError that says what is wrong with the file."""
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError("it was not written by BatchLab.save")
        if state["version"] != VERSION:
            raise ValueError(f"it has version {state['version']!r}, and this batchlab reads {VERSION}")
        for run in state["runs"]:
            if set(run["settings"]) != set(DATA_SETTINGS) or not isinstance(run["steps"], int):
                raise ValueError("a run in it is damaged")
            run["events"] = [
                (int(step), str(name), value, *map(bool, drag))
                for step, name, value, *drag in run["events"]
            ]
        if not 1 <= len(state["runs"]) <= 2 or not {"data", "first weights", "batch_size"} <= set(state):
            raise ValueError("parts of it are missing")
    except (ValueError, KeyError, TypeError) as error:  # JSON and Unicode errors are ValueErrors
        raise ValueError(f"BatchLab.load: {path} is no saved run: {error}.") from error
    return state


def replay(session: Session, run: dict[str, Any]) -> None:
    """Train as a saved run did."""
    steps = run["steps"]
    if steps:
        session.run(steps, grouped([event for event in run["events"] if event[0] < steps]))
    for _, *change in (event for event in run["events"] if event[0] >= steps):
        session.apply(*change)


def check_same(session: Session, state: dict[str, Any], path: str | Path) -> None:
    """Refuse to replay a run on other data, strategies or first weights."""
    for part, own in _described(session).items():
        if state[part] != own:
            raise ValueError(
                f"BatchLab.load: {path} was saved with other {part}: {state[part]}, here {own}. "
                f"Pass the {part} that the run was made with."
            )


def _described(session: Session) -> dict[str, Any]:
    given = session.given
    strategies = {name: _kind(maker) for name, maker in session.makers.items()}
    first = b"".join(value.tobytes() for value in session._first_values)
    return {
        "data": {
            "n": len(given.x),
            "shape": list(given.x.shape[1:]),
            "x": fingerprint(given.seen),
            "y": fingerprint(given.targets),
            "classes": [str(value) for value in given.groups],
            **({"groups": fingerprint(given.labels)} if given.grouped else {}),
        },
        "strategies": strategies,
        "batch_size": session.batch_size,
        # Of the default model the seed says it all.
        "first weights": None
        if session.default_model
        else fingerprint(np.frombuffer(first, np.uint8)),
    }


def _kind(maker: Any) -> Any:
    """What must be the same about a strategy: its class or function, or a sampler's state."""
    if hasattr(maker, "state_dict") and not isinstance(maker, type):
        return json.loads(json.dumps(maker.state_dict()))
    return getattr(maker, "__name__", type(maker).__name__)


def write_curves(path: str | Path, sessions: Sequence[Session]) -> None:
    """Write the curves as CSV: run, step, and one column per curve, empty where not measured."""
    file = io.StringIO()
    writer = csv.writer(file)
    names = list(sessions[0].curves)
    writer.writerow(["run", "step", *names])
    for run, session in zip("AB", sessions):
        curves = [dict(zip(*map(np.ndarray.tolist, curve))) for curve in session.curves.values()]
        for step in sorted(set().union(*curves)):
            writer.writerow([run, step, *(curve.get(step, "") for curve in curves)])
    write_whole(path, file.getvalue(), "BatchLab.export_curves")
