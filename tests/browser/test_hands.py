"""Samples chosen by hand in JupyterLab and Voila, with a real mouse and keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import opened
from tests.browser.hand_view import HandView
from tests.browser.lab_page import LabPage, LabServer
from tests.browser.panel_view import PATIENCE, PanelView

NOTEBOOK = "hands.ipynb"
CELLS = (
    "import numpy as np\n"
    "from batchlab import BatchLab, datasets\n"
    "data = datasets.moons(n=200, share=0.3)",
    "lab = BatchLab(data.x_train, data.y_train, classes=data.classes, label_noise=0.1,\n"
    "               scores={'height': data.x_train[:, 1]})\n"
    "lab",
    "digits = datasets.digits_long_tailed()\n"
    "lab = BatchLab(digits.x_train, digits.y_train, batch_size=9)\n"
    "lab",
)
SETUP, PLANE, IMAGES = range(3)
OUTPUT = ".jp-OutputArea-output:has(.batchlab-panel)"  # the cell has a note and a picture, too


@pytest.fixture(scope="module")
def notebook(chromium: Browser, lab_server: LabServer, screenshots: Path) -> Iterator[LabPage]:
    """A notebook whose kernel has imported TensorFlow; one for all of these tests."""
    lab_server.add_notebook(NOTEBOOK, *CELLS)
    with opened(chromium, lab_server, screenshots) as page:
        page.open(NOTEBOOK)
        page.run_cells(SETUP)
        yield page


def shown(notebook: LabPage, cell: int) -> HandView:
    """A fresh panel: its cell is run again."""
    notebook.run_cells(cell)
    panel = PanelView(notebook.cell(CELLS[cell]).locator(OUTPUT))
    panel.wait()
    notebook.select(cell)
    hand = HandView(notebook, panel)
    expect(hand.bar).to_be_visible(timeout=PATIENCE)
    return hand


@pytest.fixture
def hand(notebook: LabPage, request: pytest.FixtureRequest) -> Iterator[HandView]:
    """A hand on a panel with points."""
    yield shown(notebook, PLANE)
    notebook.screenshot(f"{request.node.name}-end")
    notebook.in_kernel("lab.stop()")


def test_hovering_tells_of_the_sample_under_the_pointer(hand: HandView) -> None:
    hand.notebook.in_kernel("lab.run(20)")
    sample = hand.lonely()
    hand.hover(sample)
    expect(hand.card).to_contain_text(f"#{sample}", timeout=PATIENCE)
    expect(hand.card).to_contain_text("loss now", timeout=PATIENCE)
    visits = hand.value(f"int(lab.history.visits[{sample}])")
    expect(hand.card).to_contain_text(re.compile(rf"drawn\s*({visits} time|never)"))
    # The bars in which it is counted light up.
    boxes = hand.value(f"lab.views.picture.bars_of(0, {sample})")
    assert len(boxes) >= 2 or not visits
    for left, top, width, height in boxes:
        middle = [left + width / 2, top + height - 1]
        hand.page.wait_for_function(
            "([canvas, [x, y]]) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[3] > 200",
            arg=[hand.panel.root.locator(".batchlab-overlay").first.element_handle(), middle],
        )
    name = hand.value(f"lab.a.classes[lab.a.labels[{sample}]]")
    expect(hand.card).to_contain_text(name)
    wrong = hand.value("int((lab.a.labels != lab.a.given.labels).argmax())")
    hand.hover(wrong)
    expect(hand.card).to_contain_text(f"#{wrong}", timeout=PATIENCE)
    expect(hand.card).to_contain_text("true class", timeout=PATIENCE)
    hand.page.mouse.move(2, 2)
    expect(hand.card).to_be_hidden()


def test_a_clicked_card_stays_and_tells_the_present_while_it_trains(hand: HandView) -> None:
    hand.notebook.in_kernel("lab.run(20)")
    sample = hand.lonely()
    hand.click(sample)
    expect(hand.kept_card).to_contain_text(f"#{sample}", timeout=PATIENCE)
    expect(hand.kept_card.locator("svg")).to_be_visible(timeout=PATIENCE)
    hand.page.mouse.move(2, 2)
    before = hand.kept_card.inner_text()
    hand.panel.press("10 steps")
    hand.panel.press("10 steps")
    hand.notebook.wait_in_kernel("lab.history.steps == 40")
    expect(hand.kept_card).not_to_have_text(before, timeout=PATIENCE)
    hand.bar.get_by_role("button", name="always").focus()
    hand.page.keyboard.press("Escape")
    expect(hand.kept_card).to_be_hidden()
    expect(hand.bar).not_to_contain_text("chosen:")


def test_a_lasso_makes_the_next_batch_and_the_recipe_repeats_it(hand: HandView) -> None:
    notebook = hand.notebook
    notebook.in_kernel("lab.run(5)")
    places = hand.places()
    xs, ys = ([place[axis] for place in places.values()] for axis in (0, 1))
    left, top, right, bottom = min(xs) - 5, min(ys) - 5, sum(xs) / len(xs), sum(ys) / len(ys)
    inside = {s for s, (x, y) in places.items() if left < x < right and top < y < bottom}
    hand.lasso(left, top, right, bottom)
    expect(hand.bar).to_contain_text(f"{len(inside)} chosen:")
    hand.press("into the next batch")
    notebook.wait_in_kernel("lab.a.value('next')")
    hand.panel.press("Step")
    notebook.wait_in_kernel("lab.history.steps == 6")
    assert set(hand.value("lab.history.indices[5].tolist()")) == inside
    hand.panel.press("10 steps")
    notebook.wait_in_kernel("lab.history.steps == 16")
    # One gesture is one event, and the recipe repeats the run bit for bit.
    assert hand.value("[(e.step, e.name) for e in lab.history.events]") == [(5, "next")]
    same = (
        "(lambda code, names: (exec(code, names), all(np.array_equal(one, two) for one, two "
        "in zip(lab.model.get_weights(), names['session'].model.get_weights())))[1])"
        "(lab.recipe().replace('x, y = ...', 'x, y = data.x_train, data.y_train'), {'data': data})"
    )
    assert notebook.in_kernel(same) == "True"


def test_painting_never_excludes_what_was_touched(hand: HandView) -> None:
    notebook = hand.notebook
    hand.take("paint never")
    sample, places = hand.lonely(), hand.places()
    x, y = places[sample]
    hand.drag([(x - 25, y), (x + 25, y)])
    notebook.wait_in_kernel(f"{sample} in lab.a.value('exclude')")
    excluded = set(hand.value("lab.a.value('exclude')"))
    near = {s for s, (u, v) in places.items() if abs(v - y) < 18 and abs(u - x) < 43}
    assert excluded <= near
    assert hand.value("[e.name for e in lab.history.events]") == ["exclude"]
    expect(hand.bar).to_contain_text(f"× {len(excluded)} never")
    notebook.in_kernel("lab.run(60)")
    assert not excluded & set(hand.value("np.concatenate(lab.history.indices).tolist()"))


def test_the_keyboard_does_what_the_mouse_does(hand: HandView) -> None:
    notebook = hand.notebook
    hand.type_samples("3, 17, 20-22")
    expect(hand.bar).to_contain_text("5 chosen:")
    for _ in range(2):  # past "into the next batch"
        hand.page.keyboard.press("Tab")
    hand.page.keyboard.press("Enter")
    notebook.wait_in_kernel("lab.a.value('pin') == (3, 17, 20, 21, 22)")
    hand.type_samples("3")
    hand.press("×5")
    notebook.wait_in_kernel("lab.a.value('boost') == {3: 5.0}")
    hand.press("clear")
    notebook.wait_in_kernel("not lab.a.value('boost') and lab.a.value('pin') == (17, 20, 21, 22)")
    hand.type_samples("3, 999")
    expect(hand.bar).to_contain_text("numbered from 0 to 139")
    assert notebook.in_kernel("len(lab.history.events)") != "0"


def test_picks_reach_a_run_that_trains(hand: HandView) -> None:
    hand.panel.press("Play")
    hand.notebook.wait_in_kernel("lab.history.steps > 5")
    hand.type_samples("1, 2, 3")
    hand.press("into the next batch")
    hand.notebook.wait_in_kernel("any(e.name == 'next' for e in lab.history.events)")
    hand.notebook.wait_in_kernel(
        "sorted(lab.a.batch(next(e.step for e in lab.history.events if e.name == 'next'))) == [1, 2, 3]"
    )
    hand.notebook.in_kernel("lab.pause()")


def test_points_take_the_colours_that_are_asked_for(hand: HandView) -> None:
    hand.notebook.in_kernel("lab.run(3)")
    menu = hand.bar.get_by_label("colour by")
    before = hand.panel.pixels()
    for by, says in (("visits", "never drawn"), ("height", ""), ("chance to be next", "×")):
        menu.select_option(label=by)
        hand.notebook.wait_in_kernel(f"lab.colour_by == {by!r}")
        before = hand.panel.wait_for_picture(other_than=before)
        expect(hand.bar.locator(".batchlab-key")).to_contain_text(says)
    hand.notebook.in_kernel("setattr(lab, 'colour_by', 'last loss')")
    expect(menu).to_have_value("last loss")


def test_what_if_without_them_is_run_b(hand: HandView) -> None:
    notebook = hand.notebook
    notebook.in_kernel("lab.run(30)")
    hand.type_samples("0-9")
    hand.press("what if without?")
    notebook.wait_in_kernel("lab.b is not None and lab.b.history.steps == 30")
    assert hand.value("sum(int(v) for v in lab.b.history.visits[:10])") == 0
    assert hand.value("sum(int(v) for v in lab.a.history.visits[:10])") > 0
    expect(hand.panel.canvas).to_have_attribute("aria-label", re.compile("B after 30 steps"))


def test_thumbnails_are_pointed_at_too(notebook: LabPage) -> None:
    hand = shown(notebook, IMAGES)
    notebook.in_kernel("lab.run(3)")
    first, second, *_ = hand.value("lab.history.indices[2].tolist()")
    hand.hover(first)
    expect(hand.card).to_contain_text(f"#{first}", timeout=PATIENCE)
    expect(hand.card.locator("img")).to_be_visible(timeout=PATIENCE)
    hand.click(second)
    hand.press("never")
    notebook.wait_in_kernel(f"lab.a.value('exclude') == ({second},)")
    notebook.screenshot("thumbnails")
    notebook.in_kernel("lab.stop()")


def test_the_past_is_pointed_at_and_gone_back_to(hand: HandView) -> None:
    notebook, panel = hand.notebook, hand.panel
    notebook.in_kernel("lab.run(30)")
    panel.press("Batch microscope")
    expect(panel.microscope).to_be_visible()
    panel.type("step", "12")
    panel.wait_for_text("Step 12")
    batch = hand.value("lab.a.batch(12).tolist()")
    expect(panel.microscope).to_have_attribute("aria-label", re.compile("^Step 12"))
    panel.root.get_by_role("button", name="go on from this step").click()
    notebook.wait_in_kernel("lab.history.steps == 12")
    panel.press("Step")
    notebook.wait_in_kernel("lab.history.steps == 13")
    assert hand.value("lab.a.batch(12).tolist()") == batch


def test_hover_pick_and_what_if_in_voila(
    chromium: Browser, lab_server: LabServer, screenshots: Path
) -> None:
    lab_server.add_notebook(
        "hands_app.ipynb",
        "from batchlab import BatchLab, datasets\n"
        "data = datasets.moons(n=200, share=0.3)\n"
        "lab = BatchLab(data.x_train, data.y_train)\n_ = lab.run(10)\nlab",
    )
    with opened(chromium, lab_server, screenshots) as lab_page:
        page = lab_page.page
        page.goto(
            f"{lab_server.url}voila/render/hands_app.ipynb?token={lab_server.token}",
            timeout=3 * PATIENCE,
        )
        hand = HandView(lab_page, PanelView(page.locator("body")))
        hand.panel.wait()
        box = hand.panel.canvas.bounding_box()
        for share in range(5, 60):  # sweep through the stage until something is met
            page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * share / 70)
            page.wait_for_timeout(30)
            if hand.card.is_visible():
                break
        expect(hand.card).to_contain_text("loss now", timeout=PATIENCE)
        hand.type_samples("0-4")
        hand.press("never")
        expect(hand.bar).to_contain_text("5 chosen:")
        hand.press("what if without?")
        expect(hand.panel.canvas).to_have_attribute(
            "aria-label", re.compile("B after 10 steps"), timeout=PATIENCE
        )
        lab_page.screenshot("hands-voila")
