"""What tools read: types that hold for users under ``mypy --strict``, and a reference of the API."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import batchlab

ROOT = str(Path(batchlab.__file__).parents[1])


def test_every_public_name_is_typed_for_users_of_mypy_strict(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    names = "\n".join(f"batchlab.{name}" for name in batchlab.__all__)
    own = """
import batchlab
from batchlab import Loader, RandomSampler, train
from batchlab.samplers import Parameter, Sampler

class Mine(Sampler):
    power = Parameter(2.0, "how strongly", low=1.0)
    def draw(self, size: int) -> list[int]:
        return [0] * size

loader: Loader = Loader([[0.0]], [0], sampler=RandomSampler(1, batch_size=1))
length: str = len(loader)
"""
    program.write_text(own + names)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", program.name],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
    )
    faults = [line for line in checked.stdout.splitlines() if "error:" in line]
    # The one that was planted, so that a mypy that saw nothing cannot pass.
    (planted,) = [line for line in faults if '"int"' in line and '"str"' in line]
    assert faults == [planted], checked.stdout


def test_reference_is_built_from_the_docstrings(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "pdoc", "-d", "numpy", "-o", str(tmp_path), "batchlab"],
        env={**os.environ, "EAGER_IMPORT": "1", "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "Warn" not in built.stderr, built.stderr
    page = (tmp_path / "batchlab.html").read_text(encoding="utf-8")
    missing = [name for name in batchlab.__all__ if f'id="{name}"' not in page]
    assert [name for name in missing if not (tmp_path / f"batchlab/{name}.html").is_file()] == []
