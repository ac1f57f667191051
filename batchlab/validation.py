"""Checks that several samplers share; every message names what came, where, and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter


def check_finite(
    values: ArrayLike, owner: str, name: str, *, length: int | None = None, mend: str = ""
) -> NDArray[np.float64]:
    """A private float64 copy of `values`, shape (n,), all finite; n must be `length` if given."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{owner}: {name} must hold one number per sample, got shape {array.shape}. "
            "Pass a one-dimensional array that is not empty."
        )
    if length is not None and array.size != length:
        raise ValueError(
            f"{owner}: {name} must have one entry for each of the {length} samples, got "
            f"{array.size}."
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: {name} must be numbers, got dtype {array.dtype}.")
    array = array.astype(np.float64)
    if not (np.isfinite(array.min()) and np.isfinite(array.max())):  # NaN passes through both
        _refuse(array, ~np.isfinite(array), owner, name, "must be finite", mend)
    return array


def _refuse(
    array: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    owner: str,
    name: str,
    must: str,
    mend: str,
) -> None:
    if not wrong.any():
        return
    first = int(wrong.argmax())
    value = array[first]
    fault = "NaN" if np.isnan(value) else "infinite" if np.isinf(value) else "negative"
    raise ValueError(
        f"{owner}: {name} {must}, but {name}[{first}] is {fault} ({value}; {int(wrong.sum())} of "
        f"{array.size} are wrong). {mend}".rstrip()
    )


def check_weights(
    weights: ArrayLike, owner: str, name: str = "weights", *, length: int | None = None
) -> NDArray[np.float64]:
    """A private float64 copy of `weights`, shape (n,): finite, not negative, not all zero."""
    mend = "Use 0 to never draw that sample, and a large finite number to draw it often."
    array = check_finite(weights, owner, name, length=length, mend=mend)
    if array.min() < 0:
        _refuse(array, array < 0, owner, name, "must not be negative", mend)
    if not array.any():
        raise ValueError(
            f"{owner}: {name} are all zero ({array.size} of them), so nothing could be drawn. "
            "Give at least one sample a weight above 0."
        )
    return array


def check_losses(
    indices: ArrayLike, losses: ArrayLike, n: int, owner: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The arguments of ``update``, both of shape (batch,)."""
    indices = check_indices(indices, n, owner)
    mend = "A loss that is not finite means that training diverged: lower the learning rate."
    return indices, check_finite(losses, owner, "losses", length=indices.size, mend=mend)


def check_ratios(ratios: Any, names: list[Any], owner: str) -> dict[Any, float]:
    """Shares by name, each from 0 to 1, that add up to 1."""
    if not isinstance(ratios, Mapping):
        raise TypeError(f"{owner}: ratios must be a dict from name to share, got {ratios!r}.")
    absent = [name for name in ratios if name not in names]
    if absent:
        raise ValueError(
            f"{owner}: ratios name {absent[0]!r}, which is not there. There are {_few(names)}."
        )
    shares = {name: ratios.get(name, 0.0) for name in names}
    for name, share in shares.items():
        Parameter(0.0, low=0, high=1, name=f"ratios[{name!r}]").check(share, owner)
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"{owner}: ratios must add up to 1, got {total:g} from {dict(ratios)}.")
    return {name: float(share / total) for name, share in shares.items()}


def _few(names: list[Any]) -> str:
    return ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")


def check_whole(
    values: Any, name: str, low: int, high: int, size: int | None = None
) -> NDArray[np.int64]:
    """Whole numbers of a state, int64 (size,), each from `low` to `high`."""
    array = np.asarray(values)
    fits = array.ndim == 1 and (size is None or array.size == size)
    if not fits or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"its {name!r} must be {size or 'some'} whole numbers, got {values!r}.")
    if array.size and not low <= array.min() <= array.max() <= high:
        raise ValueError(f"its {name!r} must lie from {low} to {high}, got {values!r}.")
    return array.astype(np.int64)


def check_labels(labels: ArrayLike, owner: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The class names, sorted, and the class number of every sample, int64 (n,)."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{owner}: labels must hold one class per sample, got shape {array.shape}. "
            "For one-hot labels pass labels.argmax(axis=1)."
        )
    if array.dtype.kind == "f":
        missing = np.flatnonzero(~np.isfinite(array))
        came = (
            f"labels[{missing[0]}] is {array[missing[0]]}" if missing.size else f"got {array.dtype}"
        )
        raise TypeError(
            f"{owner}: labels must name classes with whole numbers or strings, but {came}. "
            "Pass labels.astype(int) if they are whole numbers."
        )
    if array.dtype.kind == "O":
        for position, label in enumerate(array):
            if not isinstance(label, str):
                raise TypeError(
                    f"{owner}: labels must name classes with whole numbers or strings, but "
                    f"labels[{position}] is {label!r} ({type(label).__name__})."
                )
        array = array.astype(str)
    elif array.dtype.kind not in "biuUS":
        raise TypeError(f"{owner}: labels must name classes, got dtype {array.dtype}.")
    classes, codes = np.unique(array, return_inverse=True)
    return classes, codes.astype(np.int64)


def check_indices(indices: ArrayLike, n: int, owner: str) -> NDArray[np.int64]:
    """`indices` as int64, shape (batch,), each from 0 to n - 1."""
    array = np.asarray(indices)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{owner}: a batch of indices must be a one-dimensional array of whole numbers that is "
            f"not empty, got shape {array.shape} and dtype {array.dtype}."
        )
    wrong = (array < 0) | (array >= n)
    if wrong.any():
        first = int(wrong.argmax())
        raise IndexError(
            f"{owner}: index {array[first]} at position {first} of the batch is out of range for "
            f"{n} samples. Indices go from 0 to {n - 1}."
        )
    return array.astype(np.int64, copy=False)
