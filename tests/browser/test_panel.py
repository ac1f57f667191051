"""The live panel in JupyterLab, as a reader uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.browser.conftest import opened
from tests.browser.lab_page import LabPage, LabServer
from tests.browser.panel_view import PanelView

NOTEBOOK = "panel.ipynb"
CELLS = (
    "from batchlab import BatchLab, ClassBalancedSampler, RandomSampler, datasets\n"
    "data = datasets.moons(n=300, share=0.2)",
    "lab = BatchLab(data.x_train, data.y_train, classes=data.classes, strategies={\n"
    '    "class-balanced": ClassBalancedSampler, "random": RandomSampler,\n'
    "}, validation_data=(data.x_test, data.y_test))\n"
    "lab",
    "other = BatchLab(data.x_train, data.y_train)\nother",
    "_ = lab.run(20)\nlab.show()",
)
SETUP, LAB, OTHER, RUN = range(4)
OUTPUT = ".jp-OutputArea-output:has(.batchlab-panel)"
TRAINING = "[each for each in __import__('threading').enumerate() if each.name == 'BatchLab']"


@pytest.fixture(scope="module")
def notebook(chromium: Browser, lab_server: LabServer, screenshots: Path) -> Iterator[LabPage]:
    """A notebook whose kernel has imported TensorFlow; one for all of these tests."""
    lab_server.add_notebook(NOTEBOOK, *CELLS)
    with opened(chromium, lab_server, screenshots) as page:
        page.open(NOTEBOOK)
        page.run_cells(SETUP)
        yield page


def view(notebook: LabPage, cell: int) -> PanelView:
    """The panel below a cell."""
    return PanelView(notebook.cell(CELLS[cell]).locator(OUTPUT))


@pytest.fixture
def panel(notebook: LabPage, request: pytest.FixtureRequest) -> Iterator[PanelView]:
    """A fresh panel: its cell is run again."""
    notebook.run_cells(LAB)
    panel = view(notebook, LAB)
    panel.wait()
    notebook.select(LAB)
    yield panel
    notebook.screenshot(f"{request.node.name}-end")
    notebook.in_kernel("lab.stop()")


def test_play_pause_and_steps(notebook: LabPage, panel: PanelView) -> None:
    first = panel.pixels()
    panel.press("Play")
    panel.wait_for_text("training")
    second = panel.wait_for_picture(other_than=first)
    panel.wait_for_picture(other_than=second)
    panel.press("Pause")
    panel.wait_for_text("paused")
    notebook.wait_in_kernel(f"not {TRAINING}")
    steps = int(notebook.in_kernel("lab.history.steps"))
    panel.wait_for_text(f"step {steps}")
    panel.press("Step")
    notebook.wait_in_kernel(f"lab.history.steps == {steps + 1}")
    panel.press("10 steps")
    notebook.wait_in_kernel(f"lab.history.steps == {steps + 11}")
    panel.wait_for_text(f"step {steps + 11}")


def test_the_space_bar_plays_and_pauses_on_the_stage(notebook: LabPage, panel: PanelView) -> None:
    box = panel.canvas.bounding_box()
    panel.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 4)
    panel.page.keyboard.press(" ")
    notebook.wait_in_kernel("lab.playing")
    panel.wait_for_text("training")
    panel.page.keyboard.press(" ")
    notebook.wait_in_kernel("not lab.playing")
    panel.wait_for_text("paused")


def test_a_stopped_panel_lives_again_when_it_is_shown_again(
    notebook: LabPage, panel: PanelView
) -> None:
    notebook.in_kernel("lab.stop()")
    panel.wait_for_text("show the panel again to go on")
    expect(panel.root.get_by_role("button", name="Play", exact=True)).to_be_disabled()
    notebook.run_cells(RUN)  # 20 steps, and the panel
    again = view(notebook, RUN)
    again.wait()
    again.press("Step")
    notebook.wait_in_kernel("lab.history.steps == 21")


def test_keys_on_a_control_are_not_the_notebooks(notebook: LabPage, panel: PanelView) -> None:
    kinds = "window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.model.type)"
    before = panel.page.evaluate(kinds)
    for control in (
        panel.control("strategy").locator("select"),
        panel.root.get_by_role("button", name="Step", exact=True),
        panel.handle("balance"),
        panel.root.get_by_label("compare with B"),
    ):
        control.focus()
        for key in ("r", "b", "y"):
            panel.page.keyboard.press(key)
    assert panel.page.evaluate(kinds) == before


def test_accessibility(notebook: LabPage, panel: PanelView) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for drawer in ("Details", "Batch microscope", "Recipe, files, look"):
        panel.press(drawer)
    panel.page.wait_for_timeout(300)
    found = axe.Axe().run(panel.page, context=".batchlab-panel").response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
    handle = panel.root.get_by_role("slider", name="learning rate", exact=True)
    expect(handle).to_have_attribute("aria-valuetext", "0.01")
    said = panel.root.locator(".batchlab-said[role=status]")
    expect(said).to_have_text("paused")
    panel.root.get_by_role("button", name="Play", exact=True).click()
    expect(said).to_have_text("training")
    panel.root.get_by_role("button", name="Pause", exact=True).click()
    expect(said).to_have_text("paused")


def test_a_run_thrown_away_comes_back(notebook: LabPage, panel: PanelView) -> None:
    panel.press("10 steps")
    notebook.wait_in_kernel("lab.history.steps == 10")
    panel.drag("label noise", 0.3, 0.6, moves=10)
    notebook.wait_in_kernel("lab.history.steps == 0 and lab.a.data_settings['label_noise'] > 0")
    panel.press("Undo")
    notebook.wait_in_kernel("lab.history.steps == 10")
    expect(panel.control("label noise").locator(".widget-readout")).to_have_text("0")


WINDOWS = ((1440, 765, "wide", 4), (1280, 680, "wide", 3), (800, 900, "narrow", 2))


def test_all_is_in_sight_in_a_laptops_window(notebook: LabPage, panel: PanelView) -> None:
    page, size = panel.page, panel.page.viewport_size
    notebook.in_kernel("lab.run(2)")
    notebook.in_kernel("setattr(lab, 'colour_by', 'visits')")  # which needs a key
    panel.wait_for_text("never drawn")
    inside = panel.root.locator(".batchlab-panel")
    for width, height, layout, columns in WINDOWS:
        page.set_viewport_size({"width": width, "height": height})
        if layout == "narrow":
            notebook.toggle_sidebar()
        notebook.wait_in_kernel(f"lab.views.width == {layout!r}")
        inside.evaluate("panel => panel.scrollIntoView({ block: 'start' })")
        grid = inside.locator(".batchlab-settings")
        tracks = grid.evaluate("grid => getComputedStyle(grid).gridTemplateColumns.split(' ').length")
        assert tracks == columns
        assert inside.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
        if layout == "wide":
            below = page.locator(".jp-NotebookPanel-notebook").bounding_box()
            picture = panel.canvas.bounding_box()
            assert picture["y"] + picture["height"] <= below["y"] + below["height"] + 1
    notebook.toggle_sidebar()
    page.set_viewport_size(size)


def test_full_screen_and_out_of_sight(notebook: LabPage, panel: PanelView) -> None:
    panel.press("Full screen")
    panel.page.wait_for_function("document.fullscreenElement?.matches('.batchlab-panel')")
    panel.press("Full screen")
    panel.page.wait_for_function("!document.fullscreenElement")
    inside = panel.root.locator(".batchlab-panel")
    inside.evaluate("panel => { panel.style.marginTop = '5000px'; }")
    notebook.wait_in_kernel("not lab.views.seen")
    inside.evaluate("panel => { panel.style.marginTop = ''; }")
    notebook.wait_in_kernel("lab.views.seen")


def test_wild_dragging_loses_no_final_value(notebook: LabPage, panel: PanelView) -> None:
    panel.press("Play")
    notebook.wait_in_kernel("lab.history.steps > 5")
    for last in (0.2, 0.75):
        panel.drag("balance", 0, 1, 0.1, 0.9, last, moves=40)
        shown = float(panel.readout("balance"))
        assert shown == pytest.approx(last, abs=0.03)
        notebook.wait_in_kernel(f"lab.sampler.balance == {shown}")
        panel.page.wait_for_timeout(1500)  # nothing that was on its way comes after it
        assert float(notebook.in_kernel("lab.sampler.balance")) == shown
        assert float(panel.readout("balance")) == shown
    notebook.wait_in_kernel("lab.history.steps > lab.history.events[-1].step")
    changes = "[(each.name, each.value) for each in lab.history.changes]"
    assert notebook.in_kernel(changes) == "[('balance', 0.2), ('balance', 0.75)]"


def test_typed_values_and_arrow_keys(notebook: LabPage, panel: PanelView) -> None:
    panel.press("Play")
    assert panel.readout("effective beta") == "0.999"
    panel.type("balance", "0.35")
    notebook.wait_in_kernel("lab.sampler.balance == 0.35")
    panel.handle("balance").focus()
    for _ in range(3):
        panel.handle("balance").press("ArrowRight")
    notebook.wait_in_kernel("lab.sampler.balance == 0.38")
    panel.type("batch size", "7")
    notebook.wait_in_kernel("len(lab.history.indices[-1]) == 7")
    panel.choose("strategy", "random")
    notebook.wait_in_kernel("lab.history.events[-1].value == 'random'")
    expect(panel.control("balance")).to_be_hidden()


def test_reset_keeps_the_sliders(notebook: LabPage, panel: PanelView) -> None:
    panel.type("balance", "0.35")
    panel.press("Step")
    notebook.wait_in_kernel("lab.history.steps == 1")
    panel.press("Reset")
    notebook.wait_in_kernel("lab.history.steps == 0")
    panel.press("Step")
    notebook.wait_in_kernel("lab.history.steps == 1 and lab.sampler.balance == 0.35")


def test_failing_sampler_shows_its_traceback_in_the_panel(
    notebook: LabPage, panel: PanelView
) -> None:
    notebook.in_kernel("lab.sampler.sampler.__dict__.update(draw=lambda size: 1 / 0)")
    panel.press("Play")
    panel.wait_for_text("ZeroDivisionError")
    notebook.wait_in_kernel("not lab.playing")
    notebook.in_kernel("lab.sampler.sampler.__dict__.pop('draw')")
    panel.press("Step")
    notebook.wait_in_kernel("lab.history.steps == 1")
    expect(panel.root).not_to_contain_text("ZeroDivisionError")


def test_running_the_cell_again_stops_the_run_before(notebook: LabPage, panel: PanelView) -> None:
    notebook.in_kernel("globals().update(first=lab)")
    panel.press("Play")
    notebook.wait_in_kernel("first.playing")
    notebook.run_cells(LAB)
    notebook.wait_in_kernel(f"lab is not first and not first.playing and not {TRAINING}")


def test_two_panels_in_one_notebook(notebook: LabPage, panel: PanelView) -> None:
    notebook.run_cells(OTHER)
    other = view(notebook, OTHER)
    other.wait()
    panel.press("Play")
    other.press("Play")
    other.type("batch size", "5")
    notebook.wait_in_kernel("other.sampler.batch_size == 5 and lab.sampler.batch_size == 32")
    other.press("Pause")
    notebook.wait_in_kernel("lab.playing and not other.playing")
    steps = notebook.in_kernel("lab.history.steps")
    notebook.wait_in_kernel(f"lab.history.steps > {steps} + 5")
    notebook.in_kernel("other.stop()")


def test_microscope_shows_any_past_batch(notebook: LabPage, panel: PanelView) -> None:
    notebook.in_kernel("lab.run(30, events={20: {'strategy': 'random'}})")
    panel.press("Batch microscope")
    expect(panel.microscope).to_be_visible()
    panel.type("step", "25")
    panel.wait_for_text("Step 25")
    later = panel.microscope.get_attribute("aria-label")
    assert later.startswith("Step 25")
    panel.drag("step", 0)
    panel.wait_for_text("Step 0")
    expect(panel.microscope).to_have_attribute("aria-label", re.compile("^Step 0"))
    # The stage shows the model of that step.
    values = "np.asarray(lab.views._microscope.axes['stage'].images[0].get_array())"
    same = f"np.array_equal({values}, figures.surface_values(then.predict(grid)))"
    notebook.in_kernel(
        "exec('import numpy as np; from batchlab import figures; then = lab.a.replayed(until=0); "
        "grid = lab.views._microscope._stage._grid', globals())"
    )
    notebook.wait_in_kernel(same)


def test_two_runs_side_by_side(notebook: LabPage, panel: PanelView) -> None:
    panel.root.get_by_label("compare with B").check()
    notebook.wait_in_kernel("lab.b is not None")
    panel.press("B")
    panel.type("balance", "0.2")
    panel.press("Play")
    notebook.wait_in_kernel("lab.b.sampler.balance == 0.2 and lab.b.history.steps > 10")
    assert notebook.in_kernel("lab.a.sampler.balance") == "1.0"
    panel.press("A")
    expect(panel.control("balance").locator(".widget-readout")).to_have_text("1")
    panel.press("Pause")
    notebook.wait_in_kernel(f"not {TRAINING} and lab.a.history.steps == lab.b.history.steps")


def test_recipe_and_files(notebook: LabPage, panel: PanelView) -> None:
    panel.press("10 steps")
    notebook.wait_in_kernel("lab.history.steps == 10")
    panel.press("Recipe, files, look")
    panel.press("Recipe")
    recipe = panel.root.locator("textarea")
    expect(recipe).to_have_value(re.compile("from batchlab import"))
    compile(recipe.input_value(), "recipe", "exec")
    panel.root.get_by_label("file").fill("shared")
    panel.root.get_by_label("file").press("Enter")
    folder = notebook.server.folder
    for button, name, start in (
        ("Save", "shared.json", b"{"),
        ("CSV", "shared.csv", b""),
        ("PNG", "shared.png", b"\x89PNG"),
        ("SVG", "shared.svg", b"<?xml"),
    ):
        panel.press(button)
        panel.wait_for_text(f"written: {name}")
        assert (folder / name).read_bytes().startswith(start)


def test_saved_notebook_shows_the_picture_without_a_kernel(
    notebook: LabPage, panel: PanelView, chromium: Browser, screenshots: Path
) -> None:
    notebook.run_cells(RUN)
    notebook.save()
    path = str(notebook.server.folder / NOTEBOOK)
    context = chromium.new_context(viewport={"width": 1280, "height": 1000}, offline=True)
    page = context.new_page()
    # The newer template, "lab", leaves out the words of any picture.
    for template, words in (("lab", ""), ("classic", "BatchLab after 20 steps")):
        html, _ = HTMLExporter(template_name=template).from_filename(path)
        page.set_content(html, wait_until="domcontentloaded")
        picture = page.get_by_role("img", name=words).last
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 500
        page.screenshot(path=screenshots / f"saved-notebook-{template}.png", full_page=True)
    context.close()


STAGES = {
    "plane": "data.x_train, data.y_train, versus={'strategy': 'class-balanced'}, width='narrow'",
    "images": "images.x_train, images.y_train",
    "projection": "more.x_train, more.y_train, theme='dark'",
}


@pytest.mark.parametrize("stage", STAGES)
def test_the_canvas_shows_what_matplotlib_draws(
    notebook: LabPage, screenshots: Path, stage: str
) -> None:
    made = f"lab = BatchLab({STAGES[stage]})\n_ = lab.run(60)\nlab"
    notebook.server.add_notebook(
        "stage.ipynb",
        CELLS[SETUP]
        + "\nimages, more = datasets.digits_long_tailed(), datasets.breast_cancer()\n"
        + made,
    )
    with opened(notebook.page.context.browser, notebook.server, screenshots) as page:
        page.open("stage.ipynb")
        page.run_all()
        panel = PanelView(page.cell(CELLS[SETUP]).locator(OUTPUT))
        panel.wait()
        page.in_kernel(f"lab.export_picture('{stage}.png')")
        drawn = Image.open(notebook.server.folder / f"{stage}.png").convert("RGB")
        shown = Image.open(urlopen(panel.pixels())).convert("RGB")
        page.screenshot(f"canvas-{stage}")
    assert shown.size == drawn.size
    # Letters and edges are smoothed differently, and fonts may differ: blocks of 12 x 12 pixels.
    on_page, in_file = (np.asarray(each.reduce(12), dtype=int) for each in (shown, drawn))
    assert abs(on_page - in_file).max() < 28


def test_without_a_canvas_the_picture_is_still_live(
    chromium: Browser, lab_server: LabServer, screenshots: Path
) -> None:
    lab_server.add_notebook("plain.ipynb", *CELLS[:OTHER])
    with opened(chromium, lab_server, screenshots) as page:
        page.page.route("**/extensions/anywidget/**", lambda route: route.abort())
        page.open("plain.ipynb")
        page.run_all()
        panel = view(page, LAB)
        expect(panel.image).to_be_visible()
        before = panel.image.get_attribute("src")
        panel.press("Play")
        expect(panel.image).not_to_have_attribute("src", before)
        assert not panel.canvas.is_visible()
        page.screenshot("panel-without-canvas")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_looks(notebook: LabPage, panel: PanelView, theme: str) -> None:
    notebook.use_theme(f"JupyterLab {theme.title()}")
    notebook.wait_in_kernel(f"lab.views.theme == {theme!r}")  # the page's own
    panel.press("Recipe, files, look")
    notebook.in_kernel("lab.run(100, events={60: {'strategy': 'random'}})")
    panel.press("Batch microscope")
    panel.wait_for_text("Step 99")
    for runs in (1, 2):
        if runs == 2:
            panel.root.get_by_label("compare with B").check()
            notebook.wait_in_kernel("lab.b is not None")
            notebook.in_kernel("lab.run(60, versus_events={0: {'strategy': 'random'}})")
        for pixels, width in ((1280, "wide"), (800, "narrow")):
            panel.choose("width", width)
            panel.page.set_viewport_size({"width": pixels, "height": 1800})
            notebook.wait_in_kernel(f"lab.width == {width!r} and not {TRAINING}")
            notebook.select(LAB)
            if width == "narrow":
                notebook.toggle_sidebar()
            notebook.screenshot(f"panel-{theme}-{pixels}-{runs}")
            if width == "narrow":
                notebook.toggle_sidebar()
            assert panel.root.evaluate("root => root.scrollWidth <= root.clientWidth")
    notebook.use_theme("JupyterLab Light")


def test_every_control_can_be_reached_by_keyboard(panel: PanelView) -> None:
    controls = panel.root.locator(
        # What cannot be used now, such as the hand's buttons while nothing is chosen, has no place.
        "button:enabled, select:enabled, input:enabled, .noUi-handle, .widget-readout[contenteditable=true]"
    ).filter(visible=True)
    wanted = controls.evaluate_all("all => all.map((each, number) => each.dataset.number = number)")
    assert len(wanted) > 8
    controls.first.focus()
    reached = set()
    for _ in range(2 * len(wanted)):
        reached.add(panel.page.evaluate("Number(document.activeElement.dataset.number ?? -1)"))
        panel.page.keyboard.press("Tab")
    missed = [controls.nth(number).inner_text() for number in set(wanted) - reached]
    assert not missed


def test_a_reloaded_page_shows_the_running_panel(notebook: LabPage, panel: PanelView) -> None:
    panel.press("Play")
    notebook.wait_in_kernel("lab.playing")
    notebook.save()
    notebook.open(NOTEBOOK)
    panel.wait()
    panel.wait_for_picture(other_than=panel.pixels())
    panel.type("balance", "0.45")
    notebook.wait_in_kernel("lab.sampler.balance == 0.45 and lab.playing")


def test_restarting_one_kernel_leaves_nothing_of_it_and_another_notebook_alone(
    notebook: LabPage,
    panel: PanelView,
    chromium: Browser,
    lab_server: LabServer,
    screenshots: Path,
) -> None:
    lab_server.add_notebook("second.ipynb", *CELLS[:OTHER])
    with opened(chromium, lab_server, screenshots) as second:
        second.open("second.ipynb")
        second.run_all()
        view(second, LAB).press("Play")
        panel.press("Play")
        panel.type("balance", "0.15")
        notebook.wait_in_kernel("lab.playing and lab.sampler.balance == 0.15")
        second.wait_in_kernel("lab.playing and lab.sampler.balance == 1")

        notebook.run_cells(RUN)
        notebook.save()
        notebook.restart_kernel()
        assert notebook.in_kernel(TRAINING) == "[]"
        steps = second.in_kernel("lab.history.steps")
        second.wait_in_kernel(f"lab.playing and lab.history.steps > {steps} + 5")
        second.in_kernel("lab.stop()")
    # As the next day: the notebook is trusted, the widgets are gone, the picture is there.
    notebook.open(NOTEBOOK)
    cell = notebook.cell(CELLS[RUN])
    expect(cell.get_by_role("img")).to_be_visible()
    expect(cell).to_contain_text("Run this cell for the live panel")
    expect(cell.get_by_text("model not found")).to_be_hidden()
    notebook.screenshot("next-day")
    notebook.run_cells(SETUP, LAB)
    panel.press("Play")
    notebook.wait_in_kernel("lab.history.steps > 5")
