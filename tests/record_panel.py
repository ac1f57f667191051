"""The README's picture: a hand chooses points in a real browser, and the border bends.

    python -m tests.record_panel            # writes notebooks/images/panel.webp

Needs ``.[test]`` and Chromium on the path or in $CHROMIUM. Screenshots are put together by Pillow.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy.spatial import ConvexHull

from tests.browser.hand_view import HandView
from tests.browser.lab_page import CHROMIUM_FLAGS, LabPage, LabServer, find_chromium
from tests.browser.panel_view import PanelView

FILE = Path(__file__).parents[1] / "notebooks" / "images" / "panel.webp"
MOST_BYTES = 2_000_000
WIDTH = 860  # pixels of the picture
CELL = """from batchlab import BatchLab, datasets
data = datasets.moons(n=600, share=0.07, noise=0.17, seed=4)
lab = BatchLab(data.x_train, data.y_train, classes=data.classes, theme="light", width="wide")
_ = lab.run(40)
lab.speed = 60
lab"""
# Screenshots show no mouse.
MOUSE = """() => {
    const mouse = document.createElement('div');
    mouse.innerHTML = `<svg width="22" height="26"><path d="M1 1v20l5-5 4 9 4-2-4-8h7z" fill="#000"
        stroke="#fff" stroke-width="1.5"/></svg>`;
    mouse.style.cssText = 'position:fixed;z-index:99999;pointer-events:none;left:-50px;top:0';
    document.body.append(mouse);
    document.addEventListener('pointermove', event => {
        mouse.style.left = `${event.clientX}px`;
        mouse.style.top = `${event.clientY}px`;
    }, true);
}"""


class Film:
    """Frames of one part of a page, each shown for some time."""

    def __init__(self, hand: HandView) -> None:
        self.page = hand.page
        picture, bar = hand.panel.canvas.bounding_box(), hand.bar.bounding_box()
        left, top = picture["x"] - 2, bar["y"] - 4
        right, bottom = picture["x"] + picture["width"] + 2, picture["y"] + picture["height"] + 2
        self._clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        self._frames: list[Image.Image] = []
        self._times: list[int] = []

    def take(self, milliseconds: int) -> None:
        """Take a frame."""
        image = Image.open(io.BytesIO(self.page.screenshot(clip=self._clip))).convert("RGB")
        height = round(image.height * WIDTH / image.width)
        self._frames.append(image.resize((WIDTH, height), Image.Resampling.LANCZOS))
        self._times.append(milliseconds)

    def move(self, *points: tuple[float, float], steps: int = 4) -> None:
        """Move the mouse from point to point, with a frame at each step."""
        for x, y in points:
            start = self.page.evaluate("window.lastPlace ?? [400, 300]")
            for step in range(1, steps + 1):
                share = step / steps
                place = [start[0] + (x - start[0]) * share, start[1] + (y - start[1]) * share]
                self.page.mouse.move(*place)
                self.take(60)
            self.page.evaluate("place => { window.lastPlace = place; }", [x, y])

    def write(self, path: Path) -> None:
        """Write it, as good as it can be within the bytes that it may have."""
        first, *others = self._frames
        for quality in (70, 60, 50, 40, 30):
            file = io.BytesIO()
            first.save(
                file, "webp", save_all=True, append_images=others, duration=self._times, loop=0,
                quality=quality, method=4,
            )
            if file.tell() < MOST_BYTES:
                path.write_bytes(file.getvalue())
                print(f"{path}: {len(self._frames)} frames, {file.tell() / 1e6:.2f} MB")
                return
        raise SystemExit(f"{len(self._frames)} frames do not fit into {MOST_BYTES} bytes.")


def ring_around(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    """A line around points, as a hand draws it: a little outside."""
    corners = points[ConvexHull(points).vertices]
    outward = corners - points.mean(axis=0)
    corners = corners + 12 * outward / np.linalg.norm(outward, axis=1, keepdims=True)
    return [(float(x), float(y)) for x, y in corners]


def play(hand: HandView) -> Film:
    """What the picture shows."""
    page, places = hand.page, hand.places()
    film = Film(hand)
    labels = hand.value("lab.a.labels.tolist()")
    rare = sorted(places[sample] for sample in places if labels[sample] == 1)
    film.take(900)
    film.move(rare[len(rare) // 2])
    page.wait_for_timeout(600)
    film.take(1600)
    around = ring_around(np.array(rare))
    film.move(around[0])
    page.keyboard.down("Shift")
    page.mouse.down()
    film.move(*around[1:], around[0], steps=2)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_timeout(200)
    film.take(1100)
    button = hand.bar.get_by_role("button", name="×5", exact=True)
    box = button.bounding_box()
    film.move((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
    button.click()
    page.wait_for_timeout(500)
    film.take(900)
    hand.notebook.in_kernel("lab.play()")
    for _ in range(36):
        page.wait_for_timeout(90)
        film.take(110)
    hand.notebook.in_kernel("lab.pause()")
    page.wait_for_timeout(600)
    page.keyboard.press("Escape")
    film.take(2500)
    return film


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        notebooks, private = Path(folder, "notebooks"), Path(folder, "jupyter")
        notebooks.mkdir()
        private.mkdir()
        server = LabServer(notebooks, private)
        try:
            server.add_notebook("film.ipynb", CELL)
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
            page = LabPage(browser.new_page(viewport={"width": 1280, "height": 1100}), server, notebooks)
            page.open("film.ipynb")
            page.toggle_sidebar()
            page.run_all()
            panel = PanelView(page.cell(CELL).locator(".jp-OutputArea-output"))
            panel.wait()
            hand = HandView(page, panel)
            hand.bar.scroll_into_view_if_needed()
            panel.canvas.scroll_into_view_if_needed()
            page.page.evaluate(MOUSE)
            play(hand).write(FILE)
            browser.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
