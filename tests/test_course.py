"""One source, several notebooks: stubs fail politely, solutions pass, and nothing leaks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from batchlab import course
from batchlab.course import for_instructors, for_students, mark, student_copy, unmarked

ANSWER = '''from batchlab.samplers import Sampler
import numpy as np
class BackwardsSampler(Sampler):
    """From the last to the first."""
    def draw(self, size):
        ### BEGIN SOLUTION
        first = self.n - 1 - self.position
        return np.arange(first, first - size, -1)
        ### END SOLUTION'''
CHECK = """from batchlab.exercises import check
### BEGIN HIDDEN TESTS
assert check("04.1", BackwardsSampler)
### END HIDDEN TESTS
check("04.1", BackwardsSampler)"""


def source() -> Any:
    printed = [new_output("stream", text="63.2\n")]
    cells = [
        new_markdown_cell("# 04 · A lesson"),
        new_code_cell("print(63.2)\nreveal(63.2)", execution_count=1, outputs=printed),
        new_markdown_cell("It is 63 %, as always.\n\n## 2. Next\n\nText."),
        new_code_cell(ANSWER),
        new_code_cell(CHECK),
        new_markdown_cell(
            "<!-- ### BEGIN SOLUTION -->\nBackwards it is.\n<!-- ### END SOLUTION -->"
        ),
    ]
    for cell in cells:  # older files have none
        cell.id = f"cell-{cells.index(cell):02}"
    return new_notebook(cells=cells)


def test_a_student_gets_stubs_and_no_answers() -> None:
    before = source()
    student = for_students(before)
    assert before == source()
    texts = [cell.source for cell in student.cells]
    assert texts[3].endswith(
        'def draw(self, size):\n        # Your turn.\n        raise NotImplementedError("your turn")'
    )
    assert texts[4].splitlines()[1:] == ['check("04.1", BackwardsSampler)']
    assert len(texts) == 5  # the text with the solution is gone
    assert texts[2].startswith(
        "<details><summary>Open after your prediction</summary>\n\nIt is 63 %"
    )
    assert texts[2].endswith("</details>\n\n## 2. Next\n\nText.")
    assert all(not cell.outputs for cell in student.cells if cell.cell_type == "code")
    assert all(cell.execution_count is None for cell in student.cells if cell.cell_type == "code")
    assert [cell.id for cell in student.cells] == [cell.id for cell in before.cells[:5]]
    assert "SOLUTION" not in str(student) and "HIDDEN" not in str(student)
    nbformat.validate(student)
    assert for_students(student) != student  # folded once more: a copy is no source


def test_what_is_to_be_done_next_is_not_folded_away() -> None:
    for beginning in ("**Your turn.** Press.", "> A quote.", "## 2. Next"):
        notebook = source()
        notebook.cells[2].source = f"It is 63 %.\n\n{beginning}"
        assert for_students(notebook).cells[2].source.endswith(f"</details>\n\n{beginning}")


def test_what_stands_there_for_nbval_tells_students_nothing() -> None:
    cell = new_code_cell(
        "# NBVAL_IGNORE_OUTPUT\n# The last digit differs.\nfor x in y:\n    print(x)\n"
        "    assert (\n        0.8 < x\n    )\nreveal(x)"
    )
    magic = new_code_cell("%pip install batchlab\nassert here")
    copies = for_students(new_notebook(cells=[cell, magic])).cells
    assert copies[0].source == "# The last digit differs.\nfor x in y:\n    print(x)\nreveal(x)"
    assert copies[1].source == magic.source
    assert "assert" in for_instructors(new_notebook(cells=[cell])).cells[0].source


def test_badges_lead_to_the_copy_and_colab_installs_it(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    nbformat.write(source(), tmp_path / "notebooks" / "04_lesson.ipynb")
    folders = [str(tmp_path / "notebooks"), str(tmp_path / "handed out")]
    with pytest.raises(SystemExit):
        course.main(["--github", "https://github.com/you/copy", *folders])
    assert not (tmp_path / "handed out").exists()
    course.main(["--github", "you/copy", *folders])
    made = nbformat.read(tmp_path / "handed out" / "04_lesson.ipynb", as_version=4)
    assert made.cells[0].source.startswith("# 04 · A lesson\n\n[![Open in Binder](")
    links = re.findall(r"\]\((https://[^)]+)\)(?:\n|$)", made.cells[0].source)
    assert links == [
        "https://mybinder.org/v2/gh/you/copy/HEAD?labpath=handed%20out/04_lesson.ipynb",
        "https://colab.research.google.com/github/you/copy/blob/HEAD/handed%20out/04_lesson.ipynb",
    ]
    assert "git+https://github.com/you/copy" in made.cells[1].source
    exec(made.cells[1].source, {})  # not on Colab: nothing happens
    assert [cell.source for cell in made.cells[2:]] == [
        cell.source for cell in for_students(source()).cells[1:]
    ]


def test_an_instructor_gets_solutions_and_outputs_without_markers() -> None:
    solved = for_instructors(source())
    assert [len(cell.outputs) for cell in solved.cells if cell.cell_type == "code"] == [1, 0, 0]
    assert "return np.arange(first, first - size, -1)" in solved.cells[3].source
    assert 'assert check("04.1", BackwardsSampler)' in solved.cells[4].source
    assert solved.cells[5].source == "Backwards it is."
    assert "###" not in str(solved)


@pytest.mark.parametrize(
    ("solution", "stub"),
    [
        ("my_size = 299", "my_size = ...  # Your turn."),
        (
            "a, b = 1, 2\nc: int = 3",
            "a = ...  # Your turn.\nb = ...  # Your turn.\nc = ...  # Your turn.",
        ),
        ("class Mine:\n    x = 1", "Mine = ...  # Your turn."),
        ("f = lambda x: x", "f = ...  # Your turn."),
        ("def f(x): return x", "f = ...  # Your turn."),
        (
            'def f(x,\n      y=1):\n    """Doc."""\n    return x',
            'def f(x,\n      y=1):\n    """Doc."""\n    # Your turn.\n'
            '    raise NotImplementedError("your turn")',
        ),
        (
            "@cache\ndef f(x):\n    y = x\n\n    return y",
            '@cache\ndef f(x):\n    # Your turn.\n    raise NotImplementedError("your turn")',
        ),
        (
            "    def draw(self, size):\n        return 1\n\n    def two(self):\n        return 2",
            "    def draw(self, size):\n        # Your turn.\n"
            '        raise NotImplementedError("your turn")\n'
            '    def two(self):\n        # Your turn.\n        raise NotImplementedError("your turn")',
        ),
        ("    y = x\n    return y", '    # Your turn.\n    raise NotImplementedError("your turn")'),
        (
            "    def g():\n        return 1\n    return g",
            '    # Your turn.\n    raise NotImplementedError("your turn")',
        ),
        ("print('nothing is defined')", ""),
    ],
)
def test_a_stub_fails_only_when_it_is_used(solution: str, stub: str) -> None:
    cell = new_code_cell(f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION")
    (made,) = for_students(new_notebook(cells=[cell])).cells
    assert made.source == stub


def test_stubs_are_answered_politely_and_solutions_pass(tmp_path: Path) -> None:
    for make, state in (
        (for_students, "your turn"),
        (for_instructors, "solved"),
        (lambda n: n, "solved"),
    ):
        notebook = make(source())
        del notebook.cells[1]
        NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
        (output,) = notebook.cells[3].outputs
        assert output.output_type == "display_data"  # no value that nbgrader would take for points
        assert output.data["text/plain"].startswith(f"04.1 {state}: ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("### BEGIN SOLUTION\nx = 1", "cell 0: '### BEGIN SOLUTION' has no end"),
        ("x = 1\n### END SOLUTION", "cell 0: '### END SOLUTION' has no partner before it"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "has no partner"),
        ("### BEGIN HIDDEN TESTS\nassert 1", "'### BEGIN HIDDEN TESTS' has no end"),
    ],
)
def test_a_marker_without_partner_is_refused(text: str, fault: str, tmp_path: Path) -> None:
    notebook = new_notebook(cells=[new_code_cell(text)])
    for make in (for_students, for_instructors):
        with pytest.raises(ValueError, match=fault):
            make(notebook)
    nbformat.write(notebook, tmp_path / "07_bad.ipynb")
    with pytest.raises(ValueError, match="07_bad.ipynb, cell 0"):
        student_copy(tmp_path / "07_bad.ipynb")


def test_nbgraders_metadata_follow_from_the_markers() -> None:
    notebook = source()
    assert "the answer cell of exercise 04.1 lacks nbgrader's metadata" in list(unmarked(notebook))
    mark(notebook)
    assert list(unmarked(notebook)) == []
    answer, test = (notebook.cells[number].metadata["nbgrader"] for number in (3, 4))
    assert (answer["grade_id"], answer["solution"], answer["grade"]) == ("answer-04-1", True, False)
    assert (test["grade_id"], test["locked"], test["points"]) == ("test-04-1", True, 1)
    once = nbformat.writes(notebook)
    mark(notebook)
    assert nbformat.writes(notebook) == once
    assert for_students(notebook).cells[4].metadata["nbgrader"] == test


def test_an_exercise_that_cannot_be_graded_is_named() -> None:
    notebook = source()
    notebook.cells[3].source = "BackwardsSampler = 1"
    assert next(unmarked(notebook)).startswith("exercise 04.1 has no solution between")
    notebook = source()
    notebook.cells[3].source += '\ncheck("04.1", BackwardsSampler)'
    assert any(
        "cell 3 holds a solution: its check belongs" in fault for fault in unmarked(notebook)
    )
    notebook = source()
    del notebook.cells[4]
    assert any(
        "cell 3 holds a solution: its check belongs" in fault for fault in unmarked(notebook)
    )


def test_the_command_writes_a_folder_of_either_version(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(b"png")
    (folder / "README.md").write_text("Read me.")
    (folder / ".hidden").write_text("no")
    nbformat.write(source(), folder / "04_lesson.ipynb")
    for options, kept in (([], False), (["--solved"], True)):
        target = tmp_path / f"out{kept}"
        course.main([*options, str(folder), str(target)])
        names = sorted(
            str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()
        )
        assert names == ["04_lesson.ipynb", "README.md", "images/a.png"]
        assert ("first - size" in (target / "04_lesson.ipynb").read_text()) == kept
    assert (tmp_path / "outFalse" / "04_lesson.ipynb").read_bytes() == student_copy(
        folder / "04_lesson.ipynb"
    )
    for arguments, fault in (
        ([folder, target], "is there already"),
        ([tmp_path, tmp_path / "x"], "no notebook"),
    ):
        command = [sys.executable, "-m", "batchlab.course", *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 2
        assert fault in ran.stderr
