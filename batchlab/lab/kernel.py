"""The notebook kernel's interrupt, which by itself reaches no thread."""

from __future__ import annotations

import weakref
from typing import Any

from IPython import get_ipython

from batchlab.lab.controls import Controls

_PAUSED: weakref.WeakSet[Controls] = weakref.WeakSet()


def pause_when_interrupted(controls: Controls) -> None:
    """Pause when the user interrupts the kernel, whether a cell is running at that time or not."""
    shell = get_ipython()
    kernel = getattr(shell, "kernel", None)
    if not hasattr(kernel, "saved_sigint_handler"):  # no notebook
        return
    _PAUSED.add(controls)
    # What ipykernel puts in place after this cell and every later one; by default, to ignore it.
    kernel.saved_sigint_handler = _pause_all
    shell.events.register("post_run_cell", _pause_after)  # twice the same counts once


def _pause_after(result: Any) -> None:
    if isinstance(result.error_in_exec, KeyboardInterrupt):
        _pause_all()


def _pause_all(*_: Any) -> None:
    for controls in list(_PAUSED):
        controls.pause()
