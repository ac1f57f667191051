"""Exercises are judged by what an answer does, and whatever it does there is an answer."""

from __future__ import annotations

import importlib
import json
import linecache
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from batchlab import course
from batchlab.exercises import card, check, hint, predict, results, reveal
from batchlab.exercises.checking import exercise
from batchlab.exercises.store import STORE, Store

NOTEBOOK_FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = [f"{number:02}" for number in range(1, 11)]


ANSWER = re.compile(r"^(right|wrong)(?:: ([^\n]*))?\n\n```python\n(.*?)```$", re.M | re.S)


def read_answers(notebook: str) -> list[tuple[str, str | None, str]]:
    """(exercise, what must be said of it or None if it is right, code) of every answer."""
    text = (Path(__file__).parent / "answers" / f"{notebook}.md").read_text(encoding="utf-8")
    return [
        (section.split()[0], says if kind == "wrong" else None, code)
        for section in text.split("\n## ")[1:]
        for kind, says, code in ANSWER.findall(section)
    ]


ANSWERS = [answer for notebook in NOTEBOOKS for answer in read_answers(notebook)]
RIGHT = [(number, code) for number, says, code in ANSWERS if says is None]
WRONG = [answer for answer in ANSWERS if answer[1] is not None]


def right_answer(number: str) -> Any:
    return written(next(code for each, code in RIGHT if each == number))


@pytest.fixture(autouse=True)
def kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STORE, "tables", {"predictions": {}, "exercises": {}})


def written(code: str) -> Any:
    """What a cell with this code defines as ``answer``."""
    names: dict[str, Any] = {"__name__": "__main__"}
    code = code.lstrip("\n")
    linecache.cache["<cell>"] = (len(code), None, code.splitlines(keepends=True), "<cell>")
    exec(compile(code, "<cell>", "exec"), names)
    return names["answer"]


@pytest.mark.parametrize(("number", "code"), RIGHT, ids=[number for number, _ in RIGHT])
def test_right_answers_pass_however_they_are_written(number: str, code: str) -> None:
    result = check(number, written(code))
    assert result, result


@pytest.mark.parametrize(
    ("number", "says", "code"), WRONG, ids=[f"{number}-{says}" for number, says, _ in WRONG]
)
def test_wrong_answers_get_the_sentence_meant_for_them(number: str, says: str, code: str) -> None:
    result = check(number, written(code))
    assert not result
    assert says in str(result)
    assert result.state == "your turn" or result.hint
    assert "0x" not in str(result)


def test_every_exercise_has_five_wrong_and_two_right_answers() -> None:
    right, wrong = (Counter(answer[0] for answer in answers) for answers in (RIGHT, WRONG))
    asked = []
    for notebook in NOTEBOOKS:
        table = importlib.import_module(f"batchlab.exercises.e{notebook}").EXERCISES
        assert 3 <= len(table) <= 4
        asked += list(table)
    assert list(right) == list(wrong) == asked
    assert min(right.values()) >= 2
    assert min(wrong.values()) >= 5
    assert all(len(exercise(number).hints) >= 2 for number in asked)


@pytest.mark.parametrize("path", sorted(NOTEBOOK_FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_asks_all_its_exercises_and_its_stubs_are_answered_politely(path: Path) -> None:
    """Of a student's copy run: the imports, what is to be written, and the checks."""
    source = nbformat.read(path, as_version=4)
    student = course.for_students(source)
    cells = [cell for cell in student.cells if cell.cell_type == "code"]
    graded = [cell for cell in cells if "nbgrader" in cell.metadata]
    notebook = path.stem[:2]
    names: dict[str, Any] = {"__name__": "__main__"}
    asked = []
    for cell in [cells[0], *graded]:
        checks = re.match(r'check\("([\d.]+)", (\w+)\)$', cell.source)
        if checks:
            asked.append(checks[1])
            result = check(checks[1], names[checks[2]], seconds=20)
            assert result.state == "your turn"
            assert str(result).startswith(f"{checks[1]} your turn: ")
        else:
            exec(compile(cell.source, cell.id, "exec"), names)
    assert sorted(asked) == list(importlib.import_module(f"batchlab.exercises.e{notebook}").EXERCISES)


# -- whatever an answer does, there is an answer ---------------------------------------------------

RANDOM = "def answer(n, batch_size, rng):\n"
# It calls something: in Python 3.10 a loop of nothing but "try: pass" lets no other thread run (bpo-29988).
STUBBORN = (
    RANDOM + "    while True:\n        try:\n            len('')\n        except:\n            pass"
)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ("did not end within 1 seconds", RANDOM + "    while True:\n        pass"),
        ("did not end within 1 seconds", STUBBORN),
        ("the batches do not end", RANDOM + "    while True:\n        yield [1, 2]"),
        ("did not end within 1 seconds", RANDOM + "    import time\n    time.sleep(5)"),
        ("prints more than", RANDOM + "    while True:\n        print('here I am')"),
        ("calls sys.exit", RANDOM + "    import sys\n    sys.exit(3)"),
        (
            "division by zero, in answer, line 2: return 1 / 0",
            RANDOM + "    return 1 / 0",
        ),
        ("RecursionError", RANDOM + "    return answer(n, batch_size, rng)"),
        ("KeyboardInterrupt", RANDOM + "    raise KeyboardInterrupt"),
        ("TypeError", "answer = lambda: None"),
        ("TypeError", "answer = 'random'"),
        ("your turn", "answer = None"),
        ("your turn", "answer = ..."),
        ("must be batches of indices, but it is None", RANDOM + "    return None"),
        ("a batch must be a row of whole numbers", RANDOM + "    return [['a', 'b']]"),
        ("a batch must be a row of whole numbers", RANDOM + "    return [[[1], [2, 3]]]"),
        (
            "IndexError: mine, in helper, line 3",
            RANDOM + "    def helper():\n        raise IndexError('mine')\n    helper()",
        ),
    ],
)
def test_hostile_and_broken_answers_are_answered(
    says: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = check("02.1", written(code), seconds=1)
    assert says in str(result)
    assert not result
    assert capsys.readouterr() == ("", "")
    assert check("02.1", right_answer("02.1"))  # nothing is left behind


def test_a_sampler_that_raises_in_draw_is_placed_in_the_learners_line() -> None:
    code = (
        "from batchlab.samplers import Sampler\nclass answer(Sampler):\n    def draw(self, size):\n"
    )
    says = str(check("04.1", written(code + "        return self.positon")))
    assert "AttributeError" in says
    assert "in draw, line 4: return self.positon" in says


@pytest.mark.parametrize("number", ["04.9", "11.1", "four", "4.1", ""])
def test_an_unknown_exercise_is_refused_by_name(number: str) -> None:
    with pytest.raises(ValueError, match=f"there is no exercise '{number}'"):
        check(number, None)


# -- what is kept ------------------------------------------------------------------------------------


@pytest.fixture
def progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("BATCHLAB_PROGRESS")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "batchlab-progress.json"


def test_hints_come_one_by_one_and_results_are_json(progress: Path) -> None:
    known = exercise("08.3").hints
    assert [hint("08.3").count("Hint") for _ in range(4)] == [1, 2, 3, 3]
    assert repr(hint("08.3")).splitlines()[-1] == f"Hint 3 of 3: {known[-1]}"
    assert not check("08.3", lambda share, chance: 1)
    assert check("08.3", right_answer("08.3"))
    assert not check("08.3", lambda share, chance: 1)  # once solved stays solved
    assert not check("08.2")
    assert results() == {"08.3": {"solved": True, "attempts": 3, "hints": 3}}
    assert json.loads(progress.read_text())["exercises"] == results()


def test_what_was_kept_is_read_by_the_next_kernel_and_damage_is_no_error(progress: Path) -> None:
    hint("08.3")
    assert Store().table("exercises")["08.3"]["hints"] == 1
    progress.write_text("{ half a file")
    assert Store().table("exercises") == {}
    progress.write_text("[]")
    assert Store().table("predictions") == {}


def test_two_open_notebooks_do_not_lose_each_others_results(progress: Path) -> None:
    one, other = Store(), Store()
    one.note("exercises", "01.1", solved=True)
    other.note("exercises", "02.1", solved=True)
    one.note("exercises", "01.2", solved=False)
    assert sorted(json.loads(progress.read_text())["exercises"]) == ["01.1", "01.2", "02.1"]
    assert sorted(other.table("exercises")) == ["01.1", "01.2", "02.1"]


def test_a_folder_that_cannot_be_written_to_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHLAB_PROGRESS", "/no/such/folder/progress.json")
    assert "Hint 1" in hint("08.3")
    assert results()["08.3"]["hints"] == 1


def test_a_number_is_guessed_revealed_and_kept(
    progress: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict("02.3", "Which share of the samples is seen?", unit="%", guess="50 %")
    assert capsys.readouterr().out == "Predict 02.3: Which share of the samples is seen? (in %)\n"
    assert repr(reveal(63.2)) == "02.3: you said 50 %, it is 63.2 % · 13.2 % away."
    kept = json.loads(progress.read_text())["predictions"]["02.3"]
    assert (kept["guess"], kept["truth"]) == (50, 63.2)


def test_a_choice_is_right_or_not() -> None:
    predict("06.1", "Which?", ["random", "top-k"], guess="random")
    assert reveal("top-k") == "06.1: you said random, it is top-k · not this time."
    predict("06.1", "Which?", ["random", "top-k"], guess="top-k")
    assert reveal("top-k", "06.1").endswith("right.")
    with pytest.raises(ValueError, match="'rho' is not among the options"):
        reveal("rho")
    with pytest.raises(ValueError, match="'rho' is not among the options"):
        predict("06.1", "Which?", ["random", "top-k"], guess="rho")
    with pytest.raises(ValueError, match="a number is asked for, got 'many'"):
        predict("06.2", "How many?", guess="many")
    with pytest.raises(ValueError, match="there is no prediction '06.9'"):
        reveal(1, "06.9")


def test_skipping_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    predict("09.8", "How many?")
    assert reveal(3) == "09.8: it is 3. No guess was made."


def widgets_of(ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """The widget that is shown, and the text beside it."""
    shown: list[Any] = []
    monkeypatch.setattr(
        "batchlab.exercises.predictions._show", lambda widget, text: shown.append((widget, text))
    )
    ask()
    return shown[0]


def test_the_widget_takes_a_guess(progress: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widget, _ = widgets_of(lambda: predict("02.3", "How much?", unit="%"), monkeypatch)
    field, said = widget.children[1].children
    field.value = "much"
    assert said.value == "A number, please."
    field.value = "60,5 %"
    assert said.value == "Noted: 60.5 %. Now run the next cell."
    assert reveal(63.2) == "02.3: you said 60.5 %, it is 63.2 % · 2.7 % away."
    widget, _ = widgets_of(lambda: predict("02.4", "Which?", ["a", "b"]), monkeypatch)
    widget.children[1].children[0].value = "b"
    assert reveal("a").endswith("not this time.")


def test_the_card_asks_the_worst_again(progress: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, guess, truth in (
        ("1", 9, 10),
        ("2", 1, 10),
        ("3", 10, 10),
        ("4", 5, 10),
        ("5", 80, 10),
    ):
        predict(number, f"Question {number}?", guess=guess)
        reveal(truth)
    predict("6", "Never revealed?", guess=1)
    widget, text = widgets_of(card, monkeypatch)
    assert text.splitlines()[0].startswith("5 predictions, 1 of them right or nearly")
    assert [line[0] for line in text.splitlines()[1:]] == ["2", "5", "4"]
    assert "10" not in text  # the truth comes after the second guess
    field, said = widget.children[1].children[1].children
    field.value = "9"
    assert said.value == "2: you said 9, at first 1, it is 10 · 1 away."
    assert json.loads(progress.read_text())["predictions"]["2"]["again"] == 9


def test_without_a_front_end_the_output_is_always_the_same(tmp_path: Path) -> None:
    """Twice the same notebook in the same folder, as nbval runs it."""
    source = (
        "from batchlab.exercises import card, check, hint, predict, results, reveal\n"
        "predict('02.3', 'How much?', unit='%')",
        "reveal(63.2)",
        "check('08.3')",
        "hint('08.3')",
        "card()",
    )
    seen = []
    for _ in range(2):
        notebook = new_notebook(cells=[new_code_cell(code) for code in source])
        NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
        outputs = [out for cell in notebook.cells for out in cell.outputs]
        seen.append([out.get("data", {}).get("text/plain", out.get("text")) for out in outputs])
    assert seen[0] == seen[1]
    assert seen[0][:2] == [
        "Predict 02.3: How much? (in %)",
        "02.3: it is 63.2 %. No guess was made.",
    ]
    assert seen[0][3].startswith("Hint 1 of 3: ")
    assert "card is empty" in seen[0][4]
    assert list(tmp_path.iterdir()) == []
