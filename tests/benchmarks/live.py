"""The live panel in JupyterLab and a real Chromium, measured beside what it should reach.

    python tests/benchmarks/live.py                      # thirteen minutes, ten of them for memory
    python tests/benchmarks/live.py --memory-minutes 1

The panel shows the 2-D stage with 1 000 points and trains its default network. Needs ``.[test]``
and Chromium on the path or in $CHROMIUM. Times go from the key press in the browser to the training
loop or to the picture on the screen, both on this machine's clock. Everything shares the machine's
cores with the browser, which draws without a graphics card: run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser.hand_view import HandView
from tests.browser.lab_page import CHROMIUM_FLAGS, LabPage, LabServer, find_chromium
from tests.browser.panel_view import PanelView

IMPORTS = """
import time
from batchlab import BatchLab, ClassBalancedSampler, Session, datasets
from batchlab.backend import tf

tf.constant(0)  # TensorFlow is loaded when it is first used
data = datasets.moons(n=1334, share=0.2)
x, y = data.x_train[:1000], data.y_train[:1000]
strategies = {"class-balanced": ClassBalancedSampler}
heard, drawn = [], []  # when a value was taken by the loop; when a picture was sent, and of which

def measured_apply(session, name, value, drag=False, apply=Session.apply):
    apply(session, name, value, drag)
    heard.append((time.time(), value))

Session.apply = measured_apply
trained = []  # when steps were done

def measured_advance(session, steps, advance=Session.advance):
    advance(session, steps)
    trained.append(time.time())

Session.advance = measured_advance

def watch(lab):
    pictures = lambda change: drawn.append((time.time(), lab.sampler.balance))
    lab.board.screen.canvas.observe(pictures, "moving")

def steps_per_second(train, history, seconds):
    began, before = time.perf_counter(), history.steps
    train(seconds)
    return (history.steps - before) / (time.perf_counter() - began)

def bare(seconds):
    end = time.perf_counter() + seconds
    pieces = session.pieces(float("inf"))
    while time.perf_counter() < end:
        next(pieces)

def compared(seconds, rounds):
    found = []
    for _ in range(rounds):
        lab.reset()
        session.reset()
        bare(2)  # at first the axes get new limits all the time
        alone = steps_per_second(bare, session.history, seconds)
        lab.play()
        time.sleep(2)
        drawn.clear()
        together = steps_per_second(time.sleep, lab.history, seconds)
        lab.pause()
        found.append((alone, together, len(drawn) / seconds))
    return found
"""
PANEL = "lab = BatchLab(x, y, strategies=strategies, max_steps=10**9)\nlab"
WATCH = "watch(lab)\nsession = Session(x, y, strategies=strategies)\nlab.run(20), session.run(20)"
MANY = (
    "many = datasets.moons(n=6667, share=0.2)\n"
    "lab = BatchLab(many.x_train[:5000], many.y_train[:5000], max_steps=10**9)\nlab"
)
CELLS = (IMPORTS, PANEL, WATCH, MANY)

# Every key press and every picture that is on the screen, in seconds since 1970.
RECORD = """canvas => {
    const now = () => (performance.timeOrigin + performance.now()) / 1000;
    window.pressed = [];
    window.shown = [];
    document.addEventListener('keydown', () => window.pressed.push(now()), true);
    canvas.addEventListener('load', () => window.shown.push(now()));
}"""
# Frames of the page, while a mouse moves or not.
FRAMES = """() => {
    window.frames_ = [];
    const frame = () => { window.frames_.push(performance.now()); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    document.addEventListener('click', () => {
        window.clicked = (performance.timeOrigin + performance.now()) / 1000;
    }, true);
}"""
FIRST = """() => {
    const began = performance.now();
    window.firstPicture = null;
    const look = () => {
        const image = document.querySelector('img.batchlab-picture');
        const canvas = document.querySelector('canvas.batchlab-picture');
        if (image?.naturalWidth || canvas?.width > 1) window.firstPicture = performance.now() - began;
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    window.jupyterapp.commands.execute('notebook:run-cell');
}"""


def value(page: LabPage, expression: str) -> Any:
    """A plain Python value from the kernel."""
    return ast.literal_eval(page.in_kernel(expression))


def first_picture(page: LabPage) -> float:
    """Seconds from running the cell to its picture on the screen."""
    page.select(1)
    page.page.evaluate(FIRST)
    page.page.wait_for_function("window.firstPicture !== null", timeout=120_000)
    return page.page.evaluate("window.firstPicture") / 1000


def lags(page: LabPage, panel: PanelView, moves: int) -> tuple[list[float], list[float]]:
    """Milliseconds from key press to the loop, and to the first picture drawn with the new value."""
    handle = panel.handle("balance")
    handle.focus()
    rng = random.Random(0)
    page.in_kernel("(heard.clear(), drawn.clear())")
    page.page.evaluate("window.pressed.length = window.shown.length = 0")
    for move in range(moves):
        handle.press("ArrowLeft" if move < moves / 2 else "ArrowRight")
        page.page.wait_for_timeout(rng.uniform(400, 700))
    pressed, shown = page.page.evaluate("[window.pressed, window.shown]")
    heard, drawn = value(page, "(heard, drawn)")
    to_loop, to_picture = [], []
    for began, until in zip(pressed, [*pressed[1:], np.inf]):
        taken = next(((at, new) for at, new in heard if began <= at < until), None)
        if taken is None:
            continue
        to_loop.append(taken[0] - began)
        sent = next((at for at, of in drawn if at >= taken[0] and of == taken[1]), np.inf)
        if seen := [at for at in shown if at >= sent]:
            to_picture.append(seen[0] - began)
    if min(len(to_loop), len(to_picture)) < 0.8 * moves:
        raise SystemExit(
            f"Of {moves} moves only {len(to_loop)} reached the loop and {len(to_picture)} a picture "
            "before the next one: the machine is too busy to measure."
        )
    return [1000 * lag for lag in to_loop], [1000 * lag for lag in to_picture]


def pictures_per_second(page: LabPage, seconds: float) -> float:
    """Pictures that came onto the screen."""
    before = page.page.evaluate("[window.shown.length, performance.now()]")
    page.page.wait_for_timeout(1000 * seconds)
    after = page.page.evaluate("[window.shown.length, performance.now()]")
    return (after[0] - before[0]) / (after[1] - before[1]) * 1000


def frames_a_second(page: LabPage, box: dict[str, float], seconds: float, moving: bool) -> float:
    """How often the page was drawn, while a mouse wanders over the stage or lies still."""
    rng = random.Random(0)
    page.page.evaluate("window.frames_.length = 0")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if moving:
            across, up = rng.uniform(0.06, 0.32), rng.uniform(0.1, 0.8)
            page.page.mouse.move(box["x"] + across * box["width"], box["y"] + up * box["height"], steps=20)
        else:
            page.page.wait_for_timeout(100)
    times = page.page.evaluate("window.frames_")
    return 1000 * (len(times) - 1) / (times[-1] - times[0])


def picks(page: LabPage, panel: PanelView, count: int) -> list[float]:
    """Milliseconds from the click on "into the next batch" until that batch was trained on."""
    hand = HandView(page, panel)
    found = []
    for first in range(count):
        hand.type_samples(f"{first}-{first + 9}")
        page.in_kernel("(heard.clear(), trained.clear())")
        hand.press("into the next batch")
        page.wait_in_kernel("heard and trained and trained[-1] > heard[0][0]")
        taken, steps = value(page, "(heard[0][0], trained)")
        done = next(at for at in steps if at > taken)
        found.append(1000 * (done - page.page.evaluate("window.clicked")))
    return found


def memory(page: LabPage, minutes: float) -> tuple[float, float, float, float]:
    """MB of the kernel at first and at last, MB a minute in the second half, MB of the page's heap."""
    kernel = psutil.Process(value(page, "__import__('os').getpid()"))
    began = time.monotonic()
    found = []
    while (now := time.monotonic() - began) < 60 * minutes:
        found.append((now / 60, kernel.memory_info().rss / 2**20))
        page.page.wait_for_timeout(max(100, 1000 * minutes / 10))
    later = np.array(found[len(found) // 2 :])
    heap = page.page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    return found[0][1], found[-1][1], np.polyfit(*later.T, deg=1)[0], heap


def measure(page: LabPage, moves: int, seconds: float, minutes: float) -> None:
    """Print one line for each target."""

    def line(what: str, target: str, found: str) -> None:
        print(f"| {what} | {target} | {found} |", flush=True)

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| 2-D stage, 1 000 points | target | measured |\n|---|---:|---:|")
    page.open("live.ipynb")
    page.run_cells(0)
    times = [first_picture(page), first_picture(page)]
    line("first picture after the cell is run", "2 s", f"{times[0]:.2f} s (again: {times[1]:.2f} s)")
    page.run_cells(2)
    page.select(1)
    panel = PanelView(page.cell(PANEL))
    panel.wait()
    panel.canvas.evaluate(RECORD)
    panel.press("Play")
    page.wait_in_kernel("lab.playing and len(drawn) > 20")
    to_loop, to_picture = lags(page, panel, moves)
    for what, target, found in (
        ("slider → value in the loop", "50 ms", to_loop),
        ("slider → new picture", "150 ms", to_picture),
    ):
        middle, worst = statistics.median(found), np.quantile(found, 0.9)
        line(f"{what}, median", target, f"{middle:.0f} ms (90 % within {worst:.0f}, n = {len(found)})")
    line("pictures a second", "≥ 10", f"{pictures_per_second(page, seconds):.1f}")
    start, end, slope, heap = memory(page, minutes)
    line(
        f"memory of the kernel, {minutes:g} minutes",
        "flat",
        f"{start:.0f} → {end:.0f} MB, {slope:+.2f} MB/min at last; page {heap:.0f} MB",
    )
    panel.press("Pause")
    page.wait_in_kernel("not lab.playing")
    page.in_kernel("setattr(lab, 'speed', 1e6)")
    rounds = value(page, f"compared({seconds}, 5)")
    kept = statistics.median(panel / alone for alone, panel, _ in rounds)
    alone, together, pictures = (statistics.median(each) for each in zip(*rounds))
    found = f"{kept:.0%} ({together:.0f} of {alone:.0f} steps/s, {pictures:.1f} pictures a second)"
    line("full speed with the panel / without it", "≥ 85 %", found)
    page.run_cells(3)
    panel = PanelView(page.cell(MANY))
    panel.wait()
    panel.canvas.scroll_into_view_if_needed()
    page.page.evaluate(FRAMES)
    page.in_kernel("lab.play()")
    page.wait_in_kernel("lab.history.steps > 20")
    box = panel.canvas.bounding_box()
    still, moving = (frames_a_second(page, box, seconds, each) for each in (False, True))
    found = f"{moving:.0f} frames a second ({moving / still:.0%} of those without a mouse)"
    line("hover over 5 000 points while it trains", "60", found)
    found = picks(page, panel, moves // 2)
    middle, worst = statistics.median(found), np.quantile(found, 0.9)
    found = f"{middle:.0f} ms (90 % within {worst:.0f}, n = {len(found)})"
    line("pick → trained on, median", "50 ms", found)
    page.in_kernel("lab.pause()")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moves", type=int, default=30, help="slider moves (default 30)")
    parser.add_argument("--seconds", type=float, default=5, help="per speed measured (default 5)")
    parser.add_argument("--memory-minutes", type=float, default=10, help="default 10")
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        parser.error("no Chromium found: install it, or name it in the environment variable CHROMIUM")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        notebooks, private = Path(folder, "notebooks"), Path(folder, "jupyter")
        notebooks.mkdir()
        private.mkdir()
        server = LabServer(notebooks, private)
        try:
            server.add_notebook("live.ipynb", *CELLS)
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            page = LabPage(browser.new_page(viewport={"width": 1280, "height": 1000}), server, notebooks)
            measure(page, options.moves, options.seconds, options.memory_minutes)
            browser.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
