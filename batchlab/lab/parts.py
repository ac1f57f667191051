"""The parts of the board: a control for each kind of setting, rows that wrap, the status line."""

from __future__ import annotations

import html
import math
from textwrap import shorten
from typing import Any

import ipywidgets as widgets

from batchlab.lab.session import CHANCES_UP_TO, FEEDBACK_LAG, Session
from batchlab.loaders import listens
from batchlab.parameters import Parameter

SLIDERS = (widgets.IntSlider, widgets.FloatSlider, widgets.FloatLogSlider)


def control_for(parameter: Parameter, value: Any) -> widgets.Widget:
    """The widget for a parameter, with its range, step and help."""
    common = {
        "value": value,
        "description": ", ".join(filter(None, (parameter.name.replace("_", " "), parameter.unit))),
        "tooltip": parameter.help,
        "style": {"description_width": "96px"},
        "layout": widgets.Layout(width="300px"),
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
        return widgets.FloatLogSlider(min=math.log10(low), max=math.log10(high), step=0.05, **common)
    step = (high - low) / 100
    if not math.isclose(parameter.default, low + step * round((parameter.default - low) / step)):
        step /= 10  # for 0.999, which a slider of hundredths would show as 1
    return widgets.FloatSlider(min=low, max=high, step=step, readout_format=".3", **common)


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
        description=label, icon=icon, tooltip=tip, layout=widgets.Layout(width="100px")
    )


def row(*parts: widgets.Widget) -> widgets.HBox:
    """A row that wraps: on a narrow page the controls take more lines, the picture stays wide."""
    return widgets.HBox(
        parts, layout=widgets.Layout(flex_flow="row wrap", align_items="center")
    )


def set_visible(widget: widgets.Widget, visible: bool) -> None:
    """Show or hide `widget`."""
    widget.layout.display = None if visible else "none"


def close(widget: widgets.Widget) -> None:
    """Take `widget` and all that is in it off the page and out of memory."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()


def status_of(session: Session, name: str) -> str:
    """What a run is doing and what it costs, in words; what cannot be shown is said."""
    clock = {kind: session.clock[kind] for kind in ("choosing", "training", "drawing")}
    total = sum(clock.values())
    parts = [
        f"step {session.history.steps}",
        f"epoch {getattr(session.sampler, 'epoch', '?')} of {html.escape(session.strategy)}",
        f"{session.steps_per_second:.0f} steps/s",
        ", ".join(f"{kind} {cost / total:.0%}" for kind, cost in clock.items() if total),
        f"losses reach the sampler up to {FEEDBACK_LAG} steps late"
        if listens(session.sampler)
        else "chooses without losses",
    ]
    for event in session.history.events[-1:]:
        change = html.escape(shorten(f"{event.name} = {event.value}", 50, placeholder=" …"))
        parts.append(f"last change: <b>{change}</b> at step {event.step}")
    if len(session.x) > CHANCES_UP_TO:
        parts.append(f"chances are not shown above {CHANCES_UP_TO} samples")
    return f"<b>{name}</b> " * bool(name) + " · ".join(filter(None, parts))
