"""The live panel of notebook 03 in JupyterLab, as a student uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.browser.lab_page import LabPage

NOTEBOOK = "03_weighted_batches.ipynb"
PICTURE = ".batchlab-picture"


@pytest.fixture
def panel(lab_page: LabPage) -> Iterator[LabPage]:
    """Notebook 03 with its panel in sight, run down to there and no further."""
    lab_page.open(NOTEBOOK)
    shown = lab_page.page.evaluate(
        "window.jupyterapp.shell.currentWidget.content.widgets"
        ".findIndex(cell => cell.model.type === 'code' && cell.model.sharedModel.source === 'lab')"
    )
    code = lab_page.page.evaluate(
        "last => window.jupyterapp.shell.currentWidget.content.widgets.slice(0, last + 1)"
        ".flatMap((cell, number) => cell.model.type === 'code' ? [number] : [])",
        shown,
    )
    lab_page.run_cells(*code)
    lab_page.page.wait_for_selector(PICTURE)
    lab_page.select(shown)
    yield lab_page
    lab_page.in_kernel("lab.stop()")


def press(panel: LabPage, button: str) -> None:
    label = re.compile(rf"^\s*{button}\s*$")
    panel.page.locator(".jupyter-button").filter(has_text=label).click()


def test_slider_reaches_the_running_training(panel: LabPage) -> None:
    steps = int(panel.in_kernel("lab.history.steps"))
    press(panel, "Play")
    panel.wait_in_kernel(f"lab.history.steps > {steps + 10}")
    picture = panel.page.locator(PICTURE).get_attribute("src")
    events = int(panel.in_kernel("len(lab.history.events)"))
    slider = panel.page.locator(".widget-slider", has_text="balance").locator(".noUi-handle")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")

    panel.wait_in_kernel("lab.sampler.balance == 0.53")
    panel.wait_in_kernel(f"len(lab.history.events) > {events}")
    assert panel.in_kernel("lab.history.events[-1].name, lab.history.events[-1].value") == (
        "('balance', 0.53)"
    )
    changed = int(panel.in_kernel("lab.history.events[-1].step"))
    panel.wait_in_kernel(f"lab.history.steps > {changed}")
    panel.page.wait_for_function(
        "([selector, before]) => document.querySelector(selector).src !== before", arg=[PICTURE, picture]
    )
    assert "training" in panel.page.locator("body").inner_text()
    panel.screenshot("panel-light")

    press(panel, "Pause")
    panel.wait_in_kernel("not lab.playing")
    paused = panel.in_kernel("lab.history.steps")
    press(panel, "Step")
    panel.wait_in_kernel(f"lab.history.steps == {paused} + 1")


def test_reset_keeps_the_sliders(panel: LabPage) -> None:
    press(panel, "Reset")
    panel.wait_in_kernel("lab.history.steps == 0")
    press(panel, "Step")
    panel.wait_in_kernel("lab.history.steps == 1")
    assert panel.in_kernel("lab.sampler.balance") == "0.5"


def test_running_the_cell_again_stops_the_previous_run(panel: LabPage) -> None:
    made = panel.page.evaluate(
        "window.jupyterapp.shell.currentWidget.content.widgets.findIndex(cell => "
        "cell.model.type === 'code' && cell.model.sharedModel.source.includes('lab = BatchLab('))"
    )
    panel.in_kernel("globals().update(first=lab)")
    press(panel, "Play")
    panel.wait_in_kernel("first.playing")
    panel.run_cells(made)
    panel.wait_in_kernel("lab is not first and not first.playing")


def test_failing_sampler_shows_its_traceback_in_the_panel(panel: LabPage) -> None:
    panel.in_kernel("lab.sampler.__dict__.update(draw=lambda size: 1 / 0)")
    press(panel, "Play")
    panel.page.wait_for_selector("text=ZeroDivisionError")
    panel.wait_in_kernel("not lab.playing")
    panel.in_kernel("lab.sampler.__dict__.pop('draw')")
    press(panel, "Step")
    panel.page.wait_for_selector("text=ZeroDivisionError", state="detached")


def test_dark_theme(panel: LabPage) -> None:
    panel.use_theme("JupyterLab Dark")
    panel.page.set_viewport_size({"width": 1280, "height": 900})
    panel.screenshot("panel-dark")
    assert panel.page.locator(PICTURE).is_visible()
    panel.use_theme("JupyterLab Light")
