"""Run notebooks in place and save them as they are committed.

    python tests/execute_notebooks.py                       # all of them
    python tests/execute_notebooks.py notebooks/01_*.ipynb  # some

The outputs stay; what belongs to one machine or one session goes: widget models, which are dead
without their kernel (the picture beside them stays), timings, the name of the environment, guesses.
Cells between markers get nbgrader's metadata (see ``batchlab.course``).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from batchlab import course

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Run the notebook at `path` from the top and overwrite it with the result."""
    os.environ["BATCHLAB_PROGRESS"] = ""  # the kernel's: nobody guesses, nothing is kept
    notebook = nbformat.read(path, as_version=4)
    course.mark(notebook)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=120,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"  # the same at every run, so that a diff shows real changes
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
        if "outputs" in cell:  # a panel's own output holds nothing else
            cell.outputs = [each for each in cell.outputs if each.get("data") != {}]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb"))
    )
    for notebook in parser.parse_args().notebooks:
        print(notebook.name)
        execute(notebook)
