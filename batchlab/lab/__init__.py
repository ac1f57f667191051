"""The live panel: change the strategy while the model trains.

``settings`` declares what may be changed, ``session`` trains and takes changes between batches,
``recipe`` writes a run as Python. ``panel`` is what a notebook shows, made of ``parts``; ``controls``
carries what sliders say from one thread to another, and ``cells`` knows which notebook cell a panel
belongs to. How it is drawn is in ``drawing``.
"""

from typing import TYPE_CHECKING

import lazy_loader

from batchlab.lab.session import Session

if TYPE_CHECKING:
    from batchlab.lab.panel import BatchLab

__all__ = ["BatchLab", "Session"]
# A session must not import widgets.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"panel": ["BatchLab"]})
