"""What a learner guessed and solved, in a small JSON file beside the notebooks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "BATCHLAB_PROGRESS"  # the file to use; empty: keep nothing, so that outputs are constant
NAME = "batchlab-progress.json"


class Store:
    """Two tables, ``predictions`` and ``exercises``, by the number of what was asked."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, dict[str, Any]]] = {"predictions": {}, "exercises": {}}

    @property
    def path(self) -> Path | None:
        """The file; None if nothing is to be kept."""
        wanted = os.environ.get(VARIABLE)
        return Path.cwd() / NAME if wanted is None else Path(wanted) if wanted else None

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        """One table, as the file has it now: other notebooks write to it, too.

        Where the file is missing or damaged, what this kernel knows counts.
        """
        if self.path is not None:
            try:
                read = json.loads(self.path.read_text(encoding="utf-8"))
                self.tables = {key: dict(read[key]) for key in self.tables}
            except (OSError, ValueError, KeyError, TypeError):
                pass
        return self.tables[name]

    def note(self, name: str, number: str, **values: Any) -> dict[str, Any]:
        """Add to an entry and write the file; a folder that cannot be written to is no error."""
        entry = self.table(name).setdefault(number, {})
        entry.update(values)
        if self.path is not None:
            try:
                text = json.dumps(self.tables, indent=1, ensure_ascii=False)
                half = self.path.with_suffix(".part")
                half.write_text(text + "\n", encoding="utf-8")
                half.replace(self.path)  # never half a file, whoever reads it
            except OSError:
                pass  # a read-only lab: what was noted lasts as long as the kernel
        return entry


STORE = Store()
