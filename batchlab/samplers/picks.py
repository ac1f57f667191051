"""What may be set by hand: samples by number, and a factor for each of some samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter, Schedule, parameters_of
from batchlab.samplers.base import Sampler
from batchlab.samplers.wrapper import Wrapper
from batchlab.validation import as_array, check_finite

HAND = ("exclude", "pin", "boost", "next", "fill_next", "correct")
_NO_SAMPLE = np.empty(0, np.int64)


@dataclass(eq=False)
class Pick(Parameter):
    """A setting by hand; it follows no schedule.

    Parameters
    ----------
    n : int
        How many samples there are; known once there is a sampler.
    """

    n: int = 0

    def __set__(self, instance: Any, value: Any) -> None:
        if isinstance(value, Schedule):
            owner = type(instance).__name__
            raise TypeError(f"{owner}: {self.name} is set by hand and cannot follow a schedule.")
        self.assign(instance, value)

    def _checked(self, instance: Any, value: Any) -> Any:
        value = replace(self, n=instance.n).check(value, type(instance).__name__)
        instance.check_parameter(self.name, value)
        return value


class Samples(Pick):
    """Numbers of samples, in the order given, as a tuple."""

    def check(self, value: Any, owner: str = "") -> tuple[int, ...]:
        array = as_array(value, owner, self.name, holds="numbers of samples", least=0)
        if array.size == 0:
            return ()
        if array.dtype.kind not in "iu":
            hint = f"np.flatnonzero({self.name})" if array.dtype.kind == "b" else "whole numbers"
            raise TypeError(
                f"{owner}: {self.name} must hold whole numbers, got dtype {array.dtype}. Pass {hint}."
            )
        self._check_range(array, owner)
        return tuple(array.tolist())

    def _check_range(self, array: NDArray[Any], owner: str) -> None:
        wrong = (array < 0) | (array >= self.n)
        if wrong.any():
            first = int(wrong.argmax())
            raise IndexError(
                f"{owner}: {self.name}[{first}] is {array[first]}, but the {self.n} samples are "
                f"numbered from 0 to {self.n - 1}."
            )

    @property
    def range(self) -> str:
        return f"samples from 0 to {self.n - 1}"


class Factors(Samples):
    """A factor for some samples, as a dict by number; an array of all n of them is taken, too."""

    def check(self, value: Any, owner: str = "") -> dict[int, float]:
        if not isinstance(value, Mapping):
            values = check_finite(value, owner, self.name, length=self.n)
            value = dict(enumerate(values.tolist()))
        # JSON writes the keys of a dict as strings.
        keys = [int(key) if isinstance(key, str) and key.isdecimal() else key for key in value]
        super().check(keys, owner)
        factors = {}
        for key, factor in zip(keys, value.values()):
            named = Parameter(1.0, low=0, name=f"{self.name}[{key}]")
            factors[int(key)] = named.check(factor, owner)
        return {key: factors[key] for key in sorted(factors) if factors[key] != 1}

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        value = super().__get__(instance, owner)
        return value if instance is None else dict(value)  # to write into it would change nothing

    @property
    def range(self) -> str:
        return f"{super().range}, each with 0 or more"


def as_factors(factors: Mapping[int, float], n: int) -> NDArray[np.float64]:
    """The factor of every sample, float64 (n,)."""
    array = np.ones(n)
    array[list(factors)] = list(factors.values())
    return array


class Hand(Wrapper):
    """What was said by hand, checked, and kept as arrays: the settings of a HandPickedSampler."""

    exclude: Any
    pin: Any
    boost: Any
    next: Any
    fill_next: Any
    correct: Any
    _skipped: int
    _lost: int

    def __init__(self, sampler: Sampler) -> None:
        super().__init__(sampler)
        self._open: NDArray[np.bool_] | None = None  # where some samples are excluded
        self._factors: NDArray[np.float64] | None = None  # where there are any above 0

    @property
    def own_parameters(self) -> Mapping[str, Parameter]:
        """The settings of the strategy, and those by hand."""
        by_hand = {name: replace(getattr(type(self), name), n=self.n) for name in HAND}
        return {**parameters_of(self.sampler), **by_hand}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "batch_size":
            ends = (value.start, value.end) if isinstance(value, Schedule) else (value,)
            self._check_room(self.pin, ends)
        super().__setattr__(name, value)

    def _check_room(self, pin: tuple[int, ...], sizes: tuple[Any, ...]) -> None:
        smallest = min((size for size in sizes if isinstance(size, (int, float))), default=np.inf)
        if pin and len(pin) >= smallest:
            raise ValueError(
                f"{type(self).__name__}: pin has {len(pin)} samples, but with batch_size={smallest} "
                f"at most {max(int(smallest) - 1, 0)} can be in every batch: a place must be left "
                "for the strategy. Pin fewer, or use next for a batch of your own."
            )

    def check_parameter(self, name: str, value: Any) -> None:
        """Refuse what the setting's own range cannot rule out."""
        owner = type(self).__name__
        if name == "pin":
            schedule = self.sampler._schedules.get("batch_size")
            ends = () if schedule is None else (schedule.start, schedule.end)
            self._check_room(value, (self.sampler.batch_size, *ends))
        if name in {"exclude", "boost"}:
            shut = self._shut(**{name: value})
            if shut.size and self._can_come(shut) == 0:
                raise ValueError(
                    f"{owner}: {name} leaves no sample that could come: {shut.size} of {self.n} are "
                    "excluded. Leave at least one."
                )
        stated = {"boost": "boost multiplies them", "correct": "correct divides by them"}
        needed = value and name in stated or (name == "exclude" and value and self.composes)
        if needed and self.sampler.probabilities is None:
            why = stated.get(name, "it composes batches, so that samples are replaced by them")
            raise ValueError(
                f"{owner}: {name} needs the chances of {type(self.sampler).__name__}, which does not "
                f"state any: {why}. Write its `probabilities`."
            )

    def parameter_changed(self, name: str) -> None:
        """Keep as arrays what was said about the chances."""
        if name not in {"exclude", "boost"}:
            return
        shut, factors = self._shut(), {i: b for i, b in self.boost.items() if b > 0}
        before = self._open
        self._open = None
        if shut.size:
            self._open = np.ones(self.n, bool)
            self._open[shut] = False
        if not np.array_equal(before, self._open):
            self._lost = self._skipped
        self._factors = as_factors(factors, self.n) if factors else None

    def _shut(self, exclude: Any = None, boost: Any = None) -> NDArray[np.int64]:
        exclude = self.exclude if exclude is None else exclude
        boost = self.boost if boost is None else boost
        return np.unique([*exclude, *(i for i, b in boost.items() if b == 0)]).astype(np.int64)

    def _can_come(self, shut: NDArray[np.int64] = _NO_SAMPLE) -> int:
        """How many samples the strategy could draw at all, without those in `shut`."""
        weights = getattr(self.sampler, "weights", None)
        if np.ndim(weights) != 1 or len(weights) != self.n:
            return self.n - shut.size
        return int(np.count_nonzero(weights) - np.count_nonzero(weights[shut]))

    @property
    def repeats(self) -> bool:
        """Whether the hand may bring a sample again within an epoch."""
        return bool(self.pin or self.next or self._factors is not None)

    @property
    def _idle(self) -> bool:
        own = vars(self)  # this is asked before every batch
        return not (own["pin"] or own["next"]) and self._open is None and self._factors is None

    @property
    def _skips(self) -> bool:
        return self._open is not None and not self.sampler.composes

    def _pinned(self) -> NDArray[np.int64]:
        pinned = np.array(self.pin, np.int64)
        return pinned if self._open is None else pinned[self._open[pinned]]

    def _fixed(self) -> tuple[bool, NDArray[np.int64]]:
        """Whether the next batch was chosen, and the samples that are in it for sure."""
        pinned, chosen = self._pinned(), np.array(self.next, np.int64)
        if self._open is not None:
            chosen = chosen[self._open[chosen]]
        if chosen.size == 0:
            return False, pinned
        if not self.fill_next:
            return True, chosen
        return True, np.concatenate([chosen, pinned[~np.isin(pinned, chosen)]])

    def _in_vain(self, what: str) -> str:
        return (
            f"{type(self).__name__}: no sample but excluded ones {what}. Exclude fewer, or let "
            f"{type(self.sampler).__name__} draw others too."
        )
