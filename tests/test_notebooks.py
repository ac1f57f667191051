"""The notebooks are fit to be published; and the guard that says so can say no."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from batchlab import BatchLab, CurriculumSampler, RankSampler, course, datasets
from batchlab.lab.experiment import STRATEGIES
from batchlab.notebook_guard import (
    GENERAL,
    METADATA,
    broken,
    faults,
    measures,
    minutes,
    notebooks_in,
)

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = notebooks_in(REPOSITORY / "notebooks")
DRAWING = REPOSITORY / "batchlab" / "lab" / "drawing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_be_published(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert broken(notebook) == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_can_be_handed_out(path: Path) -> None:
    student = course.for_students(nbformat.read(path, as_version=4))
    nbformat.validate(student)
    assert "### BEGIN" not in nbformat.writes(student)
    for cell in student.cells:
        if cell.cell_type == "code":
            compile(cell.source, cell.id, "exec")
            assert not cell.outputs


@pytest.fixture(scope="module")
def on_the_panel() -> set[str]:
    """All that can be read on a panel: controls, the hand's tools, titles of charts."""
    data = datasets.moons(n=60)
    paced = CurriculumSampler(range(len(data.y_train)), 32)
    found = set(re.findall(r'"([^"]+)"', (DRAWING / "hand.js").read_text(encoding="utf-8")))
    found = {part for words in found for part in words.split(" (")}  # "choose (shift: lasso)"
    for strategies in (STRATEGIES, {"rank": RankSampler, "curriculum": paced}):
        lab = BatchLab(data.x_train, data.y_train, strategies=strategies, classes=data.classes)
        found |= {getattr(control, "description", "") for control in lab.controls.values()}
        found |= {axes.get_title(loc="left") for axes in lab.views.picture.axes.values()}
        found |= set(strategies)
    return {words.casefold() for words in found}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_names_only_what_the_panel_has(path: Path, on_the_panel: set[str]) -> None:
    assert strangers(nbformat.read(path, as_version=4), on_the_panel) == []


def strangers(notebook: Any, on_the_panel: set[str]) -> list[tuple[int, str]]:
    """(cell, bold words) that neither the panel nor the notebook's code knows.

    Looked at are the texts that tell what to do with a panel, and the section before one is shown.
    """
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    own = {name.casefold() for name in re.findall(r'"([^"\n]+)"', code)}  # strategies, sources
    own |= set(re.findall(r"^    (\w+) = Parameter", code, re.MULTILINE))
    known = on_the_panel | own | {f"ratio {name}" for name in own} | {"your turn"}
    found = []
    for number, (cell, after) in enumerate(zip(notebook.cells, notebook.cells[1:])):
        shows = after.source.split("\n")[-1] in ("lab", "mine")
        if cell.cell_type == "markdown" and ("**Play**" in cell.source or shows):
            text = cell.source.split("\n## ")[-1]
            bold = [words.strip(".,:") for words in re.findall(r"\*\*(.+?)\*\*", text)]
            found += [(number, words) for words in bold if words.casefold() not in known]
    return found


def test_what_a_panel_does_not_have_is_found(on_the_panel: set[str]) -> None:
    text = "## 3. Live\n\nPress **Pause**, drag **up**; look at **Class mix**, **Loss**, **spotlight**."
    code = '{"spotlight": mine}\nclass Spotlight(Sampler):\n    up = Parameter(1)\nlab'
    notebook = new_notebook(cells=[new_markdown_cell(text), new_code_cell(code)])
    assert strangers(notebook, on_the_panel) == [(0, "Pause"), (0, "Class mix")]


def test_no_notebook_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="no notebook"):
        notebooks_in(tmp_path)


def picture(metadata: dict[str, Any] | None = None, **data: str) -> Any:
    data = {"image/png": "aGVsbG8=", **{"text/plain": "A line that falls."}, **data}
    return new_output("display_data", data, metadata=metadata or {})


GOOD_TITLE = "# 01 · Title\n\n**You will learn** much.\n\n**Time** about 10 minutes"


def good() -> Any:
    """A notebook without a fault. Cell 1 shows a picture, cell 4 is the exercise's."""
    cells = [
        new_markdown_cell(GOOD_TITLE),
        new_code_cell("show()", execution_count=1, outputs=[picture()]),
        new_code_cell("print('~')", execution_count=2, outputs=[new_output("stream", text="~\n")]),
        new_markdown_cell("## What we saw\n\n![A panel](a.png)\n\n## Exercise\n\nFind it."),
        new_code_cell("answer = None", execution_count=3),
        new_markdown_cell("<details><summary>Solution</summary>None</details>"),
    ]
    return new_notebook(cells=cells, metadata=METADATA)


def test_good_notebook_has_no_fault() -> None:
    assert faults(good()) == []


def source(number: int, text: str) -> Callable[[Any], None]:
    return lambda notebook: notebook.cells[number].update(source=text)


def count(number: int, value: int | None) -> Callable[[Any], None]:
    return lambda notebook: notebook.cells[number].update(execution_count=value)


def output(number: int, value: Any) -> Callable[[Any], None]:
    return lambda notebook: notebook.cells[number].update(outputs=[value])


def metadata(**values: Any) -> Callable[[Any], None]:
    return lambda notebook: notebook.metadata.update(values)


def tag(name: str) -> Callable[[Any], None]:
    return lambda notebook: notebook.cells[2].metadata.update(tags=[name])


def without(number: int) -> Callable[[Any], None]:
    return lambda notebook: notebook.cells.pop(number)


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
STDERR = new_output("stream", name="stderr", text="oneDNN is on")
OTHER_KERNEL = {"display_name": "my-env", "language": "python", "name": "my-env"}
EXEMPT = "# NBVAL_IGNORE_OUTPUT\n# Times differ between machines.\n{}"
TOLD = "## Exercise\n\nOf 20 000 rows 14 % came, or 14.4 %, 0.1 of all, in 2.5 s. "
NO_RESULTS = (
    "In 01.1 of notebooks 02 and 03: `x = 7`, $n = 8$ (Wu, 2020, arXiv:2012.03107), Keras 9.9.\n\n"
    "**10.4** Next: [10 · A](10.md#5)"
)
NO_MINUTES = "# 01 · Title\n\n**You will learn** much."


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (count(1, None), "not executed once each from the top: [None, 2, 3]"),
        (count(2, 7), "not executed once each from the top: [1, 7, 3]"),
        (
            lambda notebook: notebook.cells.reverse(),
            "not executed once each from the top: [3, 2, 1]",
        ),
        (lambda notebook: notebook.cells.clear(), "there is no code cell"),
        (output(2, ERROR), "cell 2 holds an error: ValueError: no"),
        (output(2, STDERR), "cell 2 holds stderr: 'oneDNN is on'"),
        (source(2, "open('/home/ada/x')"), "path of one machine: /home/ada/x"),
        (source(3, "## Exercise\nSee /tmp/x, solution"), "path of one machine: /tmp/x"),
        (output(2, new_output("stream", text="/root/x")), "path of one machine: /root/x"),
        (output(2, new_output("stream", text="C:\\Users\\Ada")), "machine: C:\\Users\\Ada"),
        (output(1, picture(**{"text/plain": "at /Users/ada"})), "machine: /Users/ada"),
        (metadata(kernelspec=OTHER_KERNEL), "metadata must be"),
        (metadata(language_info={"name": "python", "version": "3.11.2"}), "metadata must be"),
        (metadata(widgets={}), "metadata must be"),
        (source(2, "# NBVAL_IGNORE_OUTPUT\nprint(1)"), "needs a reason"),
        (source(2, "# NBVAL_SKIP"), "needs a reason"),
        (source(2, "print(1)  # NBVAL_IGNORE_OUTPUT"), "counts only alone on its line"),
        (tag("raises-exception"), "exempted by a tag"),
        (tag("nbval-skip"), "exempted by a tag"),
        (without(0), "must be a text with the title"),
        (source(0, "You will learn this in 10 minutes."), "must be a text with the title"),
        (source(0, "# 01 · Title\n\n10 minutes"), 'what "you will learn"'),
        (source(0, GOOD_TITLE.replace("10 min", "15 min")), "it says 15 minutes, but takes 10"),
        (source(3, "## Exercise\n\nSolution. " + "word " * 1000), "words, more than 1000"),
        (source(2, "x = 1\n" * 160), "lines, more than 150"),
        (output(2, new_output("stream", text="small: True\n")), "1 of 1 printed lines say True"),
        (output(2, new_output("stream", text="~" * 450_000)), "451 kB large, more than 400"),
        (source(4, "answer = 1\n### BEGIN SOLUTION"), "cell 4: '### BEGIN SOLUTION' has no end"),
        (source(4, "check('01.1', answer)"), "exercise 01.1 has no solution between"),
        (source(0, NO_MINUTES), "how many minutes"),
        (source(2, EXEMPT.format("print(1)")), "nothing is asserted in it or in the next one"),
        (source(3, "## Exercise\n\n14.4 % come. Solution."), "says '14.4 %', which no cell"),
        (source(3, "## Exercise\n\nOf 20 000 rows. Solution."), "says '20 000', which no cell"),
        (source(3, "## Exercise\n\nAbout 37 of them. Solution."), "says '37', which no cell"),
        (output(1, picture(**{"text/plain": "<Figure size 640x480>"})), "no alternative text"),
        (output(1, picture(**{"text/plain": ""})), "no alternative text"),
        (source(3, "![](a.png)\n## Exercise\nsolution"), "no alternative text in ![](a.png)"),
        (source(3, '<img src="a.png">\n## Exercise'), 'no alternative text in <img src="a.png">'),
        (source(3, "## What we saw"), "last section must be an exercise, got '## What we saw'"),
        (source(3, "No heading"), "there are no sections"),
        (without(4), "needs a code cell"),
        (without(5), "needs a solution"),
    ],
)
def test_guard_finds(damage: Callable[[Any], None], fault: str) -> None:
    notebook = good()
    damage(notebook)
    assert any(fault in found for found in faults(notebook)), faults(notebook)


@pytest.mark.parametrize(
    "change",
    [
        source(2, EXEMPT.format("print(1)\nassert share < 0.2")),
        lambda notebook: (
            source(2, EXEMPT.format("share = 0.1"))(notebook),
            source(4, "assert share < 0.2")(notebook),
        ),
        lambda notebook: (
            source(2, "n = 20_000\ntime = 2.51")(notebook),
            output(2, new_output("stream", text="share 0.1437\n"))(notebook),
            source(3, TOLD + NO_RESULTS)(notebook),
        ),
        source(1, ""),
        output(2, new_output("stream", text="small: True\n" + "share: 0.3\n" * 9)),
        output(2, new_output("execute_result", {"text/plain": "True"}, execution_count=2)),
        output(1, picture({"image/png": {"alt": "A line."}}, **{"text/plain": "<Figure>"})),
        source(3, '<img src="a.png" alt="A panel">\n\n## Exercise\n'),
    ],
)
def test_guard_lets_pass(change: Callable[[Any], None]) -> None:
    notebook = good()
    change(notebook)
    if not notebook.cells[1].source:  # an empty cell is not executed
        notebook.cells[1].update(execution_count=None, outputs=[])
        for number, cell in enumerate((notebook.cells[2], notebook.cells[4]), start=1):
            cell.execution_count = number
    assert faults(notebook) == []


def test_minutes_follow_from_what_a_lesson_asks() -> None:
    text = "# Title\n\n" + "word " * 399
    cells = [
        new_markdown_cell(text),
        new_code_cell("predict('01.1', 'How many?')\n\nx = 1\nlab = BatchLab(x)\nlab"),
        new_code_cell("check('01.2', x)\ncheck('01.2', x)\ncheck('01.3', x)"),
        new_markdown_cell("<details>" + "word " * 999 + "</details>"),
    ]
    notebook = new_notebook(cells=cells)
    found = {"words": 400, "lines": 7, "predictions": 1, "panels": 1, "exercises": 2}
    assert measures(notebook) == found
    assert minutes(notebook) == 25  # 2 + 0.6 + 1 + 5 + 16


# -- the plugin, as a team would run it ------------------------------------------------------------


def guarded(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["-q", "-p", "no:nbval", "-p", "batchlab.notebook_guard", "--notebook-guard"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *command, *options, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def test_the_plugin_fails_bad_notebooks_and_passes_good_ones(tmp_path: Path) -> None:
    nbformat.write(good(), tmp_path / "good.ipynb")
    ran = guarded(tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout
    bad = good()
    bad.cells[1].execution_count = None
    bad.cells[2].source = "open('/home/ada/x')"
    bad.cells[0].source = "No title, and no time."
    nbformat.write(bad, tmp_path / "bad.ipynb")
    ran = guarded(tmp_path)
    assert "1 failed, 1 passed" in ran.stdout
    for fault in ("not executed once each", "path of one machine: /home/ada/x", "with the title"):
        assert fault in ran.stdout
    assert "you will learn" not in ran.stdout  # a rule for lessons only
    assert "Traceback" not in ran.stdout


def test_the_plugin_takes_its_rules_from_the_configuration(tmp_path: Path) -> None:
    notebook = good()
    notebook.cells[0].source = "# Title"
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    assert guarded(tmp_path).returncode == 0
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nnotebook_guard_rules =\n    title\n    opening\n"
    )
    assert 'what "you will learn"' in guarded(tmp_path).stdout
    (tmp_path / "pytest.ini").write_text("[pytest]\nnotebook_guard_rules = titel\n")
    assert "there is no rule 'titel'. There are metadata, order" in guarded(tmp_path).stdout


def test_the_plugin_is_silent_without_its_switch(tmp_path: Path) -> None:
    nbformat.write(new_notebook(), tmp_path / "bad.ipynb")
    options = ["-p", "no:nbval", "-p", "batchlab.notebook_guard", "-q", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options], capture_output=True, text=True, cwd=tmp_path
    )
    assert "no tests ran" in ran.stdout


def test_rules_for_every_notebook_ask_nothing_of_a_lesson() -> None:
    notebook = good()
    notebook.cells[0].source = "# Title"
    notebook.metadata = {}
    del notebook.cells[3:]
    assert faults(notebook, GENERAL) == []
    assert len(faults(notebook)) > 3
