"""Which panel belongs to which notebook cell, and what an interrupt of the kernel does to them."""

from __future__ import annotations

import weakref
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython

# All panels there are: to interrupt the kernel pauses them.
_PANELS: weakref.WeakSet[Any] = weakref.WeakSet()
# The panel of each notebook cell that has one: running the cell again replaces it.
_PANEL_OF_CELL: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def register(panel: Any) -> None:
    """Make `panel` the one of the present cell, and let interrupts pause it."""
    cell = _present_cell()
    if cell is not None:
        if cell in _PANEL_OF_CELL:
            _PANEL_OF_CELL[cell].stop()
            _close(_PANEL_OF_CELL[cell].widget)
        _PANEL_OF_CELL[cell] = panel
    _PANELS.add(panel)
    _let_interrupts_pause()


def _present_cell() -> str | None:
    """The identity of the notebook cell that is being run; None outside notebooks."""
    shell = get_ipython()
    if shell is None:
        return None
    # A front end that does not name its cells gets one panel at a time.
    return str(shell.get_parent().get("metadata", {}).get("cellId", ""))


def _close(widget: widgets.Widget) -> None:
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()


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
