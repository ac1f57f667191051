"""What nbval does not see: is a notebook fit to be published? A small pytest plugin.

nbval passes a notebook that was never executed, because nothing is stored to compare with. Run ::

    pytest -p batchlab.notebook_guard --notebook-guard notebooks/

and every notebook becomes one more test, which fails with a line for each fault. Which rules hold is
the setting ``notebook_guard_rules`` in pytest's configuration; by default those of ``GENERAL``.
``COURSE`` has the rules for lessons too: a stated time, an exercise at the end.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MACHINE_PATH = re.compile(r"(?:/home/|/root/|/tmp/|/Users/|/var/folders/|[A-Z]:\\+Users)[^\s'\"]*")
EXEMPTING_TAGS = {"nbval-ignore-output", "nbval-skip", "nbval-raises-exception", "raises-exception"}
MARKER = re.compile(r"^\s*#\s*NBVAL_[A-Z_]+\s*$")

LARGEST = 400_000  # bytes of a notebook's file
MOST_WORDS, MOST_LINES = 1000, 150  # of a lesson
WORDS_A_MINUTE, SECONDS_A_LINE = 200, 5
MINUTES = {"prediction": 1, "panel": 5, "exercise": 8}

Rule = Callable[[Any], Iterator[str]]


def faults(notebook: Any, rules: Iterable[str] | None = None) -> list[str]:
    """Everything that keeps a notebook from being published, one line each; see :func:`broken`."""
    return [fault for found in broken(notebook, rules).values() for fault in found]


def broken(notebook: Any, rules: Iterable[str] | None = None) -> dict[str, list[str]]:
    """The rules that a notebook breaks, and with what.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        As read with ``nbformat.read(path, as_version=4)``.
    rules : iterable of str, optional
        Names from ``RULES``; by default those of ``COURSE``.

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    import nbformat

    wanted = COURSE if rules is None else tuple(rules)
    unknown = [name for name in wanted if name not in RULES]
    if unknown:
        raise ValueError(f"there is no rule {unknown[0]!r}. There are {', '.join(RULES)}.")
    nbformat.validate(notebook)
    return {name: found for name in wanted if (found := list(RULES[name](notebook)))}


def notebooks_in(folder: Path) -> list[Path]:
    """All notebooks of a folder; an error if it has none, for then nothing would be checked."""
    found = sorted(folder.glob("*.ipynb"))
    if not found:
        raise FileNotFoundError(f"there is no notebook in {folder}")
    return found


def _code_cells(notebook: Any) -> Iterator[tuple[int, Any]]:
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip():
            yield number, cell


def _prose(notebook: Any) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


# -- rules for every notebook --------------------------------------------------------------------


def _metadata(notebook: Any) -> Iterator[str]:
    if notebook.metadata != METADATA:
        yield f"metadata must be {METADATA} and no more, got {dict(notebook.metadata)}"


def _order(notebook: Any) -> Iterator[str]:
    counts = [cell.execution_count for _, cell in _code_cells(notebook)]
    if not counts:
        yield "there is no code cell"
    if counts != list(range(1, len(counts) + 1)):
        yield f"cells were not executed once each from the top: {counts}"


def _outputs(notebook: Any) -> Iterator[str]:
    for number, cell in _code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {number} holds an error: {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"cell {number} holds stderr: {output.text[:80]!r}"


def _machine_paths(notebook: Any) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells):
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts.append(str(output.get("text", "")))
            data = output.get("data", {})
            texts += [str(value) for kind, value in data.items() if not kind.startswith("image/")]
        for text in texts:
            if found := MACHINE_PATH.search(text):
                yield f"cell {number} holds a path of one machine: {found[0]}"


def _title(notebook: Any) -> Iterator[str]:
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell must be a text with the title"


def _size(notebook: Any) -> Iterator[str]:
    size = len(json.dumps(notebook).encode())
    if size > LARGEST:
        yield f"it is {size / 1000:.0f} kB large, more than {LARGEST / 1000:.0f}; its pictures?"


def _booleans(notebook: Any) -> Iterator[str]:
    """A reader learns more from a number than from ``less than 50 %: True``."""
    lines = [
        line
        for _, cell in _code_cells(notebook)
        for output in cell.outputs
        if output.get("name") == "stdout"
        for line in output.text.splitlines()
        if line.strip()
    ]
    telling = [line for line in lines if re.search(r"\b(True|False)\b", line)]
    if len(telling) * 10 > len(lines):
        yield (
            f"{len(telling)} of {len(lines)} printed lines say True or False, more than a tenth: "
            f"print the numbers. The first: {telling[0].strip()!r}"
        )


def _exemptions(notebook: Any) -> Iterator[str]:
    for number, cell in _code_cells(notebook):
        lines = cell.source.splitlines()
        has_reason = bool(lines) and _is_reason(lines[0])
        for place, line in enumerate(lines):
            if "NBVAL_" not in line:
                continue
            if not MARKER.match(line):
                yield f"cell {number}: a marker counts only alone on its line, not in {line!r}"
            elif not any(map(_is_reason, lines[place + 1 : place + 2])):
                yield f"cell {number}: {line.strip()!r} needs a reason, as a comment below it"
        if EXEMPTING_TAGS & set(cell.metadata.get("tags", [])) and not has_reason:
            yield f"cell {number} is exempted by a tag: say why in a comment on its first line"


def _assertions(notebook: Any) -> Iterator[str]:
    """What is not compared is guarded otherwise: an assertion in the cell, or in the next one."""
    cells = [*_code_cells(notebook), (0, {"source": ""})]
    for (number, cell), (_, after) in zip(cells, cells[1:]):
        asserted = re.search(r"^\s*assert ", cell.source + "\n" + after["source"], re.MULTILINE)
        if "NBVAL_IGNORE_OUTPUT" in cell.source and not asserted:
            yield (
                f"cell {number} is not compared, and nothing is asserted in it or in the next one: "
                "assert, with a tolerance, what the text relies on"
            )


def _is_reason(line: str) -> bool:
    return bool(re.match(r"\s*#\s*\w+ \w+ \w+", line)) and "NBVAL_" not in line


def _alts(notebook: Any) -> Iterator[str]:
    """Every picture has words for those who cannot see it."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            for picture in re.findall(
                r"!\[\s*\]\([^)]*\)|<img(?![^>]*\balt=\"\w)[^>]*>", cell.source
            ):
                yield f"cell {number}: no alternative text in {picture}"
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in (kind for kind in data if kind.startswith("image/")):
                alt = output.metadata.get(kind, {}).get("alt") or data.get("text/plain", "")
                if not alt.strip() or alt.startswith("<"):
                    yield f"cell {number}: the picture has no alternative text, only {alt!r}"


# -- rules for lessons ---------------------------------------------------------------------------


def _opening(notebook: Any) -> Iterator[str]:
    text = notebook.cells[0].source if notebook.cells else ""
    if "you will learn" not in text.lower():
        yield 'the first cell must say what "you will learn"'
    if not re.search(r"\d+ minutes", text):
        yield "the first cell must say how many minutes it takes"


NUMBER = re.compile(r"(?<![\w.])(\d{1,3}(?:[ \u2009\u202f]\d{3})+|\d+(?:\.\d+)?)(?!\w|\.\d)(\s?%)?")
NO_RESULT = re.compile(
    "|".join(
        (
            *(r"```.*?```", r"`[^`]*`", r"\$[^$]*\$"),  # code, formulas
            *(r"^#+ [^\n]*", r"\]\([^)]*\)", r"<[^>]*>"),  # headings, links
            *(r"arXiv:[\d.]+", r"\b(?:19|20)\d\d\b"),  # papers
            *(r"\b0\d\.\d\b", r"(?:\*\*|Exercise )\d\d\.\d\b"),  # exercises
            *(r"\bnotebooks? \d\d(?:(?:, | and )\d\d)*", r"\b\d\d · "),
            r"\b(?:Keras|NumPy|Python|TensorFlow) \d[\d.]*",  # versions
        )
    ),
    re.DOTALL | re.MULTILINE,
)


def _numbers(notebook: Any) -> Iterator[str]:
    """A number in the text stands in a cell's code or output too, to the digits that the text gives.

    A share may be a percentage there. No results are, and so not looked for: the first cell, which
    asks about other notebooks; code and formulas in the text; headings, links and years; numbers of
    notebooks, exercises and versions.
    """
    computed = _computed(notebook)
    for place, cell in enumerate(notebook.cells[1:], start=1):
        text = NO_RESULT.sub(" ", cell.source) if cell.cell_type == "markdown" else ""
        for found in NUMBER.finditer(text):
            plain = re.sub(r"\s", "", found[1])
            digits = len(plain.partition(".")[2])
            scales = (1, 100) if found[2] else (1,)
            if not any(
                round(scale * each, digits) == float(plain) for scale in scales for each in computed
            ):
                yield f"cell {place} says {found[0]!r}, which no cell computes"


def _computed(notebook: Any) -> set[float]:
    """All numbers in the code cells and what they put out."""
    texts = []
    for _, cell in _code_cells(notebook):
        texts.append(cell.source)
        for output in cell.outputs:
            texts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    plain = re.sub(r"(?<=\d)[,_](?=\d{3})", "", "\n".join(texts))  # 10_000, 10,000
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?", plain)}


def _exercise(notebook: Any) -> Iterator[str]:
    """The last section is an exercise: a text, a cell to work in, a solution."""
    starts = [
        number
        for number, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.MULTILINE)
    ]
    if not starts:
        yield "the last section must be an exercise, but there are no sections"
        return
    last = notebook.cells[starts[-1] :]
    title = re.findall(r"^## .*", last[0].source, re.MULTILINE)[-1]
    if "exercise" not in title.lower():
        yield f"the last section must be an exercise, got {title!r}"
    if not any(cell.cell_type == "code" for cell in last):
        yield "the exercise needs a code cell to work in"
    if not any("solution" in cell.source.lower() for cell in last):
        yield "the exercise needs a solution"


def measures(notebook: Any) -> dict[str, int]:
    """What a lesson asks of its reader: words, lines of code, predictions, panels, exercises.

    Predictions are calls of ``predict`` or paragraphs that begin with *Predict first*; exercises
    are the numbers that ``check`` is asked for, or headings; a panel is a ``BatchLab`` that is shown.
    """
    prose = re.sub(r"<details>.*?</details>", "", _prose(notebook), flags=re.DOTALL)
    code = "\n".join(cell.source for _, cell in _code_cells(notebook))
    labs = set(re.findall(r"^(\w+) = BatchLab(?:\.load)?\(", code, re.MULTILINE))
    shown = [cell.source.rstrip().splitlines()[-1] for _, cell in _code_cells(notebook)]
    predictions = len(re.findall(r"^predict\(", code, re.MULTILINE))
    exercises = len(set(re.findall(r"\bcheck\(\s*[\"'](\d+\.\d+)", code)))
    return {
        "words": len(re.findall(r"[^\W_]+(?:['’.-][^\W_]+)*", prose)),
        "lines": sum(bool(line.strip()) for line in code.splitlines()),
        "predictions": predictions or len(re.findall(r"^> \*\*Predict", prose, re.MULTILINE)),
        "panels": sum(line in labs or line.startswith("BatchLab(") for line in shown),
        "exercises": exercises or len(re.findall(r"^## .*exercise", prose, re.I | re.MULTILINE)),
    }


def minutes(notebook: Any) -> int:
    """How long a lesson takes, rounded up to five minutes.

    200 words a minute, 5 s a line of code, 1 minute a prediction, 5 a panel, 8 an exercise.
    """
    found = measures(notebook)
    exact = found["words"] / WORDS_A_MINUTE + found["lines"] * SECONDS_A_LINE / 60
    exact += sum(each * found[f"{name}s"] for name, each in MINUTES.items())
    return 5 * math.ceil(exact / 5)


def _minutes(notebook: Any) -> Iterator[str]:
    stated = re.search(r"(\d+) minutes", notebook.cells[0].source if notebook.cells else "")
    true = minutes(notebook)
    if stated and int(stated[1]) != true:
        yield f"it says {stated[1]} minutes, but takes {true} ({measures(notebook)})"


def _length(notebook: Any) -> Iterator[str]:
    found = measures(notebook)
    for name, most in (("words", MOST_WORDS), ("lines", MOST_LINES)):
        if found[name] > most:
            yield f"it has {found[name]} {name}, more than {most}"


def _solutions(notebook: Any) -> Iterator[str]:
    """Every exercise can be handed out: its solution stands between markers."""
    from batchlab.course import for_students, unmarked

    try:
        for_students(notebook)
    except ValueError as error:
        yield str(error)
    yield from unmarked(notebook)


RULES: dict[str, Rule] = {
    "metadata": _metadata,
    "order": _order,
    "outputs": _outputs,
    "machine paths": _machine_paths,
    "title": _title,
    "size": _size,
    "booleans": _booleans,
    "exemptions": _exemptions,
    "assertions": _assertions,
    "alts": _alts,
    "opening": _opening,
    "numbers": _numbers,
    "exercise": _exercise,
    "minutes": _minutes,
    "length": _length,
    "solutions": _solutions,
}
GENERAL = ("order", "outputs", "machine paths", "title", "size", "booleans", "exemptions")
COURSE = tuple(RULES)


# -- the plugin ----------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the switch, and the setting that names the rules."""
    parser.addoption(
        "--notebook-guard", action="store_true", help="check that notebooks are fit to be published"
    )
    parser.addini(
        "notebook_guard_rules",
        f"one rule a line, of: {', '.join(RULES)}",
        type="linelist",
        default=list(GENERAL),
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """One test for every notebook, beside those of nbval."""
    if file_path.suffix == ".ipynb" and parent.config.getoption("notebook_guard"):
        return _GuardedNotebook.from_parent(parent, path=file_path)
    return None


class _GuardedNotebook(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield _GuardItem.from_parent(self, name="fit to be published")


class _Unfit(Exception):
    """Carries the faults of a notebook."""


class _GuardItem(pytest.Item):
    def runtest(self) -> None:
        import nbformat

        notebook = nbformat.read(self.path, as_version=4)
        if found := faults(notebook, self.config.getini("notebook_guard_rules")):
            raise _Unfit("\n".join(found))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, _Unfit):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}: {self.name}"
