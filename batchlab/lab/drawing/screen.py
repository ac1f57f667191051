"""Where a live picture is shown: on a canvas of the page, or as a PNG where there is none."""

from __future__ import annotations

from pathlib import Path

import anywidget
import ipywidgets as widgets
import traitlets

from batchlab.lab.drawing.layered import LayeredFigure


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
    """

    _esm = Path(__file__).with_name("canvas.js")
    live = traitlets.Bool(False).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
    size = traitlets.Tuple((1, 1)).tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)
    frame = traitlets.List().tag(sync=True)
    moving = traitlets.List().tag(sync=True)


class Screen(widgets.VBox):
    """A picture that can be followed at ten frames a second.

    The PNG is shown until a page says that its canvas draws, for not every front end can.
    """

    def __init__(self) -> None:
        self.image = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        self.image.add_class("batchlab-picture")
        self.canvas = Canvas(layout=widgets.Layout(display="none"))
        super().__init__([self.image, self.canvas])

    def show(self, picture: LayeredFigure, words: str) -> None:
        """Show `picture` as it is now; `words` say the same."""
        if not self.canvas.live:
            self.image.value = picture.png()
            return
        frame, moving = picture.recording()
        with self.canvas.hold_sync():  # all of it at once
            self.canvas.size, self.canvas.words = picture.size, words
            self.canvas.frame, self.canvas.moving = frame, moving
        self.image.layout.display, self.canvas.layout.display = "none", None
