"""The training step as one compiled function that takes many steps per call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from batchlab.backend import keras, tf
from batchlab.loops.adversarial import Adversarial
from batchlab.loops.own_step import batch_loss
from batchlab.loops.selection import PoolSelection
from batchlab.loops.step import (
    forward,
    loss_per_sample,
    loss_tracker,
    weights_for_loss,
)
from batchlab.loops.xla import unsupported_ops, use_xla


class Program:
    """Several training steps of a model in one call, compiled once per batch size.

    Parameters
    ----------
    model : keras.Model
        Compiled and built.
    streamed : bool, default False
        Whether the data of a call are its batches, (steps, batch, ...), not all samples, (n, ...).
    selection : PoolSelection, optional
        Makes every batch out of a pool.
    adversarial : Adversarial, optional
        Turns part of every batch into adversarial examples.
    jit_compile : bool, optional
        Whether to use XLA; by default the rule of :func:`use_xla`.
    step : callable, optional
        Takes the place of the compiled loss: see :func:`train`.
    """

    def __init__(
        self,
        model: keras.Model,
        streamed: bool = False,
        selection: PoolSelection | None = None,
        adversarial: Adversarial | None = None,
        jit_compile: bool | None = None,
        step: Callable[..., Any] | None = None,
    ) -> None:
        self.model = model
        self.streamed = streamed
        self.selection = selection
        self.adversarial = adversarial
        self.own_step = step
        self.xla = use_xla(model, jit_compile)
        self._sample_losses = loss_per_sample(model)
        self._mean_loss = loss_tracker(model)
        self._functions: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> tuple[tf.Tensor, ...]:
        """Run the steps; see `_steps` for arguments and results."""
        if self.model.run_eagerly:
            return self._steps(*arguments)
        try:
            return self._compiled(*arguments)(*arguments)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if not self.xla or "XLA" not in str(error):
                raise
            warnings.warn(
                f"train: XLA cannot compile {unsupported_ops(error)}, which model "
                f"{self.model.name!r} uses, so it is trained in the plain graph. "
                "jit_compile=False says so from the start.",
                stacklevel=2,
            )
        self.xla = False
        self._functions.clear()
        return self._compiled(*arguments)(*arguments)

    @property
    def compiled(self) -> int:
        """How many functions have been compiled so far."""
        return len(self._functions)

    def _compiled(
        self, first: Any, count: Any, indices: Any, weights: Any, data: Any, settings: Any
    ) -> Any:
        """The compiled function for data of these types, whatever their lengths."""
        free = 2 if self.streamed else 1
        leaves = keras.tree.flatten(data)
        key = (len(weights), *((leaf.dtype, *leaf.shape[free:]) for leaf in leaves))
        if self.selection is not None:
            key = (*self.selection.traced, *key)
        if key not in self._functions:
            scalar, matrix = tf.TensorSpec(()), tf.TensorSpec((None, None))
            specs = (
                tf.TensorSpec((), tf.int64),
                tf.TensorSpec((), tf.int32),
                tf.TensorSpec((None, None), tf.int64),
                tuple(matrix for _ in weights),
                keras.tree.map_structure(
                    lambda leaf: tf.TensorSpec([None] * free + leaf.shape[free:], leaf.dtype), data
                ),
                keras.tree.map_structure(lambda _: scalar, settings),
            )
            # The concrete function: to call it takes a third of the time that tf.function takes.
            self._functions[key] = tf.function(
                self._steps, input_signature=specs, jit_compile=self.xla, autograph=False
            ).get_concrete_function()
        return self._functions[key]

    def _steps(
        self,
        first: tf.Tensor,
        count: tf.Tensor,
        indices: tf.Tensor,
        weights: tuple[tf.Tensor, ...],
        data: Any,
        settings: tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]],
    ) -> tuple[tf.Tensor, ...]:
        """Train on the first `count` rows of `indices`.

        Parameters
        ----------
        first : int64
            Number of the first step, for what is random in it.
        count : int32
            How many steps to take. XLA compiles a function for every shape, so that the matrix
            always has the same number of rows and not all need be used.
        indices : int64 (rows, batch)
            The samples of every batch.
        weights : tuple of one float32 (rows, batch), or empty
            Factors for the losses.
        data : (x, y)
            All samples, or batch by batch.
        settings : two tuples of float32
            What `selection` and `adversarial` may change while it trains.

        Returns
        -------
        losses : float32 (rows, kept)
            The losses of the samples that were trained on.
        totals : float32 (rows,)
            The loss of every batch, with weights and regularisation.
        indices : int64 (rows, kept)
            Which samples these are; only with a `selection`.
        """
        rows = tf.shape(indices)[0]
        results = [(tf.float32, (None,)), (tf.float32, ()), (tf.int64, (None,))]
        arrays = [
            tf.TensorArray(dtype, size=rows, element_shape=shape)
            for dtype, shape in results[: 2 if self.selection is None else 3]
        ]

        def body(row: tf.Tensor, *arrays: tf.TensorArray) -> tuple[Any, ...]:
            step = first + tf.cast(row, tf.int64)
            batch = self._batch(row, step, indices, weights, data, settings[0])
            values = (*self._step(step, settings[1], *batch), batch[0])
            return row + 1, *(array.write(row, value) for array, value in zip(arrays, values))

        # Spelled out, because AutoGraph takes five times as long to read a loop as TensorFlow does
        # to trace it. Keras does without AutoGraph as well.
        start = (tf.constant(0), *arrays)
        _, *arrays = tf.while_loop(lambda row, *_: row < count, body, start)
        return tuple(array.stack() for array in arrays)

    def _batch(
        self,
        row: tf.Tensor,
        step: tf.Tensor,
        indices: tf.Tensor,
        weights: Any,
        data: Any,
        settings: Any,
    ) -> tuple[Any, ...]:
        """The samples, x, y and weights of one step."""
        samples = indices[row]
        weights = [factor[row] for factor in weights]
        if self.streamed:
            x, y = keras.tree.map_structure(lambda array: array[row], data)
        else:
            x, y = keras.tree.map_structure(lambda array: tf.gather(array, samples), data)
        if self.selection is not None:
            best = self.selection.choose(
                self.model, self._sample_losses, samples, x, y, step, settings
            )
            samples, weights, x, y = keras.tree.map_structure(
                lambda array: tf.gather(array, best), (samples, weights, x, y)
            )
        return samples, x, y, weights[0] if weights else None

    def _step(
        self, step: tf.Tensor, settings: Any, samples: tf.Tensor, x: Any, y: Any, weights: Any
    ) -> tuple[tf.Tensor, ...]:
        model = self.model
        if self.adversarial is not None:
            x = self.adversarial.mix(model, self._sample_losses, x, y, step, settings)
        with tf.GradientTape() as tape:
            if self.own_step is None:
                y_pred = forward(model, x)
                weights = weights_for_loss(model, y, y_pred, weights)
                loss, taken = model.compute_loss(x, y, y_pred, weights), False
            else:
                losses, loss, taken = batch_loss(self.own_step, model, x, y, weights)
            scaled_loss = model.optimizer.scale_loss(loss)
        if not taken and model.trainable_weights:
            gradients = tape.gradient(scaled_loss, model.trainable_weights)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))
        self._mean_loss.update_state(loss, sample_weight=tf.shape(samples)[0])
        if self.own_step is None:
            model.compute_metrics(x, y, y_pred, weights)
            losses = self._sample_losses(y, y_pred, loss)
        return losses, tf.cast(tf.reduce_sum(loss), tf.float32)

    def logs(self) -> dict[str, Any]:
        """The loss and the metrics since the epoch began, by name: numbers, or arrays of them."""
        results = self.model.get_metrics_result() if self._measures else {}
        if "loss" not in results or not self._keras_keeps_loss:
            results = {**results, "loss": self._mean_loss.result()}
        arrays = {name: np.asarray(value) for name, value in results.items()}
        return {name: value if value.ndim else float(value) for name, value in arrays.items()}

    def agree(self, flag: bool) -> bool:
        """Whether `flag` is set here, or in any process that trains the model together with this."""
        return flag

    def reset_metrics(self) -> None:
        """Begin an epoch."""
        self.model.reset_metrics()
        if not self._keras_keeps_loss:
            self._mean_loss.reset_state()

    @property
    def _measures(self) -> bool:
        """Whether steps update the compiled metrics; one's own does if it calls compute_metrics."""
        if self.own_step is None:
            return True
        used = {id(variable) for steps in self._functions.values() for variable in steps.variables}
        built = all(getattr(metric, "built", True) for metric in self.model.metrics)
        return built and all(id(it.value) in used for it in self.model.metrics_variables)

    @property
    def _keras_keeps_loss(self) -> bool:
        """Whether the mean loss is one of the model's metrics; not if the model overrides them."""
        return any(metric is self._mean_loss for metric in self.model.metrics)
