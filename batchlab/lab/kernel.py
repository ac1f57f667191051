"""What a panel has to do with the notebook's kernel: its cell, and interrupts.

Of ipykernel two things are used that it does not call public: ``saved_sigint_handler``, and
``get_parent`` with the metadata ``cellId`` that JupyterLab sends. Both were read in ipykernel 6.31,
7.3 and 7.4 with IPython 9.18. ``tests/test_kernels.py`` fails by name when one is gone.
"""

from __future__ import annotations

import weakref
from typing import Any

from IPython import get_ipython

from batchlab.lab.parts import close

# All panels there are: to interrupt the kernel pauses them.
_PANELS: weakref.WeakSet[Any] = weakref.WeakSet()
# The panel of each notebook cell that has one: running the cell again replaces it.
_PANEL_OF_CELL: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
# Those that a page may show. It needs them even if no name in the notebook refers to them any more.
_SHOWN: set[Any] = set()


def register(panel: Any) -> None:
    """Make `panel` the one of the present cell, and let interrupts pause it."""
    cell = _present_cell()
    if cell is not None:
        if cell in _PANEL_OF_CELL:
            _PANEL_OF_CELL[cell].stop()
            close(_PANEL_OF_CELL[cell].widget)
        _PANEL_OF_CELL[cell] = panel
    _PANELS.add(panel)
    _let_interrupts_pause()


def keep(panel: Any) -> None:
    """Keep a panel that a page shows, until it is stopped."""
    if get_ipython() is not None:
        _SHOWN.add(panel)


def let_go(panel: Any) -> None:
    """Keep a panel no longer than anyone else does."""
    _SHOWN.discard(panel)


def _present_cell() -> str | None:
    """The identity of the notebook cell that is being run; None outside notebooks."""
    shell = get_ipython()
    if shell is None:
        return None
    # A front end that does not name its cells gets one panel at a time.
    return str(shell.get_parent().get("metadata", {}).get("cellId", ""))


def _let_interrupts_pause() -> None:
    """Let an interrupt of the kernel pause all panels: by itself it reaches the main thread only.

    While a cell runs it is a KeyboardInterrupt. Between cells the kernel ignores it, unless another
    handler is there for it to put back when the present cell has ended.
    """
    shell = get_ipython()
    if shell is None:
        return
    if _after_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _after_cell)
    if hasattr(shell, "kernel"):
        shell.kernel.saved_sigint_handler = _pause_all


def _after_cell(result: Any) -> None:
    if isinstance(result.error_in_exec, KeyboardInterrupt):
        _pause_all()


def _pause_all(*_: Any) -> None:
    for panel in list(_PANELS):
        panel.pause()
