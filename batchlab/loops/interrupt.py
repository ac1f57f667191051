"""Ctrl-C between steps, not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class DeferredInterrupt:
    """Within ``with``, Ctrl-C sets :attr:`pressed`; leaving raises the KeyboardInterrupt.

    So weights, sampler and history agree wherever training stops. A second Ctrl-C acts at once. In
    a thread other than the main one, where Python delivers no signals, nothing changes.

    Parameters
    ----------
    agree : callable, default bool
        Makes of what was pressed here what counts: where several processes train together, whether
        it was pressed in one of them.
    """

    def __init__(self, agree: Callable[[bool], bool] = bool) -> None:
        self._agree = agree
        self._here = False
        self._previous: Any = None

    def __enter__(self) -> DeferredInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._here:
            raise KeyboardInterrupt
        self._here = True

    @property
    def pressed(self) -> bool:
        """Whether to stop."""
        return self._agree(self._here)

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if kind is None and self.pressed:
            raise KeyboardInterrupt
