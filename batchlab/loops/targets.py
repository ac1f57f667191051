"""Are these the targets that the model's losses expect? Found out before the first step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras
from batchlab.loops.keras_private import loss_terms


def check_has_targets(batch: tuple[Any, ...], owner: str) -> None:
    """Refuse data without targets, where ``(x, y)`` is needed."""
    if len(batch) < 2 or batch[1] is None:
        raise ValueError(
            f"{owner}: there are no targets y, and the losses of samples need them. For an "
            "autoencoder: Loader(x, x, sampler=...)."
        )


def check_targets(model: keras.Model, y: Any, outputs: Any, name: str = "y") -> None:
    """Refuse class numbers that no output stands for, and NaN where a loss of Keras meets it.

    Parameters
    ----------
    model : keras.Model
        Built.
    y : ndarray, or tuple or dict of ndarrays
        The targets. Those that stay on disk are not read.
    outputs : TensorSpec, or structure of them
        The model's outputs.
    name : str
        What to call the targets.

    Raises
    ------
    ValueError
        With the name and position of the first wrong target.
    """
    targets = dict(keras.tree.flatten_with_path(by_place(model, y, outputs)))
    shapes = dict(keras.tree.flatten_with_path(outputs))
    for path, loss, _ in loss_terms(model):
        target, function = targets.get(path), getattr(loss, "fn", loss.call)
        of_keras = function.__module__.startswith("keras.")
        if not isinstance(target, np.ndarray) or isinstance(target, np.memmap) or not of_keras:
            continue
        place = name + "".join(f"[{key!r}]" for key in path)
        if where := not_finite(target, place):
            raise ValueError(f"{where}, and no loss can be computed of it. Leave such samples out.")
        if function is keras.losses.sparse_categorical_crossentropy and path in shapes:
            _check_classes(target, shapes[path].shape[-1], getattr(loss, "ignore_class", None), place)


def _check_classes(target: NDArray[Any], count: int, ignored: int | None, place: str) -> None:
    if 0 <= target.min() <= target.max() < count:
        return
    wrong = ((target < 0) | (target >= count)) & (target != ignored)
    if wrong.any():
        first = np.argwhere(wrong)[0]
        raise ValueError(
            f"{place}{first.tolist()} is {target[tuple(first)]}, but the model has {count} outputs, "
            f"for the classes 0 to {count - 1}. Number the classes from 0, e.g. with "
            "np.unique(y, return_inverse=True)[1], or give the last layer more units."
        )


def by_place(model: keras.Model, y: Any, y_pred: Any) -> Any:
    """Targets given by name, in the order of a list of outputs."""
    if isinstance(y, dict) and not isinstance(y_pred, dict):
        return [y[name] for name in model.output_names]
    return y


def not_finite(data: Any, name: str, rows: NDArray[np.int64] | None = None) -> str:
    """Which value of `data` is the first that is NaN or infinite, in words; empty if none is.

    `rows` says which rows of the data these are.
    """
    for path, leaf in keras.tree.flatten_with_path(data):
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            row, *place = map(int, np.argwhere(~np.isfinite(leaf))[0])
            keys = "".join(f"[{key!r}]" for key in path)
            where = [row if rows is None else int(rows[row]), *place]
            return f"{name}{keys}{where} is {leaf[(row, *place)]}"
    return ""
