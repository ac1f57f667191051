"""The live panel: change the strategy while the model trains.

``settings`` is the one list of what may be set. ``experiment`` builds data, strategies and model
from what is given (``data``), ``session`` trains it and takes changes between batches, ``record`` is
its past, ``evaluation`` asks its model, and ``recipe`` writes a run as Python. All of this needs no
notebook.

``panel`` is what a notebook shows: ``runs`` are its one or two sessions, ``board`` its widgets (made
of ``parts``), ``views`` its pictures (drawn in ``drawing``), and ``worker`` the thread that trains
and reads what the board writes. ``kernel`` knows which cell a panel belongs to.
"""

from typing import TYPE_CHECKING, Any

from batchlab.lab.session import Session

if TYPE_CHECKING:
    from batchlab.lab.panel import BatchLab

__all__ = ["BatchLab", "Session"]


def __getattr__(name: str) -> Any:
    if name == "BatchLab":
        from batchlab.lab.panel import BatchLab

        return BatchLab
    raise AttributeError(f"module 'batchlab.lab' has no attribute {name!r}")
