"""The harness itself: a slider moved by keyboard in the browser arrives in the kernel."""

from __future__ import annotations

import pytest

from tests.browser.lab_page import LabPage

SLIDER = "import ipywidgets\nslider = ipywidgets.IntSlider(value=5, max=10)\nslider"


def test_slider_moved_by_keyboard_arrives_in_the_kernel(lab_page: LabPage) -> None:
    lab_page.server.add_notebook("slider.ipynb", SLIDER, 'print("the slider is at", slider.value)')
    lab_page.open("slider.ipynb")
    lab_page.run_all()
    assert lab_page.text(1) == "the slider is at 5\n"
    handle = lab_page.page.locator(".widget-slider .noUi-handle")
    handle.focus()
    for _ in range(3):
        handle.press("ArrowRight")
    assert lab_page.page.locator(".widget-readout").inner_text() == "8"
    lab_page.wait_in_kernel("slider.value == 8")
    lab_page.run_cells(1)
    assert lab_page.text(1) == "the slider is at 8\n"


def test_failing_cell_and_false_condition_fail_the_test(lab_page: LabPage) -> None:
    lab_page.server.add_notebook("failing.ipynb", "value = 1", "1 / 0")
    lab_page.open("failing.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        lab_page.run_all()
    assert lab_page.in_kernel("value + 1") == "2"
    with pytest.raises(AssertionError, match="value == 2"):
        lab_page.wait_in_kernel("value == 2", timeout=0.2)
