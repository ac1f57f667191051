"""How a setting moves by itself while training goes on: the shapes and the schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

# Each takes the share of the way that lies behind, from 0 to 1, to how far the setting has moved.
# The exponential one is that of Wu, Dyer & Neyshabur (2020), arXiv:2012.03107.
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "root": math.sqrt,
    "step": lambda t: math.floor(5 * t) / 5,
    "exponential": lambda t: math.expm1(10 * t) / math.expm1(10),
}


@dataclass(frozen=True)
class Schedule:
    """A value that goes from `start` to `end`; assign it to any number setting of a sampler.

    The setting then follows it from batch to batch, until a plain value is assigned. Time is the
    sampler's ``progress``, counted in epochs, so a schedule does not depend on the batch size.

    Parameters
    ----------
    start, end : float
        The first and the last value; it stays at the last one.
    epochs : float
        How long the way takes, more than 0.
    shape : {"linear", "root", "step", "exponential"}, default "linear"
        ``root`` is fast first, ``exponential`` is fast last, ``step`` takes five equal steps.

    Raises
    ------
    ValueError
        If a number is not finite, `epochs` is not above 0, or the shape is unknown.

    Examples
    --------
    >>> beta = Schedule(0.4, 1.0, epochs=10)
    >>> [round(beta(progress), 2) for progress in (0, 5, 10, 20)]
    [0.4, 0.7, 1.0, 1.0]
    """

    start: float
    end: float
    epochs: float
    shape: str = "linear"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"Schedule: shape must be one of {list(SHAPES)}, got {self.shape!r}.")
        for name in ("start", "end", "epochs"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"Schedule: {name} must be a finite number, got {value!r}.")
        if self.epochs <= 0:
            raise ValueError(f"Schedule: epochs must be above 0, got {self.epochs}.")

    def __call__(self, progress: float) -> float:
        """The value after `progress` epochs."""
        way = SHAPES[self.shape](min(max(progress / self.epochs, 0.0), 1.0))
        return self.start + (self.end - self.start) * way

    def as_dict(self) -> dict[str, Any]:
        """The arguments that build it again, as plain JSON."""
        return asdict(self)
