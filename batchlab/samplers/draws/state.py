"""Where a sampler is, as JSON, exactly: states of large samplers stay small and keep every bit."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from batchlab.parameters import Parameter, Schedule, parameters_of

if TYPE_CHECKING:
    from batchlab.samplers.base import Sampler


def encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """`array` as a dict of strings and numbers, compressed; the opposite of `decode_array`."""
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), level=1))
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib": data.decode("ascii")}


def decode_array(encoded: dict[str, Any], like: NDArray[Any]) -> NDArray[Any]:
    """The array that `encode_array` was given, which must have the shape and dtype of `like`.

    Raises
    ------
    ValueError
        If `encoded` is damaged, or of another shape or dtype.
    """
    try:
        data = zlib.decompress(base64.b64decode(encoded["zlib"], validate=True))
        array = np.frombuffer(data, dtype=encoded["dtype"]).reshape(encoded["shape"]).copy()
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"this state holds a damaged array: {error}") from error
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"this state holds an array of shape {array.shape} and dtype {array.dtype}, but "
            f"{like.shape} and {like.dtype} are needed here."
        )
    return array


def fingerprint(array: NDArray[Any]) -> str:
    """16 hexadecimal digits that stand for the contents of `array`."""
    return hashlib.blake2b(np.ascontiguousarray(array), digest_size=8).hexdigest()


def check_fingerprint(state: dict[str, Any], key: str, own: str) -> None:
    """Refuse a state that was taken with other data than the sampler was built with."""
    if state[key] != own:
        raise ValueError(
            f"this state was taken with other {key}. Build the sampler with the {key} it had then."
        )


def state_of(sampler: Sampler) -> dict[str, Any]:
    """The position of `sampler` and all its settings, as plain JSON."""
    return {
        "sampler": type(sampler).__name__,
        "n": sampler.n,
        "epoch": sampler.epoch,
        "drawn": sampler.position,
        "parameters": {name: getattr(sampler, name) for name in parameters_of(sampler)},
        "schedules": {name: plan.as_dict() for name, plan in sampler._schedules.items()},
        **sampler.extra_state(),
    }


def restore(sampler: Sampler, state: dict[str, Any]) -> None:
    """Put `sampler`, and those it draws from, where `state_of` was called; or leave all as it is."""
    try:
        with unchanged_on_error(sampler):
            _take(sampler, state)
    except Exception as error:
        reason = f"it has no {error}." if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{type(sampler).__name__}: cannot load this state: {reason}") from error


@contextmanager
def unchanged_on_error(sampler: Sampler) -> Iterator[None]:
    """Put `sampler`, and those it draws from, back as they were if something fails.

    Arrays that were written into stay so: assign new ones.
    """
    before = [(each, dict(vars(each))) for each in _family(sampler)]
    try:
        yield
    except BaseException:
        for each, attributes in before:
            vars(each).clear()
            vars(each).update(attributes)
        raise


def _family(sampler: Sampler) -> list[Sampler]:
    return [sampler, *(each for member in sampler.members() for each in _family(member))]


def _take(sampler: Sampler, state: dict[str, Any]) -> None:
    if not isinstance(state, dict):
        raise TypeError(f"a state is a dict, got {type(state).__name__}.")
    for key, own in (("sampler", type(sampler).__name__), ("n", sampler.n)):
        if state[key] != own:
            raise ValueError(
                f"it belongs to another sampler: its {key} is {state[key]!r}, here it is "
                f"{own!r}. Build the sampler as it was when the state was taken."
            )
    declared = parameters_of(sampler)
    if set(state["parameters"]) != set(declared):
        odd = sorted(set(state["parameters"]) ^ set(declared))
        raise ValueError(f"its parameters differ from the sampler's in {odd}.")
    for key, value in state["parameters"].items():
        vars(sampler)[key] = declared[key].check(value)
        sampler.parameter_changed(key)
    sampler._schedules = {key: Schedule(**plan) for key, plan in state["schedules"].items()}
    place = {key: Parameter(0, low=0, name=key) for key in ("epoch", "drawn")}
    sampler._epoch, sampler._drawn = (place[key].check(state[key]) for key in place)
    sampler.continue_epoch()
    sampler.forget_ahead()
    sampler.load_extra_state(state)
    # Last, because the limits may depend on what was loaded.
    for key in declared:
        sampler.check_parameter(key, getattr(sampler, key))
    if sampler.position > max(sampler.n, sampler.samples_per_epoch):
        raise ValueError(f"it has drawn {sampler.position} of {sampler.samples_per_epoch} samples.")
    if not set(sampler._schedules) <= set(declared):
        raise ValueError(f"its schedules are for {sorted(sampler._schedules)}.")
