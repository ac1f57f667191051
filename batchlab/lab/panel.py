"""The live panel: sliders and buttons on one side, a training thread on the other."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from batchlab.backend import keras, need_tensorflow
from batchlab.files import check_path, write_whole
from batchlab.history import History
from batchlab.lab import kernel, recipe
from batchlab.lab.board import Board
from batchlab.lab.byhand import PanelByHand
from batchlab.lab.page import NOTE
from batchlab.lab.parts import close
from batchlab.lab.pointing import PanelPointing, Pointing
from batchlab.lab.runs import Runs
from batchlab.lab.session import Events, Session
from batchlab.lab.settings import SETTINGS, Settings
from batchlab.lab.views import Views
from batchlab.lab.worker import LetterBox, Worker
from batchlab.loaders import Load
from batchlab.parameters import Parameter


class BatchLab(PanelByHand, PanelPointing):
    """Train live, and change the batches while it trains.

    The cell that makes a panel returns at once: training goes on in the background until Pause,
    `max_steps`, or until the cell is run again. Every change of a control is an event that takes
    effect at the next batch and is kept in ``lab.history.events``. Label noise, imbalance and seed
    change the data or the first weights: they start the run anew.

    Parameters
    ----------
    x, y, model, strategies, batch_size, classes, validation_data, groups
    load, workers, label_noise, imbalance, seed
        See :class:`Session`. With two features the panel draws the decision surface.
    versus : mapping of str to value, optional
        Train a second run B beside the first, A, from the same first weights and seed, that
        differs in these settings, e.g. ``{"strategy": "class-balanced"}``. It has a model of its
        own, built like the first.
    pace : {"step", "time"}
        Whether A and B take the same number of steps, or get the same time to choose and train.
        A run at equal time depends on the computer; its recipe and its file do not.
    max_steps : int, default 20000
        Play pauses after so many steps, in case nobody is there to press Pause.
    theme : {"auto", "light", "dark"}
        Colours of the picture; auto takes those of the page.
    width : {"auto", "wide", "narrow"}
        Layout of the picture; narrow suits 800 pixels, auto takes what there is room for.
    scores : mapping of str to array_like of float, shape (n,), optional
        Numbers of your own, one for each sample of `x`, by which the points can be coloured, e.g.
        ``{"distance": d}``.

    Attributes
    ----------
    controls : dict of str to Widget
        What a reader may use: every setting under its name, buttons under the words on them, e.g.
        ``lab.controls["Play"].value = True`` and ``lab.controls["Step"].click()``.
    widget : Widget
        The panel on the page; ``board`` says what it shows.
    speed, pace, theme, width, colour_by
        May be set at any time.

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

    speed, pace, theme, width = (
        replace(SETTINGS[name]) for name in ("speed", "pace", "theme", "width")
    )

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
        groups: Any = None,
        load: Load | None = None,
        workers: int = 1,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        seed: int = 0,
        versus: Mapping[str, Any] | None = None,
        pace: str = "step",
        max_steps: int = 20_000,
        theme: str = "auto",
        width: str = "auto",
        scores: Mapping[str, Any] | None = None,
    ) -> None:
        need_tensorflow("BatchLab")
        kernel.check_widgets()
        self.max_steps = Parameter(1, low=1, name="max_steps").check(max_steps, "BatchLab")
        self.pace, self.theme, self.width = pace, theme, width
        first = Session(
            x,
            y,
            model,
            strategies,
            batch_size=batch_size,
            classes=classes,
            validation_data=validation_data,
            groups=groups,
            load=load,
            workers=workers,
            label_noise=label_noise,
            imbalance=imbalance,
            seed=seed,
        )
        self.runs, self._scores = Runs(first, versus), scores
        self._open()
        kernel.register(self)

    def _open(self) -> None:
        """Make what a page shows and the thread that trains; also of a panel that was stopped."""
        self.worker = Worker(self)
        look = {name: getattr(self, name) for name in ("speed", "theme", "width")}
        self.board = Board(self.a, look, self.worker.tell)
        self.pointing = Pointing(self, self._scores)
        self.views = Views(self.runs, self.board, weakref.proxy(self))
        self.controls, self.widget = self.board.controls, self.board.widget
        self.board.show_runs(self.runs.sessions)
        # When nobody has the panel any more, and no page shows it, training ends and widgets close.
        self._gone = weakref.finalize(self, _end, self.worker.box, self.widget)
        self._gone.atexit = False

    # -- from Python -----------------------------------------------------------------------------

    @property
    def a(self) -> Session:
        """The run, or the first one of two."""
        return self.runs.a

    @property
    def b(self) -> Session | None:
        """The second run, if there is one."""
        return self.runs.b

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
        return self.worker.box.playing

    def parameter_changed(self, name: str) -> None:
        """Show a setting of the panel, from wherever it was set."""
        if "views" in vars(self):  # else it is being built
            self.board.show(name, getattr(self, name))
            if name in ("theme", "width"):
                self.worker.call()

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
        with self.worker.at_rest():
            self.worker.take_letters()
            try:
                self.runs.run(steps, self.pace, events, versus_events)
            finally:
                self._show_all()
        return self.history

    def play(self) -> None:
        """Train in the background until told otherwise, or for `max_steps` steps."""
        self.worker.play(self.max_steps)

    def pause(self) -> None:
        """Stop training at the next batch boundary."""
        self.worker.pause()

    def step(self, steps: int = 1) -> None:
        """Train some steps in the background, then pause."""
        self.worker.start(Parameter(1, low=1, name="steps").check(steps, "BatchLab.step"))

    def reset(self) -> None:
        """Back to step 0 and the first weights; the sliders stay where they are."""
        self.pause()
        with self.worker.at_rest():
            self.worker.take_letters()
            self.worker.start_anew()
            self.board.error.value = ""
            self._show_all()

    def rebuild(self, **settings: float) -> None:
        """Change label noise, imbalance or seed, in both runs: everything starts anew at step 0.

        Raises
        ------
        TypeError, ValueError
            If a value is not possible, or a strategy cannot be built anew. Nothing has changed then.
        """
        self.pause()
        with self.worker.at_rest():
            self.worker.take_letters()
            self.worker.start_anew(dict.fromkeys(range(len(self.runs.sessions)), settings))
            self._show_all()

    def _show_all(self) -> None:
        self.board.show_settings(self.runs.sessions)
        self.worker.show()

    def stop(self) -> None:
        """End the background training and let go of the page; showing the panel brings it back."""
        self.worker.close()
        self.worker.join()
        self.board.show_state(self.worker.state, playing=False)
        kernel.let_go(self)

    def show(self) -> None:
        """Show the panel below the cell; the picture stays in a notebook that is saved."""
        self._ipython_display_()

    # -- to keep and to share ----------------------------------------------------------------------

    def recipe(self) -> str:
        """Plain Python that repeats, bit for bit, what was done so far; it needs no widgets."""
        with self.worker.at_rest():
            return recipe.recipe(self.runs.sessions)

    def save(self, path: str | Path) -> None:
        """Write the run as a small JSON file: settings, events and steps, not data and model."""
        with self.worker.at_rest():
            recipe.save(path, self.runs.sessions, self.pace)

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
        for session, run in zip(lab.runs.sessions, state["runs"]):
            recipe.replay(session, run)
        lab.board.show_settings(lab.runs.sessions)
        return lab

    def export_curves(self, path: str | Path) -> None:
        """Write the learning curves as CSV."""
        with self.worker.at_rest():
            recipe.write_curves(path, self.runs.sessions)

    def export_picture(self, path: str | Path) -> None:
        """Write the picture as it is now, as ``.png`` or ``.svg``."""
        check_path(path, "BatchLab.export_picture")
        kind = Path(path).suffix
        if kind not in (".png", ".svg"):
            raise ValueError(f"BatchLab: path must end in .png or .svg, got {str(path)!r}.")
        with self.worker.at_rest():
            picture = self.views.picture.png() if kind == ".png" else self.views.picture.svg()
        write_whole(path, picture, "BatchLab.export_picture")

    def _ipython_display_(self) -> None:
        if self.worker.box.closed:
            close(self.widget)
            self._open()
        with self.worker.at_rest():
            self.worker.show()
            picture, alt = self.views.still()
        self._gone.detach()
        kernel.keep(self)
        kernel.hear_at_once(self.widget)
        view = self.widget._repr_mimebundle_()
        view.pop("text/plain")  # what a widget is in Python, at great length
        display({"text/html": NOTE}, raw=True)
        display(picture, metadata=alt, raw=True)
        display(view, raw=True)


def _end(box: LetterBox, widget: widgets.Widget) -> None:
    box.close()
    close(widget)
