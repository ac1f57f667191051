"""A hand on the pictures of a panel: where samples are, and what a mouse does there."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Locator

from tests.browser.lab_page import LabPage
from tests.browser.panel_view import PanelView

TARGETS = "lab.views.picture.targets()[{run}][1]"


class HandView:
    """What a reader does with samples, with a real mouse.

    Parameters
    ----------
    notebook : LabPage
        Whose kernel has the panel as ``lab``.
    panel : PanelView
        That panel on the page.
    """

    def __init__(self, notebook: LabPage, panel: PanelView) -> None:
        self.notebook, self.panel, self.page = notebook, panel, panel.page

    @property
    def bar(self) -> Locator:
        """The row below the picture."""
        return self.panel.root.get_by_role("group", name="samples by hand").first

    @property
    def card(self) -> Locator:
        """The card of the sample under the pointer."""
        return self.panel.root.locator(".batchlab-card:not(.batchlab-kept)").first

    @property
    def kept_card(self) -> Locator:
        """The card that stays."""
        return self.panel.root.locator(".batchlab-kept").first

    def value(self, expression: str) -> Any:
        """A plain Python value from the kernel."""
        return ast.literal_eval(self.notebook.in_kernel(expression))

    def places(self, run: int = 0) -> dict[int, tuple[float, float]]:
        """Where each sample is, in pixels of the page, by its number."""
        targets = TARGETS.format(run=run)
        samples = self.value(f"{targets}.samples.tolist()")
        places = self.value(f"{targets}.places.tolist()")
        width = self.value("lab.views.picture.size[0]")
        self.panel.canvas.scroll_into_view_if_needed()
        box = self.panel.canvas.bounding_box()
        scale = box["width"] / width
        return {
            sample: (box["x"] + scale * x, box["y"] + scale * y)
            for sample, (x, y) in zip(samples, places)
        }

    def lonely(self, run: int = 0) -> int:
        """The sample that is farthest from its neighbours: no doubt which one is meant."""
        places = self.places(run)

        def room(sample: int) -> float:
            x, y = places[sample]
            others = (place for other, place in places.items() if other != sample)
            return min((x - u) ** 2 + (y - v) ** 2 for u, v in others)

        return max(places, key=room)

    def hover(self, sample: int, run: int = 0) -> None:
        """Move the mouse to a sample, as a hand does: not in one jump."""
        self.page.mouse.move(*self.places(run)[sample], steps=3)

    def click(self, sample: int, run: int = 0) -> None:
        """Click on a sample."""
        self.page.mouse.click(*self.places(run)[sample])

    def drag(self, points: Sequence[tuple[float, float]], moves: int = 4) -> None:
        """Press the mouse at the first point and let it go at the last one."""
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=moves)
        self.page.mouse.up()

    def lasso(self, left: float, top: float, right: float, bottom: float) -> None:
        """Draw around a rectangle of the page while Shift is down."""
        self.page.keyboard.down("Shift")
        self.drag([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
        self.page.keyboard.up("Shift")

    def press(self, label: str) -> None:
        """Press a button of the row."""
        self.bar.get_by_role("button", name=label, exact=True).click()

    def take(self, tool: str) -> None:
        """Choose a tool."""
        self.bar.get_by_label("what the mouse does").select_option(label=tool)

    def type_samples(self, text: str) -> None:
        """Choose samples by number, with the keyboard."""
        field = self.bar.get_by_label("numbers of samples to choose")
        field.fill(text)
        field.press("Enter")
