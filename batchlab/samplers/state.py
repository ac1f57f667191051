"""Arrays as JSON, exactly: states of large samplers stay small and keep every bit."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """`array` as a dict of strings and numbers, compressed; the opposite of `decode_array`."""
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), level=1))
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib": data.decode("ascii")}


def decode_array(encoded: dict[str, Any]) -> NDArray[Any]:
    """The array that `encode_array` was given.

    Raises
    ------
    ValueError
        If `encoded` is damaged.
    """
    try:
        data = zlib.decompress(base64.b64decode(encoded["zlib"], validate=True))
        return np.frombuffer(data, dtype=encoded["dtype"]).reshape(encoded["shape"]).copy()
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"this state holds a damaged array: {error}") from error
