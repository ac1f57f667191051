"""The live panel: change the strategy while the model trains.

``settings`` is the one list of what may be set. ``experiment`` builds data, strategies and model
from what is given (``data``), ``session`` trains it and takes changes between batches, ``record`` is
its past, ``evaluation`` asks its model, and ``recipe`` writes a run as Python. All of this needs no
notebook.

``panel`` is what a notebook shows: ``runs`` are its one or two sessions, ``board`` its widgets (made
of ``parts``), ``page`` what the page knows of it, ``views`` its pictures (drawn in
``drawing``), and ``worker`` the thread that trains and reads what the board writes. ``kernel`` knows
which cell a panel belongs to.
"""

from typing import TYPE_CHECKING

import lazy_loader

from batchlab.lab.session import Session

if TYPE_CHECKING:
    from batchlab.lab.panel import BatchLab

__all__ = ["BatchLab", "Session"]
# A session must not import widgets.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"panel": ["BatchLab"]})
