"""A training step of a user's own: what it must return, and what becomes of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchlab.backend import keras, tf
from batchlab.parameters import shown


def batch_loss(
    step: Callable[..., Any], model: keras.Model, x: Any, y: Any, weights: Any
) -> tuple[tf.Tensor, tf.Tensor, bool]:
    """What a step of one's own says of a batch: see :func:`train`.

    Returns
    -------
    losses : float32 (batch,)
        Of every sample.
    loss : float32
        Of the batch.
    taken : bool
        Whether the step has moved the weights itself.

    Raises
    ------
    TypeError
        If it returns something else.
    """
    result = step(model, x, y, weights)
    taken = isinstance(result, tuple) and len(result) == 2
    losses, loss = result if taken else (result, None)
    shapes = [getattr(part, "shape", None) for part in (losses, loss)]
    ranks = [None if shape is None else len(shape) for shape in shapes]
    if ranks[0] != 1 or (taken and ranks[1] != 0):
        came = [part if shape is None else tuple(shape) for part, shape in zip((losses, loss), shapes)]
        raise TypeError(
            "train: step must return the losses of the samples, of shape (batch,), or, when it has "
            "moved the weights itself, (losses, loss) with the loss of the batch, a scalar; got "
            f"{shown(came if taken else came[0])}."
        )
    losses = tf.cast(losses, tf.float32)
    if taken:
        return losses, tf.cast(loss, tf.float32), True
    loss = tf.reduce_mean(losses if weights is None else losses * weights)
    return losses, tf.add_n([loss, *(tf.cast(term, tf.float32) for term in model.losses)]), False


def check_count(losses: int | None, samples: int | None) -> None:
    """Refuse a step that does not return one loss a sample, when both numbers are known."""
    if None not in (losses, samples) and losses != samples:
        raise TypeError(
            f"train: step must return the loss of each of the {samples} samples of a batch, got "
            f"{losses} losses."
        )
