"""What nbval does not see: is a notebook fit to be published?

nbval passes a notebook that was never executed, because nothing is stored to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MACHINE_PATH = re.compile(r"(?:/home/|/root/|/tmp/|/Users/|/var/folders/|[A-Z]:\\+Users)[^\s'\"]*")
EXEMPTING_TAGS = {"nbval-ignore-output", "nbval-skip", "nbval-raises-exception", "raises-exception"}
MARKER = re.compile(r"^\s*#\s*NBVAL_[A-Z_]+\s*$")


def notebooks_in(folder: Path) -> list[Path]:
    """All notebooks of a folder; an error if it has none, for then nothing would be checked."""
    found = sorted(folder.glob("*.ipynb"))
    if not found:
        raise FileNotFoundError(f"there is no notebook in {folder}")
    return found


def faults(notebook: Any) -> list[str]:
    """Everything that keeps a notebook from being published, one line each."""
    nbformat.validate(notebook)
    checks = (_metadata, _order, _outputs, _machine_paths, _exemptions, _opening, _exercise, _alts)
    return [fault for check in checks for fault in check(notebook)]


def _code_cells(notebook: Any) -> Iterator[tuple[int, Any]]:
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip():
            yield number, cell


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


def _is_reason(line: str) -> bool:
    return bool(re.match(r"\s*#\s*\w+ \w+ \w+", line)) and "NBVAL_" not in line


def _opening(notebook: Any) -> Iterator[str]:
    first = notebook.cells[0] if notebook.cells else None
    text = first.source if first is not None and first.cell_type == "markdown" else ""
    if not text.startswith("# "):
        yield "the first cell must be a text with the title"
    if "you will learn" not in text.lower():
        yield 'the first cell must say what "you will learn"'
    if not re.search(r"\d+ minutes", text):
        yield "the first cell must say how many minutes it takes"


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
