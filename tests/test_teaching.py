"""What the guide for teachers promises: minutes that add up, files that are there."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from nbformat.v4 import new_notebook

from batchlab.notebook_guard import RULES, minutes

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
GUIDE = (NOTEBOOKS / "teaching.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| .*?\]\((\w+\.ipynb)\)(?:, (.+?))? \| (\d+) \|", re.MULTILINE)


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def section(notebook: Any, heading: str) -> Any:
    """The cells from a heading to the next of its kind, as a notebook."""
    starts = [
        (number, cell.source)
        for number, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.MULTILINE)
    ]
    places = [number for number, text in starts if f"## {heading}" in text.splitlines()]
    assert len(places) == 1, f"{heading!r} is not a section: {[text for _, text in starts]}"
    after = [number for number, _ in starts if number > places[0]]
    return new_notebook(cells=notebook.cells[places[0] : after[0] if after else None])


def true_minutes(name: str, heading: str) -> int:
    if heading:
        return minutes(section(read(name), heading))
    return int(re.search(r"about (\d+) minutes", read(name).cells[0].source)[1])


def parts() -> list[tuple[str, str, int]]:
    """(title, body, minutes in the title) of every part of the guide that states a sum."""
    found = re.findall(r"^##+ (.*): (\d+) minutes\n((?:(?!##).*\n)*)", GUIDE, re.MULTILINE)
    return [(title, body, int(total)) for title, total, body in found]


@pytest.mark.parametrize(("title", "body", "total"), parts(), ids=[part[0] for part in parts()])
def test_the_minutes_of_a_plan_add_up(title: str, body: str, total: int) -> None:
    rows = ROW.findall(body)
    assert len(rows) >= 2
    for name, heading, stated in rows:
        assert int(stated) == true_minutes(name, heading), (name, heading)
    assert sum(int(stated) for _, _, stated in rows) == total


def test_there_is_a_lab_and_a_plan_of_four_sessions() -> None:
    titles = [title for title, _, _ in parts()]
    assert [title for title in titles if title.startswith("Session ")] == titles[1:]
    assert len(titles) == 5
    assert parts()[0][2] <= 90


LAB = ROW.findall(parts()[0][1])


@pytest.mark.parametrize("name", list(dict.fromkeys(name for name, _, _ in LAB)))
def test_the_lab_runs_in_the_order_of_its_plan(name: str, tmp_path: Path) -> None:
    """A notebook's first cell, and then only the sections that the plan names."""
    source = read(name)
    imports = next(cell for cell in source.cells if cell.cell_type == "code")
    planned = [section(source, heading).cells for each, heading, _ in LAB if each == name]
    lesson = new_notebook(cells=[imports, *itertools.chain(*planned)])
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(lesson, kernel_name="python3", timeout=120, resources=place).execute()
    for cell in lesson.cells:
        if asked := re.search(r'^check\("([\d.]+)"', cell.source, re.MULTILINE):
            (output,) = cell.outputs
            assert output.data["text/plain"].startswith(f"{asked[1]} solved: ")


def test_every_link_of_the_guide_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", GUIDE)
    assert links
    for link in links:
        assert (NOTEBOOKS / link).exists(), link


def test_the_workflow_to_copy_guards_with_rules_that_there_are() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (job,) = yaml.safe_load(block)["jobs"].values()
    commands = " ".join(step.get("run", "") for step in job["steps"])
    for option in ("--nbval", "-p batchlab.notebook_guard", "--notebook-guard"):
        assert option in commands
    named = re.findall(r"^- `(\w[\w ]*)`:", GUIDE, re.MULTILINE)
    assert named
    assert set(named) <= set(RULES)


def test_results_are_collected_as_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    for student, solved in (("ada", True), ("bo", False)):
        (tmp_path / student).mkdir()
        kept = {"predictions": {}, "exercises": {"01.1": {"solved": solved, "attempts": 2}}}
        (tmp_path / student / "batchlab-progress.json").write_text(json.dumps(kept))
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == "ada: solved 1, tried 1\nbo: solved 0, tried 1\n"
