"""What the model says of samples, in one compiled function for batches of every size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from batchlab.backend import keras, tf
from batchlab.loops.step import loss_per_sample, specs_of


class Evaluation:
    """Outputs, losses and the score of any samples, by the present weights.

    Parameters
    ----------
    model : keras.Model
        Compiled and built.
    x, y : ndarray of float32 (n, ...), ndarray (n, ...)
        Samples and targets of the kind that will be asked for.
    classes : bool
        Whether the targets are numbers of classes.

    Attributes
    ----------
    score_name : str
        What the score is: balanced accuracy where there are classes, else the first metric given to
        ``compile``, or the loss.
    """

    def __init__(
        self, model: keras.Model, x: NDArray[np.float32], y: NDArray[Any], classes: bool
    ) -> None:
        self.model, self.classes = model, classes
        inputs, targets = specs_of((x, y))
        per_sample = loss_per_sample(model)

        # No AutoGraph: like Keras's own loops, and rewriting the source takes half a second.
        @tf.function(input_signature=(inputs,), autograph=False)
        def outputs(x: tf.Tensor) -> tf.Tensor:
            return model(x, training=False)

        @tf.function(input_signature=(inputs, targets), autograph=False)
        def outputs_and_losses(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            predictions = model(x, training=False)
            return predictions, per_sample(y, predictions)

        @tf.function(input_signature=(inputs, targets), autograph=False)
        def losses_and_metrics(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Any]:
            predictions = model(x, training=False)
            return per_sample(y, predictions), model.compute_metrics(x, y, predictions)

        # Concrete, or TensorFlow warns of "retracing" when a kernel has seen a few panels.
        self._outputs = outputs.get_concrete_function()
        self._outputs_and_losses = outputs_and_losses.get_concrete_function()
        self.score_name = "balanced accuracy"
        if not classes:
            self._losses_and_metrics = losses_and_metrics.get_concrete_function()
            named = [name for name in self._losses_and_metrics.structured_outputs[1] if name != "loss"]
            self.score_name = named[0] if named else "loss"

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """The model's outputs; of classes their probabilities, (m, 1) for a single sigmoid output."""
        outputs = self._outputs(np.asarray(x, np.float32)).numpy()
        return self._normalised(outputs) if self.classes else outputs

    def losses(self, x: NDArray[np.float32], y: NDArray[Any]) -> NDArray[np.float32]:
        """The loss of every sample, (m,)."""
        return self._outputs_and_losses(x, y)[1].numpy()

    def score_and_loss(self, x: NDArray[np.float32], y: NDArray[Any]) -> tuple[float, float]:
        """How good the model is on these samples, and their mean loss."""
        if not self.classes:
            self.model.reset_metrics()
            losses, metrics = self._losses_and_metrics(x, y)
            self.model.reset_metrics()
            loss = float(losses.numpy().mean())
            return float(np.mean(metrics[self.score_name])) if self.score_name != "loss" else loss, loss
        outputs, losses = (array.numpy() for array in self._outputs_and_losses(x, y))
        outputs = self._normalised(outputs)
        single = outputs.shape[1] == 1
        predicted = outputs[:, 0] > 0.5 if single else outputs.argmax(axis=1)
        accuracy = balanced_accuracy_score(y, predicted.astype(np.int64))
        return float(accuracy), float(losses.mean())

    def _normalised(self, outputs: NDArray[Any]) -> NDArray[Any]:
        if not getattr(keras.losses.get(self.model.loss), "from_logits", False):
            return outputs
        if outputs.shape[1] > 1:
            return tf.nn.softmax(outputs).numpy()
        return 1 / (1 + np.exp(-outputs))
