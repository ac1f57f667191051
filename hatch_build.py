"""How the wheel is built: the notebooks travel in it."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NotebooksInWheel(BuildHookInterface):
    """Add the notebooks, so that ``batchlab`` can open them wherever it is installed."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a build; an editable installation uses the repository's own notebooks."""
        if version != "editable":
            build_data["force_include"]["notebooks"] = "batchlab/notebooks"
