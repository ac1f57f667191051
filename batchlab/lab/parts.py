"""The parts of the board: a control for each kind of setting, rows that wrap, the status line."""

from __future__ import annotations

import html
import math
from typing import Any

import ipywidgets as widgets
import numpy as np

from batchlab.lab.session import CHANCES_UP_TO, FEEDBACK_LAG, Session
from batchlab.parameters import Parameter
from batchlab.samplers.foreign import listens

DIGITS = 4  # of a number on a logarithmic scale
SLIDERS = (widgets.IntSlider, widgets.FloatSlider, widgets.FloatLogSlider)


def title_of(name: str, session: Session) -> str:
    """What to call a setting on the page: "ratio of inner" where the sampler knows class 1 only."""
    for value, word in zip(session.given.groups.tolist(), session.classes):
        if name == f"ratio_{value}":
            return f"ratio {word}"
    return name.replace("_", " ")


def control_for(parameter: Parameter, value: Any, title: str = "") -> widgets.Widget:
    """The widget for a parameter, with its range, step and help."""
    title = title or parameter.name.replace("_", " ")
    common = {
        "value": value,
        "description": title,
        "tooltip": ", in ".join(filter(None, (parameter.help, parameter.unit))),
        "style": {"description_width": "96px"},
        "layout": widgets.Layout(width="auto"),
    }
    if parameter.choices is not None:
        return widgets.Dropdown(options=parameter.choices, **common)
    if parameter.kind is bool:
        return widgets.Checkbox(**common, indent=True)
    low, high = parameter.slider or (parameter.low, parameter.high)
    low, high = min(low, value), max(high, value)
    if parameter.kind is int:
        return widgets.IntSlider(min=low, max=high, **common)
    if parameter.log:
        ends = {"min": math.log10(low), "max": math.log10(high), "step": 0.05}
        return widgets.FloatLogSlider(**ends, readout_format=f".{DIGITS}", **common)
    step = _round_step(low, high, parameter.default)
    return widgets.FloatSlider(min=low, max=high, step=step, readout_format=".6", **common)


def _round_step(*marks: float) -> float:
    """A power of ten with fifty steps or more between the marks, one that meets them all if it can."""
    power = math.floor(math.log10((max(marks) - min(marks)) / 50 or 1))
    steps = [round(10.0**each, 12) for each in (power, power - 1, power - 2)]
    meeting = (s for s in steps if all(abs(m / s - round(m / s)) < 1e-6 for m in marks))
    return next(meeting, steps[0])


def heard_from(control: widgets.Widget, value: Any) -> Any:
    """The value that a slider means: a short one, as it shows it, not 0.0001122018454301963."""
    if isinstance(control, widgets.FloatLogSlider):
        return float(f"{value:.{DIGITS}g}")
    return float(f"{value:.10g}") if isinstance(value, float) else value


def set_control(control: widgets.Widget, value: Any) -> None:
    """Let `control` show `value`, also where that lies beyond the ends of a slider."""
    if isinstance(control, SLIDERS):
        level = _level(control, value)
        control.min, control.max = min(control.min, level), max(control.max, level)
    control.value = value


def shows_alike(control: widgets.Widget, one: Any, two: Any) -> bool:
    """Whether `control` shows both values in the same way: a slider has steps."""
    if not isinstance(control, SLIDERS):
        return one == two
    steps = ((_level(control, value) - control.min) / control.step for value in (one, two))
    return len({math.floor(step + 0.5) for step in steps}) == 1


def _level(control: widgets.Widget, value: float) -> float:
    """Where a slider shows `value`, in the units of its ends: powers of ten on a logarithmic one."""
    if isinstance(control, widgets.FloatLogSlider):
        return math.log10(value) if value > 0 else control.min
    return value


def button(label: str, icon: str, tip: str) -> widgets.Button:
    """A button with a word, a picture and an explanation."""
    return widgets.Button(
        description=label, icon=icon, tooltip=tip, layout=widgets.Layout(width="auto")
    )


def row(*parts: widgets.Widget) -> widgets.HBox:
    """A row that wraps: on a narrow page the controls take more lines, the picture stays wide."""
    return widgets.HBox(
        parts, layout=widgets.Layout(flex_flow="row wrap", align_items="center")
    )


def grid(*parts: widgets.Widget) -> widgets.GridBox:
    """As many columns as there is room for, all of one width."""
    columns = "repeat(auto-fill, minmax(236px, 1fr))"
    box = widgets.GridBox(
        parts, layout=widgets.Layout(grid_template_columns=columns, grid_gap="0 8px")
    )
    box.add_class("batchlab-settings")
    return box


def set_visible(widget: widgets.Widget, visible: bool) -> None:
    """Show or hide `widget`."""
    widget.layout.display = None if visible else "none"


def close(widget: widgets.Widget) -> None:
    """Take `widget` and all that is in it off the page and out of memory."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()


def short(value: Any) -> str:
    """A value in a line of words: plain, and not long."""
    if isinstance(value, float) and abs(value) < 10**DIGITS:
        return np.format_float_positional(float(f"{value:.{DIGITS}g}"), trim="-")
    text = f"{value:.0f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:36]} …"


def status_of(session: Session, name: str, beside: Session | None = None) -> str:
    """How far a run is, how good, `beside` another run too, and what was changed last."""
    steps = f"{session.history.steps:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    parts = [f"step <b>{steps}</b>", f"epoch {getattr(session.sampler, 'epoch', '?')}"]
    if session.scores:
        parts.append(f"{html.escape(session.score_name)} {_score(session, beside)}")
    for event in session.history.events[-1:]:
        change = f"{title_of(event.name, session)} = {short(event.value)}"
        parts.append(f"{html.escape(change)} since step {event.step}")
    return f"<b>{name}</b> " * bool(name) + " · ".join(parts)


def _score(session: Session, beside: Session | None) -> str:
    """The newest score, and how much more or less that is than another run had at the same step."""
    step, score = session.scores[-1]
    share = session.score_name == "balanced accuracy"
    words = f"<b>{score:.0%}</b>" if share else f"<b>{short(score)}</b>"
    if beside is not None and (other := dict(beside.scores).get(step)) is not None:
        more = score - other
        words += f" ({100 * more:+.0f} points on A)" if share else f" ({more:+.3g} on A)"
    return words


def details_of(session: Session, name: str) -> str:
    """What a run costs, in words; what cannot be shown is said."""
    clock = {kind: session.clock[kind] for kind in ("choosing", "training", "drawing")}
    total = sum(clock.values())
    parts = [
        f"strategy {html.escape(session.strategy)}",
        f"{session.steps_per_second:.0f} steps/s",
        ", ".join(f"{kind} {cost / total:.0%}" for kind, cost in clock.items() if total),
        f"losses reach the sampler up to {FEEDBACK_LAG} steps late"
        if listens(session.sampler)
        else "chooses without losses",
    ]
    if len(session.x) > CHANCES_UP_TO:
        parts.append(f"chances are not shown above {CHANCES_UP_TO} samples")
    return f"<b>{name}</b> " * bool(name) + " · ".join(filter(None, parts))
