"""The live panel: sliders and buttons on one side, a training thread on the other."""

from __future__ import annotations

import html
import math
import threading
import time
import traceback
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython

from batchlab.backend import keras
from batchlab.history import History
from batchlab.lab.controls import Controls
from batchlab.lab.picture import Picture
from batchlab.lab.session import FEEDBACK_LAG, Session
from batchlab.lab.settings import DATA_SETTINGS
from batchlab.samplers import Parameter

FRAMES_PER_SECOND = 10
# Settings that every strategy has.
ALWAYS = ("strategy", "learning_rate", "steps_per_second")
SLIDERS = (widgets.IntSlider, widgets.FloatSlider, widgets.FloatLogSlider)
# At most this share of the time goes to drawing, so that a slow picture cannot starve the training.
DRAWING_SHARE = 0.25
# The panel of each notebook cell that has one: running the cell again replaces it.
_PANEL_OF_CELL: weakref.WeakValueDictionary[str, BatchLab] = weakref.WeakValueDictionary()


class BatchLab:
    """Train live, and change the batches while it trains.

    The cell that makes a panel returns at once: training goes on in the background until Pause,
    `max_steps`, or until the cell is run again. Every change of a control is an event that takes
    effect at the next batch and is kept in ``lab.history.events``.

    Parameters
    ----------
    x : array_like of float, shape (n, ...)
        Inputs. With two features the panel draws the decision surface.
    y : array_like of int or str, shape (n,)
        Classes.
    model : keras.Model, optional
        Compiled, for class numbers from 0 in the order of the sorted class names. It is trained in
        place. By default a dense network with two layers of 32 units and Adam at 0.01.
    strategies : mapping of str to sampler, optional
        Samplers by the name to show; the first one starts. The panel works with copies. By default
        random, class-balanced, stratified, prioritized and sequential.
    batch_size : int, default 32
        Samples per batch of the default strategies.
    classes : sequence of str, optional
        Names to show for the classes, in the order of their numbers.
    validation_data : tuple of (x, y), optional
        What balanced accuracy is computed on (its first 1 000 samples); by default the training
        data.
    max_steps : int, default 20000
        Playing pauses after so many steps, in case nobody is there to press Pause.

    Raises
    ------
    TypeError, ValueError
        If the data, a sampler or the model does not fit; nothing has been trained then.

    Examples
    --------
    >>> import numpy as np
    >>> from batchlab import BatchLab, datasets
    >>> data = datasets.moons()
    >>> lab = BatchLab(data.x_train, data.y_train)
    >>> history = lab.run(40, events={20: {"strategy": "class-balanced", "balance": 0.5}})
    >>> [(event.step, event.name, event.value) for event in history.events]
    [(20, 'strategy', 'class-balanced'), (20, 'balance', 0.5)]
    """

    steps_per_second = Parameter(100.0, "how fast to train", low=0.1, slider=(1, 1000), log=True)

    def __init__(
        self,
        x: Any,
        y: Any,
        model: keras.Model | None = None,
        strategies: Mapping[str, Any] | None = None,
        *,
        batch_size: int = 32,
        classes: Sequence[str] | None = None,
        validation_data: tuple[Any, Any] | None = None,
        max_steps: int = 20_000,
    ) -> None:
        self.max_steps = Parameter(1, low=1, name="max_steps").check(max_steps, "BatchLab")
        self._session = Session(
            x,
            y,
            model,
            strategies,
            batch_size=batch_size,
            classes=classes,
            validation_data=validation_data,
        )
        self._picture = Picture([self._session])
        self._controls = Controls()
        # Held while the session trains, draws or is reset; never by a widget callback.
        self._busy = threading.RLock()
        self._thread: threading.Thread | None = None
        self._build_widgets()
        cell = _present_cell()
        if cell is not None:
            if cell in _PANEL_OF_CELL:
                _PANEL_OF_CELL[cell].stop()
            _PANEL_OF_CELL[cell] = self

    # -- from Python -----------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """What was chosen so far, and every live change."""
        return self._session.history

    @property
    def model(self) -> keras.Model:
        """The model, as trained so far."""
        return self._session.model

    @property
    def sampler(self) -> Any:
        """The sampler at work."""
        return self._session.sampler

    @property
    def playing(self) -> bool:
        """Whether it trains in the background."""
        return self._controls.playing

    def run(self, steps: int, events: Mapping[int, Mapping[str, Any]] | None = None) -> History:
        """Train now, in this thread, with changes at stated steps, as the sliders would make them.

        Parameters
        ----------
        steps : int
            How many steps to train.
        events : mapping of int to mapping of str to value, optional
            ``{step: {name: value}}``; steps count from the start of the session.

        Returns
        -------
        History
            The record of the whole session.

        Raises
        ------
        TypeError, ValueError
            If a setting, a value or a step is not possible. Nothing has been trained then.
        """
        self.pause()
        with self._busy:
            self._take_changes()
            self._session.run(steps, events)
        self._show_settings()
        self._show_picture()
        return self.history

    def play(self) -> None:
        """Train in the background until told otherwise."""
        self._start(float("inf"))

    def pause(self) -> None:
        """Stop training at the next batch boundary."""
        self._controls.pause()

    def step(self, steps: int = 1) -> None:
        """Train some steps in the background, then pause."""
        self._start(Parameter(1, low=1, name="steps").check(steps, "BatchLab.step"))

    def reset(self) -> None:
        """Back to step 0 and the first weights; the sliders stay where they are."""
        self.pause()
        with self._busy:
            self._session.reset()
        self._error.value = ""
        for name, control in self._settings.items():
            if control.layout.display != "none":
                self._controls.write(name, control.value)
        self._show_picture()

    def stop(self) -> None:
        """End the background training for good; a new panel is needed to train again."""
        self._controls.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)
        self._show_status()

    # -- the training thread -----------------------------------------------------------------------

    def _start(self, steps: float) -> None:
        self._error.value = ""
        if self._controls.go(steps):
            self._thread = threading.Thread(target=self._work, name="BatchLab", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        draw_at = 0.0
        while steps := self._controls.claim(self._steps_at_once()):
            began = time.monotonic()
            try:
                with self._busy:
                    self._take_changes()
                    self._session.advance(steps)
                    self._session.score_if_due()
                if time.monotonic() >= draw_at:
                    cost = self._show_picture()
                    draw_at = time.monotonic() + max(1 / FRAMES_PER_SECOND, cost / DRAWING_SHARE)
            except Exception:  # whatever the model or a sampler may raise: show it, stay alive
                self.pause()
                self._error.value = f"<pre>{html.escape(traceback.format_exc())}</pre>"
            if self.history.steps >= self.max_steps:
                self.pause()
            self._controls.sleep(max(steps / self.steps_per_second - (time.monotonic() - began), 0))
        self._show_picture()

    def _steps_at_once(self) -> int:
        """As many as fit into a twentieth of a second, so that a slider is heard at once."""
        return max(1, min(round(self.steps_per_second / 20), FEEDBACK_LAG))

    def _take_changes(self) -> None:
        for name, value in self._controls.take_values().items():
            if name == "steps_per_second":
                self.steps_per_second = value
                continue
            try:
                self._session.apply(name, value)
                self._error.value = ""
            except (TypeError, ValueError) as error:  # the sampler has stayed as it was: go on
                self._error.value = f"<b>{html.escape(str(error))}</b>"
            self._show_what_differs()

    def _show_what_differs(self) -> None:
        """Show settings as they are: refused ones, and ratios that gave way to another."""
        for name in self._session.names_of(self._session.sampler):
            value = self._session.value(name)
            if _place(self._settings[name], value) != _place(self._settings[name], self._shown[name]):
                self._show(name, value)

    # -- what is seen ------------------------------------------------------------------------------

    def _build_widgets(self) -> None:
        session = self._session
        buttons = {
            "Play": (self.play, "play", "train until Pause"),
            "Pause": (self.pause, "pause", "stop after this batch"),
            "Step": (self.step, "step-forward", "train one batch"),
            "Reset": (self.reset, "refresh", "back to the first weights"),
        }
        row = []
        for label, (act, icon, tip) in buttons.items():
            button = widgets.Button(
                description=label, icon=icon, tooltip=tip, layout=widgets.Layout(width="82px")
            )
            button.on_click(self._on_click(act))
            row.append(button)
        self._settings = {"strategy": _control(session.parameters["strategy"], session.strategy)}
        for name, parameter in session.parameters.items():
            if name not in ("strategy", *DATA_SETTINGS):
                self._settings[name] = _control(parameter, parameter.default)
        self._settings["steps_per_second"] = _control(type(self).steps_per_second, self.steps_per_second)
        self._shown = {name: control.value for name, control in self._settings.items()}
        for name, control in self._settings.items():
            control.observe(self._on_change(name), "value")
        self._image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self._status = widgets.HTML(layout=widgets.Layout(margin="0 0 0 16px"))
        self._error = widgets.HTML()
        # Rows that wrap: on a narrow page the controls take more lines, the picture stays wide.
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        buttons_and_status = widgets.HBox([*row, self._status], layout=wrap)
        settings = widgets.HBox(list(self._settings.values()), layout=wrap)
        self.widget = widgets.VBox([buttons_and_status, settings, self._image, self._error])
        self._show_settings()

    def _on_click(self, act: Any) -> Any:
        def clicked(_: Any) -> None:
            act()
            self._show_status()

        return clicked

    def _on_change(self, name: str) -> Any:
        def changed(change: dict[str, Any]) -> None:
            control, value = change["owner"], change["new"]
            # A slider gives back what it is told to show, rounded to its own steps: no change.
            if _place(control, value) == _place(control, self._shown[name]):
                return
            self._shown[name] = value
            self._controls.write(name, value)
            if name == "strategy":
                self._show_settings(value)

        return changed

    def _show_settings(self, strategy: str | None = None) -> None:
        """Show the settings that the strategy has, with their present values."""
        session = self._session
        strategy = strategy or session.strategy
        sampler = session.samplers[strategy]
        own = session.names_of(sampler)
        for name, control in self._settings.items():
            control.layout.display = None if name in (*ALWAYS, *own) else "none"
        values = {name: getattr(sampler, name) for name in own}
        for name, value in {"strategy": strategy, **values}.items():
            self._show(name, value)
        self._show("learning_rate", session.value("learning_rate"))

    def _show(self, name: str, value: Any) -> None:
        control = self._settings[name]
        self._shown[name] = value
        if isinstance(control, SLIDERS):  # which would cut off a value beyond its ends
            height = _height(control, value)
            control.min, control.max = min(control.min, height), max(control.max, height)
        control.value = value

    def _show_picture(self) -> float:
        """Draw; the seconds it took."""
        began = time.monotonic()
        with self._busy:
            self._image.value = self._picture.png()
        self._show_status()
        return time.monotonic() - began

    def _show_status(self) -> None:
        session = self._session
        parts = [
            "<b>training</b>" if self._controls.playing else "<b>paused</b>",
            f"step {session.history.steps}",
            f"epoch {getattr(session.sampler, 'epoch', 0)} of {html.escape(session.strategy)}",
        ]
        for event in session.history.events[-1:]:
            change = html.escape(f"{event.name} = {event.value}")
            parts.append(f"last change: <b>{change}</b> at step {event.step}")
        self._status.value = " · ".join(parts)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self._show_picture()
        bundle = self.widget._repr_mimebundle_(**options)
        return {**bundle, "text/plain": self._picture.words(), "image/png": bytes(self._image.value)}


def _control(parameter: Parameter, value: Any) -> widgets.Widget:
    """The widget for a parameter, with its range, step and help."""
    common = {
        "value": value,
        "description": parameter.name.replace("_", " "),
        "tooltip": parameter.help,
        "style": {"description_width": "112px"},
        "layout": widgets.Layout(width="340px"),
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
    return widgets.FloatSlider(min=low, max=high, step=(high - low) / 100, **common)


def _height(control: widgets.Widget, value: float) -> float:
    """Where a slider shows `value`, in the units of its ends."""
    if isinstance(control, widgets.FloatLogSlider):
        return math.log10(value) if value > 0 else control.min
    return value


def _place(control: widgets.Widget, value: Any) -> Any:
    """Which of its steps a slider shows for `value`; of other controls, the value itself."""
    if isinstance(control, SLIDERS):
        return math.floor((_height(control, value) - control.min) / control.step + 0.5)
    return value


def _present_cell() -> str | None:
    """The identity of the notebook cell that is being run; None outside notebooks."""
    shell = get_ipython()
    if shell is None:
        return None
    # A front end that does not name its cells gets one panel at a time.
    return str(shell.get_parent().get("metadata", {}).get("cellId", ""))
