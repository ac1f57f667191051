"""What a setting is: the one declaration from which checks, sliders, events and recipes are made.

A setting that moves by itself follows a :class:`Schedule`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Each takes the share of the way that lies behind, from 0 to 1, to how far the setting has moved.
# The exponential one is that of Wu, Dyer & Neyshabur (2020), arXiv:2012.03107.
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "root": math.sqrt,
    "step": lambda t: math.floor(5 * t) / 5,
    "exponential": lambda t: math.expm1(10 * t) / math.expm1(10),
}


_MOST = 2**63 - 1  # what an int64 holds


def shown(value: Any) -> str:
    """`value` as messages show what came: one line, not a screenful, whatever its ``repr`` does."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of a stranger's class; and Python refuses to write very large integers
        return f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:70]} …"


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
    TypeError, ValueError
        If a number is none or not finite, `epochs` is not above 0, or the shape is unknown.

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
        own = {"shape": Parameter("linear", choices=tuple(SHAPES), name="shape")}
        for name in ("start", "end", "epochs"):
            # What is whole stays so, as the setting that follows it is.
            whole = isinstance(getattr(self, name), numbers.Integral)
            own[name] = Parameter(0 if whole else 0.0, name=name)
        for name, parameter in own.items():
            object.__setattr__(self, name, parameter.check(getattr(self, name), "Schedule"))
        if self.epochs <= 0:
            raise ValueError(f"Schedule: epochs must be above 0, got {self.epochs}.")

    def __call__(self, progress: float) -> float:
        """The value after `progress` epochs."""
        way = SHAPES[self.shape](min(max(progress / self.epochs, 0.0), 1.0))
        return self.start + (self.end - self.start) * way

    def as_dict(self) -> dict[str, Any]:
        """The arguments that build it again, as plain JSON."""
        return asdict(self)


@dataclass(eq=False)
class Parameter:
    """A setting of a sampler that may be changed at any time.

    A ``Parameter`` is a descriptor: declare it in the class body, and every assignment
    ``sampler.name = value`` is checked first and takes effect from the next batch on. The
    declarations of a class, read with :func:`parameters_of`, are what the panel turns into sliders.

    Parameters
    ----------
    default : bool, int, float, str or None
        The value before anyone assigns one. Its type is the type of the setting.
    help : str
        One line for a learner: what moving it does.
    low, high : int or float, optional
        The least and the greatest value allowed, both included. ``None`` means no limit.
    slider : tuple of (float, float), optional
        The range worth offering on a slider, where it is narrower than ``low`` … ``high``.
    log : bool
        Whether a slider should be logarithmic.
    choices : tuple, optional
        The values allowed, for a setting that picks one of a few names.
    unit : str
        What a value counts, where the name does not say it.
    source : str
        The paper it comes from; the class that declares it is put before.
    when : tuple of (str, value), optional
        It counts only while this other setting has this value; a panel greys it out else.

    Examples
    --------
    >>> class Oven:
    ...     heat = Parameter(180, "degrees Celsius", low=50, high=250)
    >>> oven = Oven()
    >>> oven.heat
    180
    >>> oven.heat = 300
    Traceback (most recent call last):
    ...
    ValueError: Oven: heat must be from 50 to 250, got 300.
    """

    default: Any
    help: str = ""
    low: float | None = None
    high: float | None = None
    slider: tuple[float, float] | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None
    name: str = ""
    unit: str = ""
    source: str = ""
    when: tuple[str, Any] | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.source = "; ".join(filter(None, (owner.__name__, self.source)))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return instance.__dict__.get(self.name, self.default)

    def __set__(self, instance: Any, value: Any) -> None:
        owner = type(instance).__name__
        schedules = dict(instance.__dict__.get("_schedules", {}))
        schedules.pop(self.name, None)
        if isinstance(value, Schedule):
            if self.kind not in (int, float):
                raise TypeError(f"{owner}: {self.name} is no number and cannot follow a schedule.")
            if not hasattr(instance, "progress"):
                raise TypeError(
                    f"{owner}: {self.name} cannot follow a schedule, only a sampler's setting can. "
                    "Assign plain numbers, e.g. from a callback."
                )
            for end in (value.start, value.end):
                self._checked(instance, round(end) if self.kind is int else end)
            schedules[self.name] = value
            value = self.scheduled(value, instance)
        self.assign(instance, value)
        instance.__dict__["_schedules"] = schedules

    def scheduled(self, schedule: Schedule, instance: Any) -> int | float:
        """The value that `schedule` asks for at the present progress of `instance`."""
        value = schedule(instance.progress)
        if self.kind is not int:
            return value
        step = getattr(instance, "multiples", {}).get(self.name)
        return max(round(value) // step, 1) * step if step else round(value)

    def assign(self, instance: Any, value: Any) -> None:
        """Check `value`, keep it and tell the owner; a schedule goes on."""
        instance.__dict__[self.name] = self._checked(instance, value)
        changed = getattr(instance, "parameter_changed", None)
        if changed is not None:
            changed(self.name)

    def _checked(self, instance: Any, value: Any) -> Any:
        value = self.check(value, type(instance).__name__)
        # An owner may know more than the declaration, e.g. how many samples there are.
        further_check = getattr(instance, "check_parameter", None)
        if further_check is not None:
            further_check(self.name, value)
        return value

    @property
    def kind(self) -> type:
        """``bool``, ``int``, ``float`` or ``str``: the type every value of it has."""
        return type(self.default)

    def check(self, value: Any, owner: str = "") -> Any:
        """Return `value` as a plain Python value, or raise an error that names the mend.

        Raises
        ------
        TypeError
            If `value` is of another type (``True`` is not a number here, nor ``3.0`` an integer).
        ValueError
            If it is out of range, NaN, or not one of the choices.
        """
        where = f"{owner}: {self.name}" if owner else self.name
        if self.choices is not None:
            for choice in self.choices:
                # Asked in this order, as an array has no truth of its own, nor has pandas.NA.
                if value is choice or (isinstance(value, type(choice)) and value == choice):
                    return choice
            raise ValueError(f"{where} must be one of {list(self.choices)}, got {shown(value)}.")
        if self.kind is bool:
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{where} must be True or False, got {shown(value)}.")
            return bool(value)
        return self._check_number(value, where)

    def _check_number(self, value: Any, where: str) -> int | float:
        whole = self.kind is int
        wanted = numbers.Integral if whole else numbers.Real
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, wanted):
            noun = "a whole number" if whole else "a number"
            hint = f" Write {int(value)}." if whole and _is_whole(value) else ""
            came = f"{shown(value)} ({type(value).__name__})"
            raise TypeError(f"{where} must be {noun}, got {came}.{hint}")
        if whole and abs(int(value)) > _MOST:
            raise ValueError(f"{where} must be {self.range} and fit 64 bits, got {shown(value)}.")
        try:
            number = self.kind(value)
        except OverflowError:
            raise ValueError(f"{where} must be {self.range}, got {shown(value)}.") from None
        low, high = self.low, self.high
        if (
            not math.isfinite(number)
            or (low is not None and number < low)
            or (high is not None and number > high)
        ):
            raise ValueError(f"{where} must be {self.range}, got {shown(number)}.")
        return number

    @property
    def range(self) -> str:
        """The values allowed, in words."""
        low, high = self.low, self.high
        if self.choices is not None:
            return " | ".join(map(str, self.choices))
        if self.kind is bool:
            return "True | False"
        if low is not None and high is not None:
            return f"from {low} to {high}"
        if low is not None:
            return f"{low} or more"
        return "a finite number" if high is None else f"{high} or less"


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value // 1


def parameters_of(thing: Any) -> dict[str, Parameter]:
    """The parameters that an object or a class declares, base classes first.

    Parameters
    ----------
    thing : object or type
        Usually a sampler.

    Returns
    -------
    dict of str to Parameter
        In the order of declaration.
    """
    cls = thing if isinstance(thing, type) else type(thing)
    declared = {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, Parameter)
    }
    # Some settings are known only per object, such as one ratio for each source of a mixture.
    return declared if thing is cls else {**declared, **getattr(thing, "own_parameters", {})}
