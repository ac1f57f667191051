"""Arrays as JSON, exactly: states of large samplers stay small and keep every bit."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
