"""What the model says of samples, in one compiled function for batches of every size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras, tf
from batchlab.loops.step import loss_per_sample


class Evaluation:
    """Class probabilities and losses of any samples, by the present weights.

    Parameters
    ----------
    model : keras.Model
        Compiled and built.
    shape : tuple of int
        Of one sample.
    """

    def __init__(self, model: keras.Model, shape: tuple[int, ...]) -> None:
        self.model = model
        inputs = tf.TensorSpec((None, *shape))
        targets = tf.TensorSpec((None,), tf.int64)
        per_sample = loss_per_sample(model)

        # No AutoGraph: like Keras's own loops, and rewriting the source takes half a second.
        @tf.function(input_signature=(inputs,), autograph=False)
        def outputs(x: tf.Tensor) -> tf.Tensor:
            return model(x, training=False)

        @tf.function(input_signature=(inputs, targets), autograph=False)
        def outputs_and_losses(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            predictions = model(x, training=False)
            return predictions, per_sample(y, predictions)

        # Concrete, or TensorFlow warns of "retracing" when a kernel has seen a few panels.
        self._outputs = outputs.get_concrete_function()
        self._outputs_and_losses = outputs_and_losses.get_concrete_function()

    def probabilities(self, x: NDArray[Any]) -> NDArray[Any]:
        """Of the classes: (m, 1) for a single sigmoid output, else (m, classes)."""
        return self._normalised(self._outputs(np.asarray(x, np.float32)).numpy())

    def classes_and_losses(
        self, x: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The likeliest class of every sample and its loss, each (m,)."""
        outputs, losses = (array.numpy() for array in self._outputs_and_losses(x, labels))
        outputs = self._normalised(outputs)
        if outputs.shape[1] == 1:
            return (outputs[:, 0] > 0.5).astype(np.int64), losses
        return outputs.argmax(axis=1), losses

    def _normalised(self, outputs: NDArray[Any]) -> NDArray[Any]:
        if not getattr(keras.losses.get(self.model.loss), "from_logits", False):
            return outputs
        if outputs.shape[1] > 1:
            return tf.nn.softmax(outputs).numpy()
        return 1 / (1 + np.exp(-outputs))
