"""The same mathematics as ``eager_loop``, many steps per call of one compiled function."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras, tf
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.step import check_ready, loss_per_sample
from batchlab.samplers.parameters import Parameter


class CompiledSteps:
    """Train a model for several batches per call, with the gather inside the compiled function.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    loader : Loader
        Its arrays go to the device once.
    """

    def __init__(self, model: keras.Model, loader: Loader) -> None:
        self.model = model
        self.loader = loader
        self.mean_loss = keras.metrics.Mean()
        self._x, self._y = keras.tree.map_structure(tf.constant, (loader.x, loader.y))
        self._sample_losses = loss_per_sample(model)
        if not model.built:
            model.build(keras.tree.map_structure(lambda array: (None, *array.shape[1:]), self._x))
        model.optimizer.build(model.trainable_variables)
        matrix = tf.TensorSpec((None, None), tf.int64)
        self._run = tf.function(self._steps, input_signature=[matrix])
        self._run_weighted = tf.function(
            self._steps, input_signature=[matrix, tf.TensorSpec((None, None), tf.float32)]
        )

    def __call__(self, batches: Iterable[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Train on `batches` in order; the losses of their samples, one (batch,) array each."""
        losses: list[NDArray[np.float32]] = []
        # Batches of one size make a matrix; a smaller last batch is a matrix of its own, unpadded.
        for _, group in itertools.groupby(batches, key=len):
            rows = list(group)
            weights = [self.loader.weights(row) for row in rows]
            if weights[0] is None:
                result = self._run(np.stack(rows))
            else:
                result = self._run_weighted(np.stack(rows), np.stack(weights))
            losses.extend(result.numpy())
        return losses

    def _steps(self, indices: tf.Tensor, weights: tf.Tensor | None = None) -> tf.Tensor:
        steps = tf.shape(indices)[0]
        losses = tf.TensorArray(tf.float32, size=steps, element_shape=(None,))
        for step in tf.range(steps):
            row = None if weights is None else weights[step]
            losses = losses.write(step, self._step(indices[step], row))
        return losses.stack()

    def _step(self, indices: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
        model = self.model
        x, y = keras.tree.map_structure(lambda array: tf.gather(array, indices), (self._x, self._y))
        with tf.GradientTape() as tape:
            y_pred = model(x, training=True)
            loss = model.compute_loss(x, y, y_pred, weights)
            scaled_loss = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, model.trainable_weights)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))
        self.mean_loss.update_state(loss, sample_weight=tf.shape(indices)[0])
        model.compute_metrics(x, y, y_pred, weights)
        return self._sample_losses(y, y_pred)


def train(
    model: keras.Model,
    loader: Loader,
    epochs: int = 1,
    *,
    validation_data: Any = None,
    callbacks: list[Any] | None = None,
    verbose: int | str = "auto",
    steps_per_call: int = 64,
) -> History:
    """Train like ``model.fit``, on the batches that the loader's sampler chooses, compiled.

    Parameters
    ----------
    model : keras.Model
        Compiled; its loss, optimizer and metrics are used.
    loader : Loader
        Says what is in each batch.
    epochs : int, default 1
        How many epochs of the loader's sampler to train.
    validation_data : tuple of arrays, optional
        ``(x, y)``, evaluated after every epoch with ``model.evaluate``.
    callbacks : list of keras.callbacks.Callback, optional
        Called at the start and end of training and of every epoch.
    verbose : "auto", 0, 1 or 2
        Progress bar as in ``model.fit``.
    steps_per_call : int, default 64
        Batches per call of the compiled function. Losses reach ``sampler.update`` after each call,
        so feedback is at most that many steps late. Without feedback the result does not depend
        on it.

    Returns
    -------
    History
        With every batch that was chosen and the loss of each of its samples.

    Raises
    ------
    TypeError, ValueError
        If the model is not compiled, or a parameter is of the wrong type or out of range.
    """
    check_ready(model, epochs, "train")
    Parameter(1, low=1, name="steps_per_call").check(steps_per_call, "train")
    run = CompiledSteps(model, loader)
    history = History(loader.n)
    hooks = keras.callbacks.CallbackList(
        callbacks,
        add_progbar=verbose != 0,
        verbose=1 if verbose == "auto" else verbose,
        epochs=epochs,
        steps=len(loader),
        model=model,
    )
    model.stop_training = False
    hooks.on_train_begin()
    logs: dict[str, float] = {}
    for epoch in range(epochs):
        model.reset_metrics()
        run.mean_loss.reset_state()
        hooks.on_epoch_begin(epoch)
        for batches in _in_groups(loader.index_batches(), steps_per_call):
            hooks.on_train_batch_begin(history.steps)
            for indices, losses in zip(batches, run(batches)):
                loader.update(indices, losses)
                history.record(indices, losses)
            logs = _logs(model, run)
            hooks.on_train_batch_end(history.steps, logs)
        if validation_data is not None:
            scores = model.evaluate(*validation_data, verbose=0, return_dict=True)
            logs = {**logs, **{f"val_{name}": value for name, value in scores.items()}}
        history.end_epoch(logs)
        hooks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    hooks.on_train_end(logs)
    return history


def _in_groups(batches: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while group := list(itertools.islice(batches, size)):
        yield group


def _logs(model: keras.Model, run: CompiledSteps) -> dict[str, float]:
    logs = {name: float(value) for name, value in model.get_metrics_result().items()}
    return {**logs, "loss": float(run.mean_loss.result())}
