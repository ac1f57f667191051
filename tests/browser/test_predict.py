"""A prediction is made by hand, in a real page."""

from __future__ import annotations

from tests.browser.lab_page import LabPage

ASK = """from batchlab.exercises import card, check, predict, reveal
predict('02.3', 'Which share is seen?', unit='%')"""
CHOOSE = "predict('02.4', 'Which is better?', ['random', 'top-k'])"


def test_guesses_are_typed_and_clicked_and_then_compared(lab_page: LabPage) -> None:
    cells = (ASK, "reveal(63.2, '02.3')", CHOOSE, "reveal('random', '02.4')", "card()")
    lab_page.server.add_notebook("predict.ipynb", *cells)
    lab_page.open("predict.ipynb")
    lab_page.run_all()
    assert "No guess was made" in lab_page.text(1)
    field = lab_page.page.get_by_placeholder("your guess")
    field.fill("50,5")
    field.press("Enter")
    lab_page.page.get_by_text("Noted: 50.5 %").wait_for()
    lab_page.page.get_by_role("button", name="top-k").click()
    lab_page.page.get_by_text("Noted: top-k").wait_for()
    lab_page.run_cells(1, 3, 4)
    assert "02.3: you said 50.5 %, it is 63.2 % · 12.7 % away." in lab_page.text(1)
    assert "02.4: you said top-k, it is random · not this time." in lab_page.text(3)
    again = lab_page.page.get_by_role("button", name="random").last
    again.click()
    lab_page.page.get_by_text(
        "02.4: you said random, at first top-k, it is random · right."
    ).wait_for()


def test_a_check_that_never_ends_leaves_the_notebook_usable(lab_page: LabPage) -> None:
    answer = "def endless(n, batch_size, rng):\n    while True:\n        pass"
    check = "from batchlab.exercises import check\ncheck('02.1', endless, seconds=1)"
    lab_page.server.add_notebook("endless.ipynb", answer, check)
    lab_page.open("endless.ipynb")
    lab_page.run_all()
    assert "did not end within 1 seconds" in lab_page.text(1)
    assert lab_page.in_kernel("1 + 1") == "2"
