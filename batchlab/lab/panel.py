"""The live panel: sliders and buttons on one side, a training thread on the other."""

from __future__ import annotations

import contextlib
import html
import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from batchlab.backend import keras
from batchlab.files import check_path, write_whole
from batchlab.history import History
from batchlab.lab import cells, recipe
from batchlab.lab.controls import Controls
from batchlab.lab.drawing.microscope import Microscope
from batchlab.lab.drawing.picture import Picture
from batchlab.lab.drawing.screen import Screen
from batchlab.lab.parts import SLIDERS, control_for, height, place, row, shower, status_of
from batchlab.lab.session import FEEDBACK_LAG, Events, Session
from batchlab.lab.settings import DATA_SETTINGS, SETTINGS, Settings
from batchlab.loops.interrupt import DeferredInterrupt
from batchlab.parameters import Parameter
from batchlab.style import THEMES

FRAMES_PER_SECOND, STATUS_PER_SECOND = 12, 3
# Settings that every strategy has.
ALWAYS = ("strategy", "learning_rate", "speed", *DATA_SETTINGS)
# Drawing gets this share of the time, or half of the time in which the training waits for its next
# step if that is more: so a slow picture cannot starve the training.
DRAWING_SHARE = 0.18
FIXED_DATA = (
    '<span title="Ready-made samplers know the data and the seed they were made for. Pass classes, '
    'or functions of (labels, batch_size, seed).">Label noise, imbalance and seed are fixed: the '
    "strategies are ready-made samplers.</span>"
)


class BatchLab:
    """Train live, and change the batches while it trains.

    The cell that makes a panel returns at once: training goes on in the background until Pause,
    `max_steps`, or until the cell is run again. Every change of a control is an event that takes
    effect at the next batch and is kept in ``lab.history.events``. Label noise, imbalance and seed
    change the data or the first weights: they start the run anew.

    Parameters
    ----------
    x, y, model, strategies, batch_size, classes, validation_data, label_noise, imbalance, seed
        See :class:`Session`. With two features the panel draws the decision surface.
    versus : mapping of str to value, optional
        Train a second run B beside the first, A, from the same first weights and seed, that
        differs in these settings, e.g. ``{"strategy": "class-balanced"}``. It has a model of its
        own, built like the first.
    pace : {"step", "time"}
        Whether A and B take the same number of steps, or get the same time to choose and train.
        A run at equal time depends on the computer; its recipe and its file do not.
    max_steps : int, default 20000
        Playing pauses after so many steps, in case nobody is there to press Pause.
    theme : {"auto", "light", "dark"}
        Colours of the picture; auto takes those of the page.
    width : {"wide", "narrow"}
        Layout of the picture; narrow suits 800 pixels.

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

    speed = SETTINGS["speed"]
    pace = Parameter("step", "same steps, or same time", choices=("step", "time"))
    theme = Parameter("auto", "colours of the picture", choices=("auto", *THEMES))

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
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        seed: int = 0,
        versus: Mapping[str, Any] | None = None,
        pace: str = "step",
        max_steps: int = 20_000,
        theme: str = "auto",
        width: str = "wide",
    ) -> None:
        self.max_steps = Parameter(1, low=1, name="max_steps").check(max_steps, "BatchLab")
        self.pace, self.theme, self.width = pace, theme, width
        session = Session(
            x,
            y,
            model,
            strategies,
            batch_size=batch_size,
            classes=classes,
            validation_data=validation_data,
            label_noise=label_noise,
            imbalance=imbalance,
            seed=seed,
        )
        self._sessions = [session] if versus is None else [session, session.twin(**versus)]
        self._shown_run = 0  # whose settings the sliders show
        self._screen, self._past_screen = Screen(), Screen()
        self._status_due = 0.0  # on the clock of time.monotonic
        self._new_picture()
        self._controls = Controls()
        # Held while the session trains, draws or is reset; never by a widget callback.
        self._busy = threading.RLock()
        self._thread: threading.Thread | None = None
        self._unhook: list[Callable[[], None]] = []
        self._build_widgets()
        cells.register(self)

    # -- from Python -----------------------------------------------------------------------------

    @property
    def a(self) -> Session:
        """The run, or the first one of two."""
        return self._sessions[0]

    @property
    def b(self) -> Session | None:
        """The second run, if there is one."""
        return self._sessions[1] if len(self._sessions) > 1 else None

    @property
    def history(self) -> History:
        """What was chosen so far, and every live change; of A where there are two runs."""
        return self.a.history

    @property
    def model(self) -> keras.Model:
        """The model, as trained so far; that of A where there are two runs."""
        return self.a.model

    @property
    def sampler(self) -> Any:
        """The sampler at work; that of A where there are two runs."""
        return self.a.sampler

    @property
    def settings(self) -> Settings:
        """Name, value, type, range, default, help and source of every setting, as a table."""
        settings = self.a.settings
        return Settings(
            {**settings, "speed": self.speed}, {**settings.declared, "speed": type(self).speed}
        )

    @property
    def playing(self) -> bool:
        """Whether it trains in the background."""
        return self._controls.playing

    def run(
        self, steps: int, events: Events | None = None, versus_events: Events | None = None
    ) -> History:
        """Train now, in this thread, with changes at stated steps, as the sliders would make them.

        Parameters
        ----------
        steps : int
            How many steps to train. At equal time B makes as many as fit into the time A takes.
        events : mapping of int to mapping of str to value, optional
            ``{step: {name: value}}``; steps count from the start of the session.
        versus_events : mapping of int to mapping of str to value, optional
            The same for B. At equal time those of steps that B does not reach are left out.

        Returns
        -------
        History
            The record of the whole session.

        Raises
        ------
        TypeError, ValueError
            If a setting, a value or a step is not possible. Nothing has been trained then.
        """
        if versus_events and self.b is None:
            raise ValueError("BatchLab: versus_events are for run B, which needs versus={...}.")
        self.pause()
        with self._busy, DeferredInterrupt() as interrupt:
            self._take_changes()
            runs = [self.a.pieces(steps, events)]
            if self.b is not None:
                runs.append(
                    self.b.pieces(steps if self.pace == "step" else math.inf, versus_events)
                )
            for _ in runs[0] if self.pace == "time" else zip_longest(*runs):
                if interrupt.pressed:
                    break
                while self._b_is_behind():
                    next(runs[1])
        self._show_settings()
        self._show_picture()
        return self.history

    def _b_is_behind(self) -> bool:
        at_equal_time = self.b is not None and self.pace == "time"
        return at_equal_time and self.b.time_used < self.a.time_used

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
            self._take_changes()
            self._start_anew()
        self._error.value = ""
        self._show_picture()

    def rebuild(self, **settings: float) -> None:
        """Change label noise, imbalance or seed, in both runs: everything starts anew at step 0.

        Raises
        ------
        TypeError, ValueError
            If a value is not possible, or a strategy cannot be built anew. Nothing has changed then.
        """
        self.pause()
        with self._busy:
            self._take_changes()
            self._start_anew(dict.fromkeys(range(len(self._sessions)), settings))
        self._show_picture()

    def stop(self) -> None:
        """End the background training for good; a new panel is needed to train again."""
        self._controls.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)
        # Widgets live as long as the kernel. What they refer to need not: model, data and record.
        for unhook in self._unhook:
            unhook()
        self._unhook.clear()
        for control in (*self._buttons, *self._settings.values()):
            control.disabled = True
        self._show_status()

    def show(self) -> None:
        """Show the panel below the cell; the picture stays in a notebook that is saved."""
        display(self)

    # -- to keep and to share ----------------------------------------------------------------------

    def recipe(self) -> str:
        """Plain Python that repeats, bit for bit, what was done so far; it needs no widgets."""
        with self._busy:
            return recipe.recipe(self._sessions)

    def save(self, path: str | Path) -> None:
        """Write the run as a small JSON file: settings, events and steps, not data and model."""
        with self._busy:
            recipe.save(path, self._sessions, self.pace)

    @classmethod
    def load(
        cls,
        path: str | Path,
        x: Any,
        y: Any,
        model: keras.Model | None = None,
        strategies: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> BatchLab:
        """Build a panel and repeat a saved run in it.

        Parameters
        ----------
        path : str or Path
            What :meth:`save` wrote.
        x, y, model, strategies, **options
            As they were given to :class:`BatchLab` then; what the file holds is left out.

        Raises
        ------
        ValueError
            If the file is no saved run, or was made with other data, strategies or first weights.
        """
        state = recipe.read(path)
        first, *second = state["runs"]
        saved = {"batch_size": state["batch_size"], "pace": state["pace"], **first["settings"]}
        versus = second[0]["settings"] if second else None
        lab = cls(x, y, model, strategies, versus=versus, **{**options, **saved})
        recipe.check_same(lab.a, state, path)
        for session, run in zip(lab._sessions, state["runs"]):
            recipe.replay(session, run)
        lab._show_settings()
        return lab

    def export_curves(self, path: str | Path) -> None:
        """Write the learning curves as CSV."""
        with self._busy:
            recipe.write_curves(path, self._sessions)

    def export_picture(self, path: str | Path) -> None:
        """Write the picture as it is now, as ``.png`` or ``.svg``."""
        check_path(path, "BatchLab.export_picture")
        kind = Path(path).suffix
        if kind not in (".png", ".svg"):
            raise ValueError(f"BatchLab: path must end in .png or .svg, got {str(path)!r}.")
        with self._busy:
            picture = self._picture.png() if kind == ".png" else self._picture.svg()
        write_whole(path, picture, "BatchLab.export_picture")

    # -- the training thread -----------------------------------------------------------------------

    def _start(self, steps: float) -> None:
        self._error.value = ""
        self._call(steps)

    def _call(self, steps: float = 0) -> None:
        """Let the thread take what was written, and train so many steps more."""
        if self._controls.go(steps):
            self._thread = threading.Thread(target=self._work, name="BatchLab", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        draw_at = draw_change_at = time.monotonic()
        cost = 0.0  # seconds of a picture, on average: now and then one takes long
        while (steps := self._controls.claim(self._steps_at_once())) is not None:
            began = time.monotonic()
            try:
                with self._busy:
                    changed = self._take_changes()
                    self._train(steps)
                idle = 1 - (time.monotonic() - began) * self.speed / max(steps, 1)
                if steps and began >= (draw_change_at if changed else draw_at):
                    cost += (self._show_picture() - cost) / 4
                    share = max(DRAWING_SHARE, idle / 2)
                    draw_at = max(draw_at + 1 / FRAMES_PER_SECOND, began + cost / share)
                    draw_change_at = began + 2 * cost  # what a reader does is shown at once
            except Exception:  # whatever the model or a sampler may raise: show it, stay alive
                self.pause()
                self._show_error()
            if max(session.history.steps for session in self._sessions) >= self.max_steps:
                self.pause()
            self._controls.sleep(max(steps / self.speed - (time.monotonic() - began), 0))
        self._guarded(self._show_picture)()

    def _train(self, steps: int) -> None:
        for session in self._sessions[: 1 if self.pace == "time" else 2]:
            session.advance(steps)
        while steps and self._b_is_behind():
            self.b.advance(steps)
        for session in self._sessions:
            session.score_if_due()

    def _steps_at_once(self) -> int:
        """As many as fit into half the time of a picture, so that a slider is heard at once."""
        return max(1, min(round(self.speed / (2 * FRAMES_PER_SECOND)), FEEDBACK_LAG))

    def _take_changes(self) -> bool:
        """Act on what the controls ask for; whether there was anything."""
        values = self._controls.take_values()
        for (run, name), value in values.items():
            try:
                self._take(run, name, value)
                self._error.value = ""
            except (TypeError, ValueError) as error:  # all has stayed as it was: go on
                self._error.value = f"<b>{html.escape(str(error))}</b>"
        if values:
            self._show_what_differs()
        return bool(values)

    def _take(self, run: int, name: str, value: Any) -> None:
        """Act on what a control asks for."""
        if name in ("theme", "width"):
            setattr(self, name, value)
            self._new_picture()
            self._show_past()
        elif name == "speed":
            self.speed = value
        elif name == "compare":
            try:
                self._compare(value)
            finally:  # a model that cannot be cloned
                self._compare_box.value = self.b is not None
        elif name == "past":
            self._show_past()
        elif run < len(self._sessions):
            if name in DATA_SETTINGS:
                self._start_anew({run: {name: value}})
            else:
                self._sessions[run].apply(name, value)

    def _start_anew(self, data: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        """All runs back to step 0 with the settings they have, and new data where asked for."""
        present = [{name: each.value(name) for name in _live(each)} for each in self._sessions]
        for run, settings in (data or {}).items():
            self._sessions[run].rebuild(**settings)  # may refuse, before the others are reset
        for session, values in zip(self._sessions, present):
            session.reset()
            for name, value in values.items():
                with contextlib.suppress(ValueError):  # e.g. batches too large for thinned data
                    session.apply(name, value)
        self._new_picture()

    def _compare(self, wanted: bool) -> None:
        """Begin or end the second run; both start anew."""
        first = self.a
        twins = [first.twin(**{n: first.value(n) for n in _live(first)})] if wanted else []
        self._sessions, self._shown_run = [first, *twins], 0
        self._start_anew()
        self._show_settings()

    def _show_what_differs(self) -> None:
        """Show settings as they are: refused ones, and ratios that gave way to another."""
        session = self._sessions[self._shown_run]
        asked_for = {name for _, name in self._controls.waiting}  # the next call sees to these
        for name in (self._settings.keys() & session.settings.keys()) - asked_for:
            control, value = self._settings[name], session.value(name)
            if place(control, value) != place(control, self._shown[name]):
                self._show(name, value)

    # -- what is seen ------------------------------------------------------------------------------

    def _build_widgets(self) -> None:
        session = self.a
        values = {**session.settings, "speed": self.speed}
        declared = {**session.parameters, "speed": type(self).speed}
        self._settings = {
            name: control_for(parameter, values.get(name, parameter.default))
            for name, parameter in sorted(declared.items(), key=lambda item: item[0] != "strategy")
        }
        self._shown = {name: control.value for name, control in self._settings.items()}
        for name, control in self._settings.items():
            self._observe(control, self._on_change(name))
        self._observe(self._screen.canvas, self._use_page, ["live", "dark"])
        self._status, self._error = widgets.HTML(), widgets.HTML()
        parts = [
            row(*self._build_buttons(), self._build_run_choice()),
            self._status,
            row(*self._settings.values()),
            self._screen,
            self._error,
            self._build_drawers(),
        ]
        if not session.rebuildable:
            parts.insert(3, widgets.HTML(FIXED_DATA))
        self.widget = widgets.VBox(parts)
        self._show_settings()

    def _build_buttons(self) -> list[widgets.Button]:
        self._buttons = [
            self._button("Play", "play", "train until Pause", self.play),
            self._button("Pause", "pause", "stop after this batch", self.pause),
            self._button("Step", "step-forward", "train one batch", self.step),
            self._button("10 steps", "fast-forward", "train ten batches", lambda: self.step(10)),
            self._button("Reset", "refresh", "back to the first weights", self.reset),
            self._button("Stop", "stop", "end for good; run the cell for a new panel", self.stop),
        ]
        return self._buttons

    def _build_run_choice(self) -> widgets.Widget:
        """The comparison: whether there are two runs, and whose settings the sliders are."""
        ask_for_it = self._on_request("compare")
        self._compare_box = widgets.Checkbox(
            self.b is not None,
            description="compare with B",
            tooltip="a second run from the same first weights and seed; both start anew",
            indent=False,
            layout=widgets.Layout(width="140px"),
        )
        self._run_choice = widgets.ToggleButtons(
            options={"A": 0, "B": 1},
            tooltips=["the sliders show and change run A", "the sliders show and change run B"],
            style={"button_width": "36px"},
        )
        self._observe(
            self._compare_box,
            lambda change: change["new"] == (self.b is not None) or ask_for_it(change),
        )
        self._observe(self._run_choice, self._show_run)
        return widgets.HBox([self._compare_box, self._run_choice])

    def _show_run(self, change: dict[str, Any]) -> None:
        # At once, not by the thread: the next move of a slider is for this run already.
        self._shown_run, self._microscope = change["new"], None
        self._show_settings()
        self._on_request("past")(change)

    def _build_drawers(self) -> widgets.Widget:
        """What is closed at first: the batch microscope, and below it the recipe and the files."""
        drawers = {
            "Batch microscope": ("search", "look at any past batch", self._build_microscope()),
            "Recipe, files, look": ("share-alt", "keep and share the run", self._build_share()),
        }
        self._opened = {}
        for name, (icon, tip, content) in drawers.items():
            self._opened[name] = opened = widgets.ToggleButton(
                description=name, icon=icon, tooltip=tip, layout=widgets.Layout(width="200px")
            )
            content.layout.display = "none"
            self._observe(opened, shower(content))
        self._observe(self._opened["Batch microscope"], self._on_request("past"))
        return widgets.VBox([row(*self._opened.values()), *(each[2] for each in drawers.values())])

    def _build_share(self) -> widgets.Widget:
        look = {
            "theme": widgets.Dropdown(options=("auto", *THEMES), value=self.theme),
            "width": widgets.Dropdown(options=("wide", "narrow"), value=self.width),
        }
        for name, control in look.items():
            control.description, control.layout.width = name, "180px"
            self._observe(control, self._on_request(name))
        self._file = widgets.Text(
            "batchlab_run", description="file", tooltip="name without ending, in this folder"
        )
        self._recipe_text = widgets.Textarea(
            description="", rows=18, layout=widgets.Layout(width="100%", display="none")
        )
        self._written = widgets.HTML()
        writers = {
            "Save": ("the run as JSON, for BatchLab.load", ".json", self.save),
            "CSV": ("the curves", ".csv", self.export_curves),
            "PNG": ("the picture", ".png", self.export_picture),
            "SVG": ("the picture, to print", ".svg", self.export_picture),
        }
        buttons = [self._button("Recipe", "code", "the run as Python", self._show_recipe)]
        for label, (tip, ending, write) in writers.items():
            buttons.append(self._button(label, "save", tip, self._writer(write, ending)))
        return widgets.VBox(
            [row(*look.values(), self._file, *buttons), self._written, self._recipe_text]
        )

    def _build_microscope(self) -> widgets.Widget:
        self._past = widgets.IntSlider(
            0,
            0,
            0,
            description="step",
            tooltip="which past batch to look at",
            layout=widgets.Layout(width="90%"),
        )
        self._observe(self._past_screen.canvas, self._on_request("past"), "live")
        self._past_words = widgets.HTML()
        self._observe(self._past, self._on_request("past"))
        return widgets.VBox([self._past, self._past_words, self._past_screen])

    def _show_past(self) -> None:
        """Draw the past batch that the timeline stands at, if anyone is looking."""
        session = self._sessions[self._shown_run]
        if not self._opened["Batch microscope"].value or not session.history.steps:
            return
        if self._microscope is None:
            self._microscope = Microscope(session, self._shown_theme(), self.width)
        first = session.history.steps - len(session.history.indices)
        self._microscope.look_at(min(max(self._past.value, first), session.history.steps - 1))
        words = self._microscope.words()
        self._past_screen.show(self._microscope, words)
        self._past_words.value = f'<div style="line-height: 1.4">{html.escape(words)}</div>'

    def _button(
        self, label: str, icon: str, tip: str, act: Callable[[], None]
    ) -> widgets.Button:
        button = widgets.Button(
            description=label, icon=icon, tooltip=tip, layout=widgets.Layout(width="100px")
        )

        def clicked(_: Any) -> None:
            act()
            self._show_status()

        guarded = self._guarded(clicked)
        button.on_click(guarded)
        self._unhook.append(lambda: button.on_click(guarded, remove=True))
        return button

    def _observe(
        self, control: widgets.Widget, act: Callable[[Any], None], trait: str = "value"
    ) -> None:
        guarded = self._guarded(act)
        control.observe(guarded, trait)
        self._unhook.append(lambda: control.unobserve(guarded, trait))

    def _guarded(self, act: Callable[..., None]) -> Callable[..., None]:
        """`act`, with what it raises shown in the panel: elsewhere it would be lost."""

        def guarded(*arguments: Any) -> None:
            try:
                act(*arguments)
            except Exception:
                self._show_error()

        return guarded

    def _on_request(self, name: str) -> Callable[[Any], None]:
        """What is done at once, by the thread, even where there is no step to train."""

        def changed(change: dict[str, Any]) -> None:
            self._controls.write((0, name), change["new"])
            self._call()

        return changed

    def _on_change(self, name: str) -> Callable[[Any], None]:
        def changed(change: dict[str, Any]) -> None:
            control, value = change["owner"], change["new"]
            # A slider gives back what it is told to show, rounded to its own steps: no change.
            if place(control, value) == place(control, self._shown[name]):
                return
            self._shown[name] = value
            self._controls.write((self._shown_run, name), value)
            if name == "strategy":
                self._show_settings(value)
            if name in DATA_SETTINGS:
                self._call()

        return changed

    def _show_settings(self, strategy: str | None = None) -> None:
        """Show the settings that the strategy has, with their present values."""
        session = self._sessions[self._shown_run]
        strategy = strategy or session.strategy
        sampler = session.samplers[strategy]
        own = session.names_of(sampler)
        for name, control in self._settings.items():
            control.layout.display = None if name in (*ALWAYS, *own) else "none"
        values = {name: getattr(sampler, name) for name in own}
        fixed = {name: session.value(name) for name in ("learning_rate", *DATA_SETTINGS)}
        for name, value in {"strategy": strategy, **values, **fixed}.items():
            if name in self._settings:
                self._show(name, value)
        self._run_choice.layout.display = None if self.b is not None else "none"

    def _show(self, name: str, value: Any) -> None:
        control = self._settings[name]
        self._shown[name] = value
        if isinstance(control, SLIDERS):  # which would cut off a value beyond its ends
            level = height(control, value)
            control.min, control.max = min(control.min, level), max(control.max, level)
        control.value = value

    def _new_picture(self) -> None:
        self._picture = Picture(self._sessions, self._shown_theme(), self.width)
        self._microscope: Microscope | None = None  # built when it is looked through

    def _shown_theme(self) -> str:
        if self.theme == "auto":
            return "dark" if self._screen.canvas.dark else "light"
        return self.theme

    def _use_page(self, _: Any) -> None:
        """A page has come to show the panel, or has become dark or light."""
        if self._picture.theme.name != self._shown_theme():
            self._controls.write((0, "theme"), self.theme)
        self._call()

    def _show_picture(self) -> float:
        """Draw; the seconds it took."""
        began = time.monotonic()
        with self._busy:
            self._screen.show(self._picture, self._picture.words())
            cost = time.monotonic() - began
            # The first picture, and those of a panel that waits, take nothing from the training.
            for session in self._sessions if self._controls.playing else ():
                session.clock["drawing"] += cost / len(self._sessions)
        self._show_status()
        return time.monotonic() - began

    def _show_status(self) -> None:
        if self._controls.playing and time.monotonic() < self._status_due:
            return  # nobody reads numbers twelve times a second
        self._status_due = time.monotonic() + 1 / STATUS_PER_SECOND
        state = "training" if self._controls.playing else "paused"
        if self._controls.closed:
            state = "stopped; run the cell again for a new panel"
        names = ("A", "B") if self.b is not None else ("",)
        if self._opened["Batch microscope"].value:
            self._past.max = max(self._sessions[self._shown_run].history.steps - 1, 0)
        lines = [status_of(session, name) for name, session in zip(names, self._sessions)]
        words = "<br>".join([f"<b>{state}</b> · {lines[0]}", *lines[1:]])
        # Two lines high at least: what is below must not jump when a change is added.
        self._status.value = f'<div style="line-height: 1.4; min-height: 2.8em">{words}</div>'

    def _show_error(self) -> None:
        self._error.value = f"<pre>{html.escape(traceback.format_exc())}</pre>"

    def _show_recipe(self) -> None:
        self._recipe_text.value = self.recipe()
        self._recipe_text.layout.display = None

    def _writer(self, write: Callable[[Path], None], ending: str) -> Callable[[], None]:
        def written() -> None:
            path = Path(self._file.value + ending)
            write(path)
            self._written.value = f"written: {html.escape(str(path))}"

        return written

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self._show_picture()
        with self._busy:
            words = self._picture.words()
            own = {"text/plain": words, "image/png": self._picture.png()}
        bundle = {**self.widget._repr_mimebundle_(**options), **own}
        return bundle, {"image/png": {"alt": words}}


def _live(session: Session) -> list[str]:
    """The settings that may change during a run, the strategy first."""
    return [name for name in session.settings if name not in DATA_SETTINGS]
