"""The notebooks are fit to be published; and the guard that says so can say no."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.notebook_guard import METADATA, faults, notebooks_in

NOTEBOOKS = notebooks_in(Path(__file__).parents[1] / "notebooks")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_be_published(path: Path) -> None:
    assert faults(nbformat.read(path, as_version=4)) == []


def test_no_notebook_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match="no notebook"):
        notebooks_in(tmp_path)


def picture(metadata: dict[str, Any] | None = None, **data: str) -> Any:
    data = {"image/png": "aGVsbG8=", **{"text/plain": "A line that falls."}, **data}
    return new_output("display_data", data, metadata=metadata or {})


def good() -> Any:
    """A notebook without a fault. Cell 1 shows a picture, cell 4 is the exercise's."""
    cells = [
        new_markdown_cell("# 01 · Title\n\n**You will learn** much.\n\n**Time** about 10 minutes"),
        new_code_cell("show()", execution_count=1, outputs=[picture()]),
        new_code_cell("print('~')", execution_count=2, outputs=[new_output("stream", text="~\n")]),
        new_markdown_cell("## What we saw\n\n![A panel](a.png)\n\n## Exercise\n\nFind it."),
        new_code_cell("answer = None", execution_count=3),
        new_markdown_cell("<details><summary>Solution</summary>1</details>"),
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
        (source(0, NO_MINUTES), "how many minutes"),
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
        source(2, "# NBVAL_IGNORE_OUTPUT\n# Times differ between machines.\nprint(1)"),
        source(1, ""),
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
