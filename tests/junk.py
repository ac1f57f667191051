"""Kinds of junk, and of right values that only look otherwise."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import scipy.sparse

from batchlab.backend import tf


def _or_none(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


pandas, torch, jax = map(_or_none, ("pandas", "torch", "jax"))
if jax is not None:  # else it rounds to 32 bits what it is given
    jax.config.update("jax_enable_x64", True)

# What is junk wherever it comes.
JUNK: dict[str, Any] = {
    "none": None,
    "nan": float("nan"),
    "true": True,
    "huge": 10**400,
    "2**64": 2**64,
    "-1": -1,
    "text": "junk",
    "ragged": [[1], [2, 3]],
    "empty": [],
    "0-d": np.array(3),
    "1-d": np.array([1, 2, 3]),
    "2-d": np.ones((2, 2)),
    "object": object(),
    "dict": {},
    "function": print,
}
if pandas is not None:
    JUNK["NA"] = pandas.NA


def spoilt(good: np.ndarray) -> dict[str, Any]:
    """A right array, spoilt."""
    mask = np.arange(good.size).reshape(good.shape) == 1
    holes = good.astype(object)
    holes.flat[1] = None
    wrong = {
        "masked": np.ma.array(good, mask=mask),
        "hole": holes,
        "shorter": good[:-1],
        "deeper": good[..., np.newaxis],
    }
    if good.dtype.kind in "iuf":
        wrong["with nan"] = np.where(mask, np.nan, good)
        wrong["with huge"] = [10**400, *good.tolist()[1:]]
        wrong["sparse"] = scipy.sparse.csr_array(np.atleast_2d(good))
        if torch is not None:
            wrong["gradient"] = torch.tensor(good.astype(float), requires_grad=True)
    return wrong


def dressed(good: Any) -> dict[str, Any]:
    """A right value, dressed otherwise."""
    if isinstance(good, np.ndarray):
        same = {"list": good.tolist(), "unmasked": np.ma.array(good), "column": good.astype(object)}
        if good.dtype.kind in "iuf":
            same["tensor"] = tf.constant(good)
            if torch is not None:
                same["torch"] = torch.tensor(good)
            if jax is not None:
                same["jax"] = jax.numpy.asarray(good)
        if pandas is not None and good.ndim == 1:
            same["shuffled index"] = pandas.Series(good, index=np.arange(good.size)[::-1])
        return same
    if isinstance(good, (bool, int, float, str)):
        scalar = {bool: np.bool_, int: np.int64, float: np.float64, str: np.str_}[type(good)]
        return {"NumPy's": scalar(good)}
    return {}


def junk_for(good: Any) -> dict[str, Any]:
    """Every kind of junk that can come in the place of `good`."""
    return {**JUNK, **(spoilt(good) if isinstance(good, np.ndarray) else {})}
