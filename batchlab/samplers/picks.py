"""What a hand may set: samples by number, and a factor for each of some samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter, Schedule
from batchlab.validation import as_array, check_finite


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
