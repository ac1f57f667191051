"""What every test run needs."""

from __future__ import annotations

import pytest

# Benchmarks are run by hand: their figures depend on the machine.
collect_ignore = ["tests/benchmarks"]


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Let nbval compare every output but stderr, where TensorFlow writes about the machine."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
