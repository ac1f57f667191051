"""What the loops share: is this model ready to train, and what does each sample cost it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchlab.backend import keras, tf
from batchlab.samplers.parameters import Parameter


def check_ready(model: Any, epochs: int, owner: str) -> None:
    """Refuse what cannot be trained, before the first step.

    Raises
    ------
    TypeError
        If `model` is no Keras model, or `epochs` no whole number.
    ValueError
        If the model is not compiled, or `epochs` is below 1.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"{owner}: model must be a keras.Model, got {type(model).__name__}.")
    if not model.compiled or model.optimizer is None or model.loss is None:
        raise ValueError(
            f"{owner}: model {model.name!r} is not compiled with an optimizer and a loss. Call e.g. "
            'model.compile(optimizer="adam", loss="sparse_categorical_crossentropy") first.'
        )
    Parameter(1, low=1, name="epochs").check(epochs, owner)


def loss_per_sample(model: Any) -> Callable[[Any, Any], tf.Tensor]:
    """A function from (targets, predictions) to the loss of every sample, float32 (batch,)."""
    loss = keras.losses.get(model.loss)
    unreduced = loss.call if isinstance(loss, keras.losses.Loss) else loss

    def losses(y: Any, y_pred: Any) -> tf.Tensor:
        y, y_pred = tf.convert_to_tensor(y), tf.convert_to_tensor(y_pred)
        if y.shape.rank == y_pred.shape.rank - 1 and y_pred.shape[-1] == 1:
            y = y[..., tf.newaxis]  # labels (batch,) for predictions (batch, 1)
        values = tf.cast(unreduced(y, y_pred), tf.float32)
        return tf.reduce_mean(tf.reshape(values, (tf.shape(values)[0], -1)), axis=1)

    return losses
