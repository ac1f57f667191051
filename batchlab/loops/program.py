"""The training step as one compiled function that takes many steps per call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from batchlab.backend import keras, tf
from batchlab.loops.adversarial import Adversarial
from batchlab.loops.own_step import batch_loss, check_count
from batchlab.loops.priorities import prioritized_steps
from batchlab.loops.selection import PoolSelection
from batchlab.loops.step import (
    forward,
    loss_per_sample,
    loss_tracker,
    weights_for_loss,
)
from batchlab.loops.xla import unsupported_ops, use_xla


class Program:
    """Several training steps of a model in one call, and several epochs of them.

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
        self.latest: dict[str, Any] = {}  # logs that the graph gave since the epoch began

    def __call__(self, *arguments: Any, known: bool = True) -> tuple[Any, ...]:
        """Run the steps; see `_epochs` for arguments and results.

        One function is compiled for every pair of batch sizes that is `known`, and one for all
        others together.
        """
        if self.model.run_eagerly:
            return self._epochs(*arguments)
        try:
            return self._run(arguments, known)
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
        return self._run(arguments, known)

    @property
    def compiled(self) -> int:
        """How many functions have been compiled so far."""
        return len(self._functions)

    def _run(self, arguments: tuple[Any, ...], known: bool) -> tuple[Any, ...]:
        """The results of the compiled function."""
        compiled = self._compiled(*arguments, known)
        # That the types fit is known: to have TensorFlow match them takes longer than many steps.
        tensors = keras.tree.flatten(arguments)
        return compiled.inference_fn.call_preflattened([*tensors, *compiled.captured_inputs])

    def _compiled(
        self, first: Any, rows: Any, count: Any, parts: Any, settings: Any, known: bool
    ) -> Any:
        """The compiled function for data of these types, whatever the number of rows."""
        # A batch size that is known when a step is traced spares the plain graph a third of it.
        sizes = [part[0].shape[1] if known or k else None for k, part in enumerate(parts)]
        free = 2 if self.streamed else 1
        leaves = keras.tree.flatten(parts[0][2])
        kinds = [(leaf.dtype, *leaf.shape.as_list()[free:]) for leaf in leaves]
        kinds += [leaf.shape.as_list()[0] for leaf in settings[2]]  # a tree's levels
        key = (parts[0][0].dtype, *sizes, len(parts[0][1]), *kinds)
        if self.selection is not None:
            key = (*self.selection.traced, *key)
        if key not in self._functions:
            specs = (
                tf.TensorSpec((), tf.int64),
                tf.TensorSpec((), tf.int32),
                tf.TensorSpec((), tf.int32),
                tuple(self._specs(size, *part) for size, part in zip(sizes, parts)),
                (
                    *keras.tree.map_structure(lambda _: tf.TensorSpec(()), settings[:2]),
                    tuple(tf.TensorSpec(level.shape, level.dtype) for level in settings[2]),
                ),
            )
            self._functions[key] = tf.function(
                lambda tensors: self._epochs(*keras.tree.pack_sequence_as(specs, tensors)),
                input_signature=[keras.tree.flatten(specs)],
                jit_compile=self.xla,
                autograph=False,
            ).get_concrete_function()
        return self._functions[key]

    def _specs(self, size: int | None, indices: Any, weights: Any, data: Any) -> tuple[Any, ...]:
        """The types of a part, as `_epochs` takes it, with any number of rows."""
        free = [None, size] if self.streamed else [None]
        return (
            tf.TensorSpec((None, size), indices.dtype),
            tuple(tf.TensorSpec((None, size)[: len(it.shape)], it.dtype) for it in weights),
            keras.tree.map_structure(
                lambda leaf: tf.TensorSpec(free + leaf.shape[len(free) :], leaf.dtype), data
            ),
        )

    def _epochs(
        self, first: tf.Tensor, rows: tf.Tensor, count: tf.Tensor, parts: Any, settings: Any
    ) -> tuple[Any, ...]:
        """Train on a part of an epoch, or on several epochs of equally many batches.

        Parameters
        ----------
        first : int64
            Number of the first step, for what is random in it.
        rows : int32
            How many batches of the first part make an epoch; then comes one of the second.
        count : int32
            How many steps to take. XLA compiles a function for every shape, so that a matrix
            always has the same number of rows and not all need be used.
        parts : two tuples (indices, weights, data)
            The batches, and the smaller last one of every epoch, which may have a size of 0. The
            samples of every batch, int64 (rows, batch); factors for their losses, one float32
            (rows, batch) or none; x and y of all samples, or batch by batch.
        settings : three tuples
            What `selection` and `adversarial` may change while it trains, float32; and where the
            samples of a batch are numbers to draw them with, the :class:`Priorities`.

        Returns
        -------
        results : two tuples (losses, totals[, indices]), or () for a size of 0
            The losses of the samples that were trained on, float32 (rows, kept). The loss of every
            batch, with weights and regularisation, float32 (rows,). Which samples these are, int64
            (rows, kept); only where they are chosen here.
        logs : dict of str to tensor, (epochs, ...)
            The loss and the metrics at the end of every epoch, where the graph :attr:`resets` them.
        priorities : tuple
            After the last step.
        """
        results = tuple(self._arrays(part[0]) for part in parts)
        # Batches of unknown sizes are a part of one epoch.
        several = self.resets and parts[0][0].shape[1] is not None
        logs = self._results() if several else {}
        logs = {
            name: tf.TensorArray(value.dtype, tf.shape(parts[1][0])[0], element_shape=value.shape)
            for name, value in keras.tree.map_structure(tf.convert_to_tensor, logs).items()
        }

        def take_step(step: tf.Tensor, *batch: Any) -> tuple[tf.Tensor, ...]:
            return self._step(step, settings[1], *batch)

        def epoch(
            number: tf.Tensor, step: tf.Tensor, results: Any, logs: Any, priorities: Any
        ) -> tuple[Any, ...]:
            if logs:  # the first one may be the rest of an epoch
                tf.cond(number > 0, self.reset_metrics, lambda: None)
            done = []
            for part, each, arrays in zip(parts, (rows, 1), results):
                if arrays:
                    start, taken = number * each, tf.minimum(each, count - step)
                    moment = first + tf.cast(step - start, tf.int64)
                    span = moment, start, start + taken
                    if part[0].dtype.is_floating:
                        priorities, arrays = prioritized_steps(
                            take_step, *span, part, priorities, arrays
                        )
                    else:
                        arrays = self._steps(*span, part, settings, arrays)
                    step += taken
                done.append(arrays)
            values = self._results() if logs else {}
            logs = {name: logs[name].write(number, value) for name, value in values.items()}
            return number + 1, step, tuple(done), logs, priorities

        # Spelled out, because AutoGraph takes five times as long to read a loop as TensorFlow does
        # to trace it. Keras does without AutoGraph as well.
        start = (tf.constant(0), tf.constant(0), results, logs, settings[2])
        _, _, *arrays, priorities = tf.while_loop(lambda _, step, *__: step < count, epoch, start)
        return *keras.tree.map_structure(lambda array: array.stack(), tuple(arrays)), priorities

    def _arrays(self, indices: tf.Tensor) -> tuple[tf.TensorArray, ...]:
        """For the results of every row; none for batches of size 0."""
        size = indices.shape[1]
        if size == 0:
            return ()
        kinds = [(tf.float32, (size,)), (tf.float32, ())]
        if self.selection is not None or indices.dtype.is_floating:
            size = size and self.selection.kept(size) if self.selection else size
            kinds = [(tf.float32, (size,)), (tf.float32, ()), (tf.int64, (size,))]
        rows = tf.shape(indices)[0]
        return tuple(tf.TensorArray(kind, rows, element_shape=shape) for kind, shape in kinds)

    def _steps(
        self, first: tf.Tensor, start: Any, end: Any, part: Any, settings: Any, arrays: Any
    ) -> tuple[tf.TensorArray, ...]:
        """Train on the rows from `start` to `end`; row 0 would be step number `first`."""

        def body(row: tf.Tensor, *arrays: tf.TensorArray) -> tuple[Any, ...]:
            step = first + tf.cast(row, tf.int64)
            batch = self._batch(row, step, *part, settings[0])
            values = (*self._step(step, settings[1], *batch), batch[0])
            return row + 1, *(array.write(row, value) for array, value in zip(arrays, values))

        _, *arrays = tf.while_loop(lambda row, *_: row < end, body, (start, *arrays))
        return tuple(arrays)

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
                check_count(losses.shape[0], samples.shape[0])
            scaled_loss = model.optimizer.scale_loss(loss)
        if not taken and model.trainable_weights:
            gradients = tape.gradient(scaled_loss, model.trainable_weights)
            model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))
        self._mean_loss.update_state(loss, sample_weight=tf.shape(samples)[0])
        if self.own_step is None:
            model.compute_metrics(x, y, y_pred, weights)
            losses = self._sample_losses(y, y_pred, loss)
        return losses, tf.cast(tf.reduce_sum(loss), tf.float32)

    def _results(self) -> dict[str, Any]:
        """The loss and the metrics since the epoch began, by name."""
        results = self.model.get_metrics_result() if self._measures else {}
        if "loss" not in results or not self._keras_keeps_loss:
            results = {**results, "loss": self._mean_loss.result()}
        return results

    def logs(self) -> dict[str, Any]:
        """The same, as numbers, or arrays of them."""
        return plain(self.latest or self._results())

    def agree(self, flag: bool) -> bool:
        """Whether `flag` is set here, or in any process that trains the model together with this."""
        return flag

    def reset_metrics(self) -> None:
        """Begin an epoch."""
        self.latest = {}
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
    def resets(self) -> bool:
        """Whether the graph can end an epoch: not where somebody's own Python has a part in it."""
        metrics = [m for metric in self.model.metrics for m in getattr(metric, "metrics", [metric])]
        methods = [type(self.model).reset_metrics, type(self.model).get_metrics_result]
        methods += [getattr(type(m), name) for m in metrics for name in ("reset_state", "result")]
        keras_own = all(method.__module__.startswith("keras.") for method in methods)
        return keras_own and self.own_step is None

    @property
    def _keras_keeps_loss(self) -> bool:
        """Whether the mean loss is one of the model's metrics; not if the model overrides them."""
        return any(metric is self._mean_loss for metric in self.model.metrics)


def plain(logs: dict[str, Any]) -> dict[str, Any]:
    """Numbers as floats, and arrays."""
    arrays = {name: np.asarray(value) for name, value in logs.items()}
    return {name: value if value.ndim else float(value) for name, value in arrays.items()}
