"""What is imported when, and that TensorFlow starts up in silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import batchlab

REPOSITORY = Path(__file__).parents[1]


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, as a first cell would."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import batchlab.samplers",
        "from batchlab import RandomSampler; list(RandomSampler(10, 3))",
        "from batchlab import ClassBalancedSampler; ClassBalancedSampler([0, 0, 1], 2).state_dict()",
        "from batchlab import History; History(3).record([0])",
        "from batchlab import datasets; datasets.moons()",
        "import batchlab; dir(batchlab)",
    ],
)
def test_no_tensorflow_without_need(code: str) -> None:
    ran = run(f"{code}\nimport sys; print(sys.modules.keys() & {{'tensorflow', 'keras'}})")
    assert (ran.returncode, ran.stdout) == (0, "set()\n"), ran.stderr


def test_start_up_is_silent_and_standard_error_works_afterwards() -> None:
    code = "from batchlab import Loader; import os, sys; os.write(2, b'1 '); sys.stderr.write('2')"
    ran = run(code)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "1 2")


def test_a_failing_import_shows_what_was_held_back() -> None:
    code = """
import os, sys, importlib.abc
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "tensorflow":
            os.write(2, b"the reason, from C++")
            raise ImportError("no tensorflow here")
sys.meta_path.insert(0, Finder())
import batchlab.backend
"""
    ran = run(code)
    assert ran.returncode == 1
    assert "the reason, from C++" in ran.stderr
    assert "no tensorflow here" in ran.stderr


def test_public_names() -> None:
    assert {"Loader", "RandomSampler", "datasets", "train"} <= set(dir(batchlab))
    for name in batchlab.__all__:
        assert getattr(batchlab, name) is not None
    with pytest.raises(AttributeError, match="No batchlab attribute Batch"):
        batchlab.Batch  # noqa: B018
