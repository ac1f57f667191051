"""One source, several notebooks: what a student gets, and what an instructor gets.

In the source a solution stands between nbgrader's own markers, so that nbval runs it too::

    class BackwardsSampler(Sampler):
        def draw(self, size):
            ### BEGIN SOLUTION
            first = self.n - 1 - self.position
            return np.arange(first, first - size, -1)
            ### END SOLUTION

and tests that students do not see between ``### BEGIN HIDDEN TESTS`` and ``### END HIDDEN TESTS``.
In a text, the same marker stands in a comment: ``<!-- ### BEGIN SOLUTION -->``. Nothing but nbformat
is needed. From the command line::

    python -m batchlab.course notebooks to_hand_out
    python -m batchlab.course --solved notebooks for_instructors
    python -m batchlab.course --github you/your-copy notebooks to_hand_out
"""

from __future__ import annotations

import argparse
import ast
import copy
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

SOLUTION, HIDDEN = "SOLUTION", "HIDDEN TESTS"
YOUR_TURN = "# Your turn."
_CHECK = re.compile(r"\bcheck\(\s*[\"'](\d+\.\d+)")
_BADGES = """\
[![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{repository}/HEAD?labpath={place})
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{repository}/blob/HEAD/{place})"""
_ON_COLAB = """\
# For Colab, which has no batchlab. Elsewhere this does nothing.
import sys

if "google.colab" in sys.modules:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/{repository}")
    from google.colab import output

    output.enable_custom_widget_manager()"""
_FOLDED = "<details><summary>Open after your prediction</summary>"


def for_students(notebook: Any) -> Any:
    """A copy to work in: stubs for solutions, no hidden tests, no outputs, no answers in sight.

    A solution inside a function becomes ``raise NotImplementedError``; so does the inside of one that
    defines a function. Other names become ``name = ...``. :func:`batchlab.exercises.check` answers
    both with "your turn". The text after a ``reveal`` is folded, up to what is to be done next:
    a heading, a quote, or "Your turn". What stands in a cell for nbval, its markers and assertions of
    what comes out, goes.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        The source. It is left as it is.

    Raises
    ------
    ValueError
        If a marker has no partner; names the cell.
    """
    student = _rewritten(notebook, solved=False)
    student.cells = [
        cell for cell in student.cells if cell.cell_type == "code" or cell.source.strip()
    ]
    for before, cell in zip([None, *student.cells], student.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = _unguarded(cell.source)
        elif before is not None and re.search(r"^reveal\(", before.source, re.MULTILINE):
            cell.source = _fold(cell.source)
    return student


def for_instructors(notebook: Any) -> Any:
    """A copy with solutions, hidden tests and outputs, without the markers.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        The source. It is left as it is.
    """
    return _rewritten(notebook, solved=True)


def with_badges(notebook: Any, repository: str, place: str) -> Any:
    """A copy with badges for Binder and Colab below its title, and a first cell that Colab needs.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Any version. It is left as it is.
    repository : str
        On GitHub, ``owner/name``: a copy of batchlab's, from which Binder and Colab install it.
    place : str
        Where in it the notebook lies, such as ``to_hand_out/01_fit_baseline.ipynb``.
    """
    from nbformat.v4 import new_code_cell

    result = copy.deepcopy(notebook)
    title, _, rest = result.cells[0].source.partition("\n")
    badges = _BADGES.format(repository=repository, place=quote(place))
    result.cells[0].source = f"{title}\n\n{badges}\n{rest}"
    install = new_code_cell(_ON_COLAB.format(repository=repository), id="on-colab")
    result.cells.insert(1, install)
    return result


def mark(notebook: Any) -> None:
    """Write nbgrader's metadata into the cells that need it, in place.

    A cell with a solution becomes an answer, one with ``check("04.1", …)`` its test, worth a point.
    """
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
    for kind, number, cell in _graded(notebook):
        _mark(cell, kind, number)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and _marker(SOLUTION, "BEGIN") in cell.source:
            _mark(cell, "text", f"{number:02}")


def _mark(cell: Any, kind: str, number: str) -> None:
    """A test is worth a point. nbgrader clears a text only where it is an answer with points: none."""
    points = {"answer": {}, "test": {"points": 1}, "text": {"points": 0}}[kind]
    cell.metadata["nbgrader"] = {
        "schema_version": 3,
        "grade_id": _grade_id(kind, number),
        "grade": kind != "answer",
        "solution": kind != "test",
        "locked": kind == "test",
        "task": False,
        **points,
    }


def unmarked(notebook: Any) -> Iterator[str]:
    """Say which exercises nbgrader could not grade, one line each."""
    graded = list(_graded(notebook))
    answers, tests = (
        {number for kind, number, _ in graded if kind == wanted} for wanted in ("answer", "test")
    )
    for number in sorted(tests - answers):
        yield f"exercise {number} has no solution between ### BEGIN SOLUTION and ### END SOLUTION"
    answering = [cell for kind, _, cell in graded if kind == "answer"]
    for number, cell in enumerate(notebook.cells):
        is_answer = cell.cell_type == "code" and _marker(SOLUTION, "BEGIN") in cell.source
        if is_answer and (
            _CHECK.search(cell.source) or not any(cell is each for each in answering)
        ):
            yield f"cell {number} holds a solution: its check belongs into a cell of its own below"
    for kind, number, cell in graded:
        if cell.metadata.get("nbgrader", {}).get("grade_id") != _grade_id(kind, number):
            yield f"the {kind} cell of exercise {number} lacks nbgrader's metadata"


def _grade_id(kind: str, number: str) -> str:
    return f"{kind}-{number}".replace(".", "-")  # nbgrader allows no dot


def _graded(notebook: Any) -> Iterator[tuple[str, str, Any]]:
    """("answer" or "test", exercise, cell) of every such cell; a solution belongs to the next check."""
    waiting: list[Any] = []
    seen: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if _marker(SOLUTION, "BEGIN") in cell.source:
            waiting.append(cell)
        elif (found := _CHECK.search(cell.source)) and found[1] not in seen:
            seen.add(found[1])
            for place, answer in enumerate(waiting, start=1):
                more = "" if place == len(waiting) else f"-part{place}"
                yield "answer", found[1] + more, answer
            waiting = []
            yield "test", found[1], cell


def _marker(name: str, end: str) -> str:
    return f"### {end} {name}"


def _rewritten(notebook: Any, *, solved: bool) -> Any:
    """A copy without markers; what they enclose stays, or is replaced by a stub in code."""
    result = copy.deepcopy(notebook)
    for number, cell in enumerate(result.cells):
        for name in (SOLUTION, HIDDEN):
            stub = _stub if name == SOLUTION and cell.cell_type == "code" else _nothing
            cell.source = _replaced(cell.source, name, list if solved else stub, number)
    return result


def _nothing(_: list[str]) -> list[str]:
    return []


def _replaced(
    source: str, name: str, rewrite: Callable[[list[str]], list[str]], number: int
) -> str:
    """The source with every region of that name rewritten, and without its markers."""
    result: list[str] = []
    region: list[str] | None = None
    for line in source.split("\n"):
        begins, ends = (_marker(name, end) in line for end in ("BEGIN", "END"))
        if begins == ends:
            (result if region is None else region).append(line)
        elif begins and region is None:
            region = []
        elif ends and region is not None:
            result += rewrite(region)
            region = None
        else:
            raise ValueError(f"cell {number}: {line.strip()!r} has no partner before it")
    if region is not None:
        raise ValueError(f"cell {number}: {_marker(name, 'BEGIN')!r} has no end")
    return "\n".join(result)


def _stub(lines: list[str]) -> list[str]:
    """What stands for a solution: fails, but only when it is called, and says whose turn it is."""
    code = textwrap.dedent("\n".join(lines))
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    body = ast.parse(code).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    if indent and len(functions) < len(body):  # the inside of a function
        stub = [YOUR_TURN, _TURN]
    else:
        stub = [line for node in body for line in _stub_of(node, code.split("\n"))]
    return [" " * indent + line if line else line for line in stub]


_TURN = 'raise NotImplementedError("your turn")'


def _stub_of(node: ast.stmt, lines: list[str]) -> list[str]:
    """A function keeps its first lines and its docstring, any other name becomes ``...``."""
    if isinstance(node, ast.FunctionDef) and node.body[0].lineno > node.lineno:
        first = node.body[0]
        documented = ast.get_docstring(node) is not None
        start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        kept = lines[start - 1 : first.end_lineno if documented else first.lineno - 1]
        margin = " " * first.col_offset
        return [*kept, margin + YOUR_TURN, margin + _TURN]
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [f"{node.name} = ...  {YOUR_TURN}"]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
    names = [part.id for each in targets for part in ast.walk(each) if _is_stored(part)]
    return [f"{name} = ...  {YOUR_TURN}" for name in names]


def _unguarded(source: str) -> str:
    """Without nbval's markers, and without assertions: they tell what comes out before it does."""
    lines = source.split("\n")
    try:
        found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    except SyntaxError:  # IPython's own, such as %pip
        return source
    gone = {place for place, line in enumerate(lines) if re.match(r"\s*# NBVAL_", line)}
    gone |= {place for node in found for place in range(node.lineno - 1, node.end_lineno or 0)}
    return "\n".join(line for place, line in enumerate(lines) if place not in gone).strip("\n")


def _is_stored(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _fold(text: str) -> str:
    lines = text.split("\n")
    ends = (place for place, line in enumerate(lines) if line.startswith(("#", ">", "**Your turn")))
    end = next(ends, len(lines))
    if not "".join(lines[:end]).strip():
        return text
    return "\n".join([_FOLDED, "", *lines[:end], "", "</details>", "", *lines[end:]]).rstrip()


# -- files ---------------------------------------------------------------------------------------


def student_copy(path: Path) -> bytes:
    """The student's version of a notebook, as the bytes of its file; any other file as it is."""
    return _version(path, for_students)


def solved_copy(path: Path) -> bytes:
    """The instructor's version of a notebook, as the bytes of its file; any other file as it is."""
    return _version(path, for_instructors)


def _version(path: Path, make: Callable[[Any], Any]) -> bytes:
    if path.suffix != ".ipynb":
        return path.read_bytes()
    import nbformat

    try:
        made = make(nbformat.read(path, as_version=4))
    except ValueError as error:
        raise ValueError(f"{path.name}, {error}") from None
    return (nbformat.writes(made) + "\n").encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one version of all notebooks, and what lies beside them, into another folder."""
    parser = argparse.ArgumentParser(prog="python -m batchlab.course", description=main.__doc__)
    parser.add_argument("source", type=Path, help="the folder of the source notebooks")
    parser.add_argument("target", type=Path, help="a folder that is not there yet")
    parser.add_argument("--solved", action="store_true", help="with solutions, for instructors")
    parser.add_argument(
        "--github",
        metavar="OWNER/NAME",
        help="your copy of batchlab's repository, where the new folder will lie: adds badges for Binder "
        "and Colab",
    )
    options = parser.parse_args(arguments)
    if options.target.exists():
        parser.error(f"{options.target} is there already; nothing was written")
    if not list(options.source.glob("*.ipynb")):
        parser.error(f"there is no notebook in {options.source}")
    if options.github and not re.fullmatch(r"[\w.-]+/[\w.-]+", options.github):
        parser.error(f"--github must be OWNER/NAME, such as you/batchlab, got {options.github!r}")
    make = for_instructors if options.solved else for_students

    def made_for(path: Path) -> Callable[[Any], Any]:
        if not options.github:
            return make
        place = f"{options.target.name}/{path.name}"
        return lambda notebook: with_badges(make(notebook), options.github, place)

    try:
        made = {
            path: _version(path, made_for(path))
            for path in sorted(options.source.glob("*"))
            if path.is_file()
        }
    except ValueError as error:
        parser.error(str(error))
    hidden = shutil.ignore_patterns(".*", "*.ipynb")
    shutil.copytree(options.source, options.target, ignore=hidden)
    for path, content in made.items():
        if not path.name.startswith("."):
            (options.target / path.name).write_bytes(content)


if __name__ == "__main__":
    main()
