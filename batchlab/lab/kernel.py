"""What a panel has to do with the notebook's kernel: its cell, and interrupts.

Of ipykernel three things are used that it does not call public: ``saved_sigint_handler``, and
``get_parent`` with the metadata ``cellId`` that JupyterLab sends, read in ipykernel 6.31, 7.3 and 7.4
with IPython 9.18; and a comm's ``_reply_subshell_for``, which came with 7.4. ``tests/test_kernels.py``
fails by name when one of the first two is gone; without the third there is nothing to mend.
"""

from __future__ import annotations

import weakref
from asyncio import CancelledError
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython

from batchlab.lab.parts import close

# All panels there are: to interrupt the kernel pauses them.
_PANELS: weakref.WeakSet[Any] = weakref.WeakSet()
# The panel of each notebook cell that has one: running the cell again replaces it.
_PANEL_OF_CELL: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
# Those that a page may show. It needs them even if no name in the notebook refers to them any more.
_SHOWN: set[Any] = set()


def check_widgets() -> None:
    """Refuse ipywidgets 7, which old notebook services bring along.

    Raises
    ------
    ImportError
        With what to type.
    """
    if int(widgets.__version__.partition(".")[0]) < 8:
        raise ImportError(
            f"BatchLab: the panel needs ipywidgets 8, got {widgets.__version__}. Run "
            '%pip install "ipywidgets>=8.1" in a cell, then restart the kernel.'
        )


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


def hear_at_once(widget: widgets.Widget) -> None:
    """Let the kernel take what a page says to `widget`, and to all in it, while a cell is running.

    A page sends it through a subshell, which is free then. ipykernel 7.4 diverts it to the shell that
    last published on the comm: the one of the cell that built the panel, until that cell and all that
    were started after it have ended.
    """
    for each in (widget, *getattr(widget, "children", ())):
        if hasattr(each.comm, "_reply_subshell_for"):
            each.comm._reply_subshell_for = _as_sent
        if each is not widget:
            hear_at_once(each)


def _as_sent(data: Any, subshell: str | None) -> str | None:
    return subshell


def _present_cell() -> str | None:
    """The identity of the notebook cell that is being run; None outside notebooks."""
    shell = get_ipython()
    if shell is None:
        return None
    # A front end that does not name its cells gets one panel at a time.
    return str(shell.get_parent().get("metadata", {}).get("cellId", ""))


def _let_interrupts_pause() -> None:
    """Let an interrupt of the kernel pause all panels: by itself it reaches the main thread only.

    While a cell runs it is a KeyboardInterrupt; what a cell awaits is cancelled. Between cells the
    kernel ignores it, unless another handler is there for it to put back when the present cell has
    ended.
    """
    shell = get_ipython()
    if shell is None:
        return
    if _after_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _after_cell)
    if hasattr(shell, "kernel"):
        shell.kernel.saved_sigint_handler = _pause_all


def _after_cell(result: Any) -> None:
    if isinstance(result.error_in_exec, (KeyboardInterrupt, CancelledError)):
        _pause_all()


def _pause_all(*_: Any) -> None:
    for panel in list(_PANELS):
        panel.pause()
