"""Where a live picture is shown: on a canvas of the page, or as a PNG where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets

from batchlab.lab.drawing.layered import LayeredFigure, Targets


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


class Canvas(anywidget.AnyWidget):
    """What `canvas.js` draws.

    Attributes
    ----------
    live : bool
        Whether a page has it and draws.
    dark : bool
        Whether that page is dark.
    size : tuple of int
        Width and height in pixels.
    words : str
        What is shown, for readers who cannot see it.
    frame, moving : list of dict
        What stays for a while, and what is drawn into it: see `Recorder.record`.
    theme : {"light", "dark"}
        Of the picture.
    panel, role : str
        Which panel it is of, and whether it shows the "run" or a "past" batch.
    targets : list of dict
        What can be pointed at: see `Targets`.
    count : int
        How many samples there are.
    hand : dict of str to list of int
        The samples of which the hand said something.
    colour_by, colours : str, list of str
        What the colours of the points say, and what they could say.
    key : dict of str to str
        The scale of the colours.
    note : str
        What the panel is busy with for the hand.
    """

    _esm = "\n".join(_beside(name) for name in ("hand.js", "pointer.js", "canvas.js"))
    _css = _beside("pointer.css")
    live = traitlets.Bool(False).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
    size = traitlets.Tuple((1, 1)).tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)
    frame = traitlets.List().tag(sync=True)
    moving = traitlets.List().tag(sync=True)
    theme = traitlets.Unicode("light").tag(sync=True)
    panel = traitlets.Unicode("").tag(sync=True)
    role = traitlets.Unicode("run").tag(sync=True)
    targets = traitlets.List().tag(sync=True)
    count = traitlets.Int(0).tag(sync=True)
    hand = traitlets.Dict().tag(sync=True)
    colour_by = traitlets.Unicode("").tag(sync=True)
    colours = traitlets.List().tag(sync=True)
    key = traitlets.Dict().tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)


class Screen(widgets.VBox):
    """A picture that can be followed at ten frames a second.

    The PNG is shown until a page says that its canvas draws, for not every front end can.
    """

    def __init__(self, role: str = "run") -> None:
        self.image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.image.add_class("batchlab-picture")
        self.canvas = Canvas(role=role, layout=widgets.Layout(display="none"))
        self._targets: list[Targets] = []
        super().__init__([self.image, self.canvas])

    def show(self, picture: LayeredFigure, words: str, **traits: Any) -> None:
        """Show `picture` as it is now; `words` say the same, `traits` are for the canvas."""
        if not self.canvas.live:
            self.image.value = picture.png()
            return
        frame, moving = picture.recording()
        with self.canvas.hold_sync():  # all of it at once
            self.canvas.size, self.canvas.words = picture.size, words
            self.canvas.frame, self.canvas.moving = frame, moving
            self.canvas.theme = picture.look[0]
            for name, value in traits.items():
                self.canvas.set_trait(name, value)
            self._aim(picture.targets())
        self.image.layout.display, self.canvas.layout.display = "none", None

    def _aim(self, targets: list[tuple[int, Targets]]) -> None:
        """Say what can be pointed at, where that has changed: thousands of places are not sent again."""
        if [each for _, each in targets] != self._targets:
            self._targets = [each for _, each in targets]
            self.canvas.targets = [each.message(run) for run, each in targets]
