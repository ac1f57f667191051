"""What every test run needs."""

from __future__ import annotations

import os

import pytest

# No guess or result of a learner's is read or kept: the outputs of the notebooks are constant.
os.environ["BATCHLAB_PROGRESS"] = ""

# Benchmarks are run by hand: their figures depend on the machine. Programs to copy for a cluster run when
# they are imported: tests/loops/test_clusters.py starts them.
collect_ignore = ["tests/benchmarks", "tests/clusters"]


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Let nbval compare every output but stderr, where TensorFlow writes about the machine."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
