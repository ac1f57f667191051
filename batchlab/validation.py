"""Is this array what it should be? Every message names what came, where, and the mend.

There is one way in, :func:`as_array`; the other checks say what must be true of its result.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter, shown


def as_array(
    values: ArrayLike,
    owner: str,
    name: str,
    *,
    holds: str = "one number per sample",
    length: int | None = None,
    axes: tuple[int, ...] = (1,),
    least: int = 1,
    mend: str = "Pass a one-dimensional array that is not empty.",
) -> NDArray[Any]:
    """`values` as an array of numbers or strings; not copied if it is one.

    Lists, tensors and pandas columns are read, by position, whatever an index says; a column of
    dtype object becomes what it holds. What would be lost on the way (a mask, ``None``) is refused.

    Parameters
    ----------
    values : array_like
        What came for the parameter `name` of `owner`.
    holds : str
        What it must hold, in words.
    length : int, optional
        How many entries it must have.
    axes : tuple of int
        How many axes it may have.
    least : int, default 1
        How many entries it has at least: an empty array is usually a mistake.
    mend : str
        What to do about a wrong shape.

    Raises
    ------
    TypeError, ValueError
        If it cannot be read, holds something else, or has another shape.
    """
    array = read_array(values, owner, name)
    if array.ndim not in axes or array.size < least:
        raise ValueError(f"{owner}: {name} must hold {holds}, got shape {array.shape}. {mend}")
    if length is not None and len(array) != length:
        raise ValueError(
            f"{owner}: {name} must have one entry for each of the {length} samples, got "
            f"{len(array)}."
        )
    if array.dtype.kind not in "biufUS":
        raise TypeError(f"{owner}: {name} must hold {holds}, got dtype {array.dtype}.")
    return array


def read_array(values: Any, owner: str, name: str) -> NDArray[Any]:
    """`values` as an array of any shape, with nothing lost; not copied if it is one."""
    if type(values) is np.ndarray and values.dtype.kind in "biufUS":
        return values
    if np.ma.is_masked(values):
        first = np.argwhere(np.ma.getmaskarray(values))[0].tolist()
        raise TypeError(
            f"{owner}: {name} is masked (first at {first}), and the mask would be lost. Fill it, "
            f"{name}.filled(value), or leave those samples out."
        )
    if hasattr(values, "toarray"):
        came = type(values).__name__
        raise TypeError(f"{owner}: {name} must be dense, got {came}. Pass {name}.toarray().")
    try:
        array = np.asarray(values)
    except Exception as error:  # a stranger's: its own words say best what it needs
        if "inhomogeneous" in str(error):
            sizes = [len(row) if hasattr(row, "__len__") else None for row in values]
            odd = next((place for place, size in enumerate(sizes) if size != sizes[0]), 0)
            raise ValueError(
                f"{owner}: {name} is ragged: {name}[{odd}] has not the shape of the others. Make all "
                "rows alike."
            ) from error
        came = type(values).__name__
        raise TypeError(f"{owner}: {name} cannot be read as an array. {came}: {error}") from error
    if array.ndim == 0 and array.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: {name} must be an array or a list, got {shown(values)}.")
    return _without_objects(array, owner, name) if array.dtype.kind in "OT" else array


def _without_objects(array: NDArray[Any], owner: str, name: str) -> NDArray[Any]:
    """A column of Python objects as what all of them are: strings, whole numbers or numbers."""
    wanted, dtype = numbers.Real, np.float64
    if array.size and isinstance(array.flat[0], str):
        wanted, dtype = str, np.str_
    elif all(isinstance(value, numbers.Integral) for value in array.flat):
        wanted, dtype = numbers.Integral, np.int64
    for position, value in enumerate(array.flat):
        try:
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise TypeError
            dtype(value)
        except (TypeError, OverflowError):
            came = f"{shown(value)} ({type(value).__name__})"
            raise TypeError(
                f"{owner}: {name} must hold strings or numbers of at most 64 bits, all of one kind, "
                f"but {name}[{position}] is {came}."
            ) from None
    return array.astype(dtype)


def as_numbers(values: ArrayLike, owner: str, name: str, **options: Any) -> NDArray[np.float64]:
    """A private float64 copy of `values`; see :func:`as_array` for the options."""
    array = as_array(values, owner, name, **options)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: {name} must be numbers, got dtype {array.dtype}.")
    return array.astype(np.float64)


def check_finite(
    values: ArrayLike, owner: str, name: str, *, length: int | None = None, mend: str = ""
) -> NDArray[np.float64]:
    """A private float64 copy of `values`, shape (n,), all finite; n must be `length` if given."""
    array = as_numbers(values, owner, name, length=length)
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
        raise TypeError(f"{owner}: ratios must be a dict from name to share, got {shown(ratios)}.")
    absent = [name for name in ratios if name not in names]
    if absent:
        few = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
        raise ValueError(
            f"{owner}: ratios name {absent[0]!r}, which is not there. There are {few}."
        )
    shares = {
        name: Parameter(0.0, low=0, high=1, name=f"ratios[{name!r}]").check(
            ratios.get(name, 0.0), owner
        )
        for name in names
    }
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"{owner}: ratios must add up to 1, got {total:g} from {dict(ratios)}.")
    return {name: share / total for name, share in shares.items()}


def check_whole(
    values: Any, name: str, low: int, high: int, size: int | None = None
) -> NDArray[np.int64]:
    """Whole numbers of a state, int64 (size,), each from `low` to `high`."""
    array = np.asarray(values)
    fits = array.ndim == 1 and (size is None or array.size == size)
    if not fits or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"its {name!r} must be {size or 'some'} whole numbers, got {shown(values)}.")
    if array.size and not low <= array.min() <= array.max() <= high:
        raise ValueError(f"its {name!r} must lie from {low} to {high}, got {shown(values)}.")
    return array.astype(np.int64)


def check_labels(
    labels: ArrayLike, owner: str, name: str = "labels"
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The class names, sorted, and the class number of every sample, int64 (n,)."""
    mend = f"For one-hot labels pass {name}.argmax(axis=1)."
    array = as_array(labels, owner, name, holds="one class per sample", mend=mend)
    if array.dtype.kind == "f":
        missing = np.flatnonzero(~np.isfinite(array))
        came = (
            f"{name}[{missing[0]}] is {array[missing[0]]}" if missing.size else f"got {array.dtype}"
        )
        raise TypeError(
            f"{owner}: {name} must name classes with whole numbers or strings, but {came}. "
            f"Pass {name}.astype(int) if they are whole numbers."
        )
    classes, codes = np.unique(array, return_inverse=True)
    return classes, codes.astype(np.int64)


def check_indices(
    indices: ArrayLike, n: int, owner: str, axes: tuple[int, ...] = (1,)
) -> NDArray[np.int64]:
    """`indices` as int64, shape (batch,), each from 0 to n - 1."""
    array = read_array(indices, owner, "indices")
    if array.ndim not in axes or array.size == 0 or array.dtype.kind not in "iu":
        raise TypeError(
            f"{owner}: a batch of indices must be a one-dimensional array of whole numbers that is "
            f"not empty, got shape {array.shape} and dtype {array.dtype}."
        )
    wrong = (array < 0) | (array >= n)
    if wrong.any():
        first = int(wrong.argmax())
        raise IndexError(
            f"{owner}: index {array.flat[first]} at position {first} of the batch is out of range "
            f"for {n} samples. Indices go from 0 to {n - 1}."
        )
    return array.astype(np.int64, copy=False)
