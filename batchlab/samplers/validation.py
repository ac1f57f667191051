"""Checks that several samplers share; every message names what came, where, and the mend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_weights(weights: ArrayLike, owner: str, name: str = "weights") -> NDArray[np.float64]:
    """A private float64 copy of `weights`, shape (n,): finite, not negative, not all zero."""
    array = np.asarray(weights)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{owner}: {name} must hold one number per sample, got shape {array.shape}. "
            "Pass a one-dimensional array that is not empty."
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{owner}: {name} must be numbers, got dtype {array.dtype}.")
    array = array.astype(np.float64)
    for fault, mask, mend in (
        ("NaN", np.isnan(array), "Replace it, e.g. with 0 to never draw that sample."),
        ("infinite", np.isinf(array), "Weights are relative: use a large finite number."),
        ("negative", array < 0, "Use 0 to never draw that sample."),
    ):
        if mask.any():
            first = int(mask.argmax())
            raise ValueError(
                f"{owner}: {name} must be finite and not negative, but {name}[{first}] is {fault} "
                f"({array[first]}; {int(mask.sum())} of {array.size}). {mend}"
            )
    if not array.any():
        raise ValueError(
            f"{owner}: {name} are all zero ({array.size} of them), so nothing could be drawn. "
            "Give at least one sample a weight above 0."
        )
    return array


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
        came = f"labels[{missing[0]}] is {array[missing[0]]}" if missing.size else f"got {array.dtype}"
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
