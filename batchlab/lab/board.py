"""The board: every widget of a panel under a plain name, and one way in which all of them are heard."""

from __future__ import annotations

import html
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from batchlab.lab.drawing.screen import Screen
from batchlab.lab.page import Page
from batchlab.lab.parts import (
    button,
    control_for,
    details_of,
    grid,
    heard_from,
    row,
    set_control,
    set_visible,
    shows_alike,
    status_of,
    title_of,
)
from batchlab.lab.session import Session
from batchlab.lab.settings import DATA_SETTINGS, HAND, SETTINGS
from batchlab.parameters import Parameter

FIXED_DATA = (
    '<span title="Ready-made samplers know the data and the seed they were made for. Pass classes, '
    'or functions of (labels, batch_size, seed).">Label noise, imbalance and seed are fixed: the '
    "strategies are ready-made samplers.</span>"
)
# The one button that stays down while it trains says what it does next.
PLAY = {"description": "Play", "icon": "play", "tooltip": "train until Pause"}
PAUSE = {"description": "Pause", "icon": "pause", "tooltip": "stop after this batch"}
BUTTONS = {
    "Step": ("step-forward", "train one batch"),
    "10 steps": ("fast-forward", "train ten batches"),
    "Reset": ("refresh", "back to the first weights"),
    "Undo": ("undo", "put back the run that was thrown away last"),
}
SHARE_BUTTONS = {
    "Recipe": ("code", "the run as Python"),
    "Save": ("save", "the run as JSON, for BatchLab.load"),
    "CSV": ("save", "the curves"),
    "PNG": ("save", "the picture"),
    "SVG": ("save", "the picture, to print"),
}
DRAWERS = {
    "Details": ("info", "what the time is spent on"),
    "Batch microscope": ("search", "look at any past batch"),
    "Recipe, files, look": ("share-alt", "keep and share the run"),
}


class Board:
    """The widgets of a panel. They say what a reader does, and show what they are told to.

    Parameters
    ----------
    session : Session
        Whose settings there are.
    look : mapping of str to value
        Speed, theme and width.
    tell : callable
        Told ``(name, value)`` of everything that a reader does, on any thread. It must not wait.

    Attributes
    ----------
    controls : dict of str to Widget
        What a reader may use: settings under their names, all else under the words on it.
    status, said, error, details, recipe, written, past_words : HTML or Textarea
        What the panel says; `said` is for screen readers.
    settings : GridBox
        The controls of the settings.
    live : set of str
        The settings that wait for the next step.
    lock : RLock
        Held while a control is heard, or told what to show.
    screen, past_screen : Screen
        Where the run and the past batch are drawn.
    page : Page
        What the page tells of itself.
    """

    def __init__(
        self, session: Session, look: Mapping[str, Any], tell: Callable[[str, Any], None]
    ) -> None:
        self._tell = tell
        # Held while a control is heard or told what to show, on whatever thread: a value that a hand
        # has just given must not be overwritten by the one before.
        self.lock = threading.RLock()
        self.controls: dict[str, widgets.Widget] = {}
        self.status, self.error, self.written = (widgets.HTML() for _ in range(3))
        self.said, self.details, self.past_words = (widgets.HTML() for _ in range(3))
        self.said.add_class("batchlab-said")
        self.screen, self.past_screen, self.page = Screen(), Screen("past"), Page()
        self._lines: list[str] = []  # of the status
        self._build_settings(session, look)
        self._own = [name for name in self._declared if name not in SETTINGS]  # of some strategies
        common = [self.controls[name] for name in SETTINGS if name in self._declared]
        most = max(sum(name in session.settable(each) for name in self._own) for each in session.samplers)
        # As many places as the strategy needs that has most, so that nothing below moves.
        self._places = [widgets.HTML("&nbsp;") for _ in range(most)]
        self.settings = grid(*common, *map(self.controls.get, self._own), *self._places)
        self.controls["Play"] = play = widgets.ToggleButton(**PLAY, layout=widgets.Layout(width="96px"))
        buttons = [play, *self._build_buttons(BUTTONS), self._build_comparison()]
        parts = [
            row(*buttons, self._build_full_screen(), self.page),
            self.status,
            self.said,
            self.error,
            self.settings,
            self.screen,
            self._build_drawers(look),
        ]
        if not session.rebuildable:
            parts.insert(5, widgets.HTML(FIXED_DATA))
        self.widget = widgets.VBox(parts)
        self.widget.add_class("batchlab-panel")
        set_visible(self.controls["Undo"], False)
        # What a control was told to show, which need not be all that it can show.
        self._shown = {
            name: control.value for name, control in self.controls.items() if hasattr(control, "value")
        }
        for name, value in self._shown.items():
            self._grey_out(name, value)
        for name, control in self.controls.items():
            if name != "File":  # which is read when it is needed
                self._hear(control, name)
        self._hear(self.page, "page", ("seen", "narrow"))
        self._hear(self.screen.canvas, "page", ("live", "dark"))
        self._hear(self.past_screen.canvas, "page", ("live",))

    # -- building --------------------------------------------------------------------------------

    def _build_settings(self, session: Session, look: Mapping[str, Any]) -> None:
        """A control for each setting of any strategy, and for the speed."""
        self._declared: dict[str, Parameter] = {}
        for strategy in session.samplers:
            self._declared |= session.settable(strategy)
        for name in HAND:  # these are pointed at
            self._declared.pop(name, None)
        for name in look.keys() & self._declared.keys():
            raise ValueError(
                f"BatchLab: strategies have a setting named {name!r}, which is one of the panel's own. "
                "Give it another name."
            )
        self._declared["speed"] = SETTINGS["speed"]
        self.live = self._declared.keys() - set(DATA_SETTINGS)
        values = {**session.settings, **look}
        for name, parameter in self._declared.items():
            value = values.get(name, parameter.default)
            self.controls[name] = control_for(parameter, value, title_of(name, session))
            if name in DATA_SETTINGS:  # each value throws the run away
                self.controls[name].continuous_update = False

    def _build_full_screen(self) -> widgets.Widget:
        """A button for the page alone, which lets nothing but a click fill the screen."""
        full = button("Full screen", "expand", "fill the screen with the panel; again to go back")
        full.add_class("batchlab-full-screen")
        return full

    def _build_buttons(self, described: Mapping[str, tuple[str, str]]) -> list[widgets.Widget]:
        made = {label: button(label, *words) for label, words in described.items()}
        self.controls |= made
        return list(made.values())

    def _build_comparison(self) -> widgets.Widget:
        """Whether there are two runs, and whose settings the sliders are."""
        compare = widgets.Checkbox(
            description="compare with B",
            tooltip="a second run from the same first weights and seed; both start anew",
            indent=False,
            layout=widgets.Layout(width="130px"),
        )
        shown = widgets.ToggleButtons(
            options={"A": 0, "B": 1},
            tooltips=["the sliders show and change run A", "the sliders show and change run B"],
            style={"button_width": "34px"},
        )
        self.controls |= {"Compare with B": compare, "Shown run": shown}
        return widgets.HBox([compare, shown])

    def _build_drawers(self, look: Mapping[str, Any]) -> widgets.Widget:
        """What is closed at first: details, the batch microscope, the recipe and the files."""
        inside = (self.details, self._build_microscope(), self._build_share(look))
        self._drawers = dict(zip(DRAWERS, inside))
        for name, (icon, tip) in DRAWERS.items():
            self.controls[name] = widgets.ToggleButton(
                description=name, icon=icon, tooltip=tip, layout=widgets.Layout(width="auto")
            )
            self.controls[name].add_class("batchlab-drawer")
            set_visible(self._drawers[name], False)
        return widgets.VBox([row(*map(self.controls.get, DRAWERS)), *self._drawers.values()])

    def _build_microscope(self) -> widgets.Widget:
        self.controls["Past step"] = slider = widgets.IntSlider(
            0,
            0,
            0,
            description="step",
            tooltip="which past batch to look at",
            layout=widgets.Layout(width="90%"),
        )
        return widgets.VBox([slider, self.past_words, self.past_screen])

    def _build_share(self, look: Mapping[str, Any]) -> widgets.Widget:
        for name in ("theme", "width"):
            self.controls[name] = control_for(SETTINGS[name], look[name])
            self.controls[name].layout.width = "180px"
        self.controls["File"] = file = widgets.Text(
            "batchlab_run", description="file", tooltip="name without ending, in this folder"
        )
        self.recipe = widgets.Textarea(
            description="", rows=18, layout=widgets.Layout(width="100%", display="none")
        )
        looks, buttons = map(self.controls.get, ("theme", "width")), self._build_buttons(SHARE_BUTTONS)
        return widgets.VBox([row(*looks, file, *buttons), self.written, self.recipe])

    # -- hearing ---------------------------------------------------------------------------------

    def _hear(
        self, control: widgets.Widget, name: str, traits: Sequence[str] = ("value",)
    ) -> None:
        """Let what a reader does to `control` be told under `name`."""
        # Widgets live as long as the kernel. What they refer to need not: model, data and record.
        board = weakref.ref(self)

        def heard(change: Any) -> None:
            if (there := board()) is not None:
                there._heard(name, None if change is control else change["new"])

        if isinstance(control, widgets.Button):
            control.on_click(heard)
        else:
            control.observe(heard, list(traits))

    def _heard(self, name: str, value: Any) -> None:
        """Tell it; what is raised is shown in the panel: elsewhere it would be lost."""
        try:
            with self.lock:
                self._hear_value(name, value)
        except Exception:
            self.show_traceback()

    def _hear_value(self, name: str, value: Any) -> None:
        if name in self._shown:
            value = heard_from(self.controls[name], value)
            # A slider gives back what it is told to show, rounded to its own steps: no change.
            if shows_alike(self.controls[name], value, self._shown[name]):
                return
            self._shown[name] = value
            self._grey_out(name, value)
        if name in self._drawers:
            set_visible(self._drawers[name], value)
        self._tell(name, value)

    # -- showing ---------------------------------------------------------------------------------

    def show(self, name: str, value: Any) -> None:
        """Show a setting as it is, if there is a control for it and it shows another value."""
        if name in self._shown and not shows_alike(self.controls[name], value, self._shown[name]):
            self._show(name, value)

    def _show(self, name: str, value: Any) -> None:
        self._shown[name] = value
        set_control(self.controls[name], value)
        self._grey_out(name, value)

    def shown_of(self, sessions: Sequence[Session]) -> Session:
        """The session whose settings the sliders show."""
        return sessions[min(self.controls["Shown run"].value, len(sessions) - 1)]

    def show_settings(self, sessions: Sequence[Session], strategy: str | None = None) -> None:
        """Show the settings that a strategy has, the present one by default, and their values."""
        session = self.shown_of(sessions)
        strategy = strategy or session.strategy
        settable = session.settable(strategy)
        for name in self._own:
            set_visible(self.controls[name], name in settable)
        for number, place in enumerate(self._places):
            set_visible(place, number >= sum(name in settable for name in self._own))
        values = {name: session.value(name, strategy) for name in settable if name in self._declared}
        for name, value in {**values, "strategy": strategy}.items():
            self._show(name, value)

    def _grey_out(self, changed: str, value: Any) -> None:
        """Disable what does nothing while a setting has this value, and only that."""
        for name, parameter in self._declared.items():
            if parameter.when is not None and parameter.when[0] == changed:
                self.controls[name].disabled = parameter.when[1] != value

    def show_undo(self, possible: bool) -> None:
        """Offer to put back a run, or do not."""
        set_visible(self.controls["Undo"], possible)

    def show_runs(self, sessions: Sequence[Session]) -> None:
        """Show whether there are two runs."""
        both = len(sessions) > 1
        self._show("Compare with B", both)
        set_visible(self.controls["Shown run"], both)
        if not both:
            self._show("Shown run", 0)
        self.show_settings(sessions)

    def show_values(self, sessions: Sequence[Session], but: set[str]) -> None:
        """Show settings as they are: refused ones, and ratios that gave way; `but` not these."""
        for name, value in self.shown_of(sessions).settings.items():
            if name not in but:
                self.show(name, value)

    def show_status(self, state: str, playing: bool, sessions: Sequence[Session]) -> None:
        """Say what the runs are doing and what they cost."""
        names = ("A", "B") if len(sessions) > 1 else ("",)
        others = (None, sessions[0])
        self._lines = [status_of(*each) for each in zip(sessions, names, others)]
        details = "<br>".join(details_of(session, name) for name, session in zip(names, sessions))
        self.details.value = f'<div class="batchlab-words">{details}</div>'
        if self.controls["Batch microscope"].value:
            steps = self.shown_of(sessions).history.steps
            self.controls["Past step"].max = max(steps - 1, 0)
        self.show_state(state, playing)

    def show_state(self, state: str, playing: bool) -> None:
        """Say whether it trains; of the runs, what was said last."""
        self.show("Play", playing)
        for name, word in (PAUSE if playing else PLAY).items():
            setattr(self.controls["Play"], name, word)
        mark = "▶" if playing else "❙❙"
        words = "<br>".join(f"{mark} {line}" for line in self._lines)
        self.status.value = f'<div class="batchlab-words">{words} · {html.escape(state)}</div>'
        self.said.value = html.escape(state)

    def show_error(self, error: Exception) -> None:
        """Say what was refused, in a line."""
        self.error.value = f'<b class="batchlab-error">{html.escape(str(error))}</b>'

    def show_traceback(self) -> None:
        """Show the exception that is being handled: what it says, and where it was raised."""
        *_, last = traceback.format_exception_only(*sys.exc_info()[:2])
        where = html.escape(traceback.format_exc())
        self.error.value = (
            f'<b class="batchlab-error">{html.escape(last)}</b>'
            f"<details><summary>where it was raised</summary><pre>{where}</pre></details>"
        )

    def show_recipe(self, code: str) -> None:
        """Show the run as Python."""
        self.recipe.value = code
        set_visible(self.recipe, True)

    def disable(self) -> None:
        """Let nothing be used any more."""
        for control in self.controls.values():
            control.disabled = True
