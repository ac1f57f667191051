"""With nbgrader, where it is installed: a right, a half-right and a hostile submission are graded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from batchlab import course
from batchlab.notebook_guard import METADATA

pytest.importorskip("nbgrader", reason="nbgrader is not installed")

CHECK = """from batchlab.exercises import check
### BEGIN HIDDEN TESTS
assert check("{number}", {name})
### END HIDDEN TESTS
check("{number}", {name})"""


def source() -> Any:
    """Two exercises, a point each, and a text that is a solution."""
    cells = [
        new_markdown_cell("# A lesson"),
        new_code_cell(
            "import math\n\ndef steps(n, batch_size, epochs):\n    ### BEGIN SOLUTION\n"
            "    return math.ceil(n / batch_size) * epochs\n    ### END SOLUTION"
        ),
        new_code_cell(CHECK.format(number="01.3", name="steps")),
        new_code_cell(
            "### BEGIN SOLUTION\ndef size(share, chance):\n"
            "    return math.ceil(math.log(chance) / math.log(1 - share))\n### END SOLUTION"
        ),
        new_code_cell(CHECK.format(number="08.3", name="size")),
        new_markdown_cell("<!-- ### BEGIN SOLUTION -->\nRound up.\n<!-- ### END SOLUTION -->"),
    ]
    notebook = new_notebook(cells=cells, metadata=METADATA)
    course.mark(notebook)
    return notebook


def submissions() -> dict[str, Any]:
    """By student; each begins with the student's version."""
    right, half, hostile = (course.for_students(source()) for _ in range(3))
    answers = [cell.source for cell in course.for_instructors(source()).cells]
    right.cells[1].source, right.cells[3].source = answers[1], answers[3]
    half.cells[1].source = answers[1]
    hostile.cells[1].source = "import sys\n\ndef steps(n, batch_size, epochs):\n    sys.exit(0)"
    hostile.cells[3].source = "def size(share, chance):\n    while True:\n        print('more')"
    hostile.cells[4].source = "points = 100  # the test is gone"
    return {"right": right, "half": half, "hostile": hostile}


def nbgrader(folder: Path, *arguments: str) -> str:
    repository = Path(__file__).parents[1]
    path = os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


def test_submissions_are_graded_from_end_to_end(tmp_path: Path) -> None:
    from nbgrader.api import Gradebook

    (tmp_path / "nbgrader_config.py").write_text(
        "c = get_config()\nc.CourseDirectory.course_id = 'course'\n"
    )
    notebooks = {"source/lab": source()}
    notebooks |= {f"submitted/{name}/lab": each for name, each in submissions().items()}
    for place, notebook in notebooks.items():
        (tmp_path / place).mkdir(parents=True)
        nbformat.write(notebook, tmp_path / place / "lesson.ipynb")
    nbgrader(tmp_path, "generate_assignment", "lab", "--create")
    released = (tmp_path / "release/lab/lesson.ipynb").read_text()
    assert "math.ceil" not in released
    assert "Round up" not in released
    assert "assert check" not in released
    said = nbgrader(tmp_path, "autograde", "lab")
    assert "cannot be converted" not in said
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        scores = {each.student.id: each.score for each in book.assignment_submissions("lab")}
    assert scores == {"right": 2, "half": 1, "hostile": 0}
