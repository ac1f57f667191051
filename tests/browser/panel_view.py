"""A panel as a reader has it before them: what they see, press, drag and type."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

PATIENCE = 60_000  # milliseconds to wait for what should come at once: the machine may be busy


class PanelView:
    """One panel on a page: of a notebook, of Voila, of a saved page.

    Parameters
    ----------
    root : Locator
        An element that holds this panel and no other.
    """

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.page = root.page

    def wait(self) -> None:
        """Wait until the panel and its picture are there."""
        expect(self.canvas).to_be_visible(timeout=PATIENCE)

    @property
    def canvas(self) -> Locator:
        """The picture of the run, as the browser draws it."""
        return self.root.locator("canvas.batchlab-picture").first

    @property
    def image(self) -> Locator:
        """The picture of the run as a file, where there is no canvas."""
        return self.root.locator("img.batchlab-picture").first

    @property
    def microscope(self) -> Locator:
        """The past batch."""
        return self.root.locator("canvas.batchlab-picture").last

    def pixels(self) -> str:
        """What is on the canvas, as the address of a PNG that holds it."""
        return self.canvas.evaluate("canvas => canvas.toDataURL()")

    def press(self, label: str) -> None:
        """Press the button that says so."""
        named = re.compile(rf"^\s*{label}\s*$")  # an icon may count as part of a button's name
        self.root.locator("button").filter(has_text=named).click()

    def control(self, name: str) -> Locator:
        """The slider, box or menu of a setting, with its name and value."""
        label = self.page.locator(".widget-label").filter(has_text=re.compile(f"^{name}$"))
        return self.root.locator(".widget-inline-hbox").filter(has=label)

    def handle(self, name: str) -> Locator:
        """What one drags of a slider."""
        return self.control(name).locator(".noUi-handle")

    def readout(self, name: str) -> str:
        """The value that a slider says it has."""
        return self.control(name).locator(".widget-readout").inner_text()

    def drag(self, name: str, *places: float, moves: int = 1) -> None:
        """Drag a slider with the mouse by way of places from 0 to 1, with so many moves to each."""
        self.handle(name).scroll_into_view_if_needed()
        track = self.control(name).locator(".noUi-base").bounding_box()
        handle = self.handle(name).bounding_box()
        mouse, middle = self.page.mouse, handle["y"] + handle["height"] / 2
        mouse.move(handle["x"] + handle["width"] / 2, middle)
        mouse.down()
        for place in places:
            mouse.move(track["x"] + place * track["width"], middle, steps=moves)
        mouse.up()

    def type(self, name: str, value: str) -> None:
        """Type a value into the box beside a slider."""
        box = self.control(name).locator(".widget-readout")
        box.click()
        box.press("ControlOrMeta+a")
        box.press_sequentially(value)
        box.press("Enter")

    def choose(self, name: str, option: str) -> None:
        """Choose from a menu."""
        self.control(name).locator("select").select_option(option)

    def wait_for_picture(self, other_than: str) -> str:
        """Wait until there are other pixels on the canvas; those."""
        self.page.wait_for_function(
            "([canvas, before]) => canvas.toDataURL() !== before",
            arg=[self.canvas.element_handle(), other_than],
        )
        return self.pixels()

    def wait_for_text(self, text: str) -> None:
        """Wait until the panel says something."""
        expect(self.root).to_contain_text(text, timeout=PATIENCE)
