"""What sliders and buttons write and the training thread reads: one object, one lock."""

from __future__ import annotations

import threading
from typing import Any


class Controls:
    """A locked letter box between the widgets and the training thread.

    Widget callbacks may run on any thread and must be quick: they only write here. The training
    thread reads between batches. Of many values written for one name the last one counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._values: dict[Any, Any] = {}
        self._steps_to_go: float = 0.0  # infinite while playing
        self._manned = False  # a thread is at work
        self._called = False  # it shall come and look, even if there is no step to train
        self._closed = False

    def write(self, name: Any, value: Any) -> None:
        """Ask for a setting; `name` is any key."""
        with self._lock:
            self._values.pop(name, None)  # so that the order is that of the last writing
            self._values[name] = value

    def take_values(self) -> dict[Any, Any]:
        """All settings asked for since the last call, in order."""
        with self._lock:
            values, self._values = self._values, {}
            return values

    def go(self, steps: float = float("inf")) -> bool:
        """Allow so many steps more; True if there is no thread yet to train them.

        Zero steps only call the thread to take the values.
        """
        with self._lock:
            if self._closed:
                return False
            self._steps_to_go += steps
            self._called = True
            needed, self._manned = not self._manned, True
            return needed

    def claim(self, at_most: int) -> int | None:
        """Take up to `at_most` of the allowed steps; with None the thread must end."""
        with self._lock:
            steps = int(min(at_most, self._steps_to_go))
            self._steps_to_go -= steps
            self._manned, self._called = steps > 0 or self._called, False
            return steps if self._manned else None

    def pause(self) -> None:
        """Allow no further step."""
        with self._lock:
            self._steps_to_go = 0.0
            self._lock.notify_all()

    def close(self) -> None:
        """Allow no further step, ever."""
        with self._lock:
            self._closed = True
        self.pause()

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the panel is paused."""
        with self._lock:
            self._lock.wait_for(lambda: not self._steps_to_go, timeout=seconds)

    @property
    def waiting(self) -> list[Any]:
        """The names that were written and not taken yet."""
        with self._lock:
            return list(self._values)

    @property
    def closed(self) -> bool:
        """Whether no step will ever be trained again."""
        return self._closed

    @property
    def playing(self) -> bool:
        """Whether there are steps to train."""
        return self._steps_to_go > 0
