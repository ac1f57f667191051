"""What the loops share: what does each sample cost the model?"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from batchlab.backend import keras, tf
from batchlab.loops.keras_private import loss_terms
from batchlab.loops.targets import by_place


def specs_of(data: Any) -> Any:
    """The ``tf.TensorSpec`` of batches of `data`, in the same structure."""
    return keras.tree.map_structure(
        lambda leaf: tf.TensorSpec((None, *leaf.shape[1:]), leaf.dtype), data
    )


def in_compute_dtype(model: keras.Model, x: Any) -> Any:
    """The arrays of `x`, those of float64 as float32 where the model makes that of them first.

    It does, unless it was told otherwise or hands `x` to a method of somebody's own. The model must
    be built.
    """
    inputs = getattr(model, "inputs", None)
    dtypes = [leaf.dtype for leaf in keras.tree.flatten(inputs)] if inputs else [model.input_dtype]
    methods = (type(model).compute_loss, type(model).compute_metrics)
    cast = (model.autocast or inputs) and set(dtypes) == {"float32"}
    if not cast or methods != (keras.Model.compute_loss, keras.Model.compute_metrics):
        return x
    return keras.tree.map_structure(
        lambda leaf: leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf, x
    )


def loss_tracker(model: keras.Model) -> keras.metrics.Metric:
    """The mean loss that ``compile`` made, also where the model overrides ``metrics``."""
    return keras.Model.metrics.fget(model)[0]


def forward(model: keras.Model, x: Any) -> Any:
    """The model's predictions while it trains, by the rule of ``model.fit``."""
    if "training" in inspect.signature(model.call).parameters:
        return model(x, training=True)
    return model(x)


def loss_per_sample(model: keras.Model) -> Callable[[Any, Any], tf.Tensor]:
    """A function from (targets, predictions) to the loss of every sample, float32 (batch,).

    Several outputs are summed with their loss weights; further axes, such as time, are averaged.
    Where a loss of your own returns one number per batch, every sample gets that number; so it does
    where the model's ``compute_loss`` goes without the compiled losses: `total`, the third
    argument. Regularisation losses belong to no sample and are left out. The model must be built.
    """
    terms = [
        (path, Unreduced(loss), 1.0 if weight is None else weight)
        for path, loss, weight in loss_terms(model)
    ]

    def losses(y: Any, y_pred: Any, total: Any = None) -> tf.Tensor:
        size = tf.shape(keras.tree.flatten(y_pred)[0])[0]
        if not terms:
            if total is None:
                raise ValueError(
                    f"The losses of single samples of model {model.name!r} are not known: its own "
                    "compute_loss does not use a loss given to compile()."
                )
            return tf.fill((size,), tf.cast(tf.reduce_mean(total), tf.float32))
        y = by_place(model, y, y_pred)
        losses = tf.zeros((size,))
        for path, loss, weight in terms:
            values = tf.cast(loss(at(y, path), at(y_pred, path)), tf.float32)
            if values.shape.rank:
                values = tf.reduce_mean(tf.reshape(values, (size, -1)), axis=1)
            losses += weight * values
        return losses

    return losses


def weights_for_loss(model: keras.Model, y: Any, y_pred: Any, weights: Any) -> Any:
    """Weights of samples, (batch,), with the axes of the losses that they multiply.

    (batch, 1) for a loss per token, say. Keras would take such weights for others, or refuse them.
    Outputs whose losses differ in rank get weights of their own.
    """
    if weights is None:
        return None
    y = by_place(model, y, y_pred)
    own = {}
    for path, loss, _ in loss_terms(model):
        rank = Unreduced(loss)(at(y, path), at(y_pred, path)).shape.rank or 1
        own[path] = tf.reshape(weights, [-1, *[1] * (rank - 1)])
    if len({factors.shape.rank for factors in own.values()}) < 2:
        return next(iter(own.values()), weights)
    places = keras.tree.flatten_with_path(y_pred)
    return keras.tree.pack_sequence_as(y_pred, [own.get(path, weights) for path, _ in places])


class Unreduced(keras.losses.Loss):
    """Another loss, without its reduction; dtypes and masks stay Keras's business."""

    def __init__(self, loss: keras.losses.Loss) -> None:
        super().__init__(loss.name, reduction=None, dtype=loss.dtype)
        self.call = loss.call


def at(structure: Any, path: tuple[Any, ...]) -> Any:
    """What stands at a place of a structure."""
    for key in path:
        if keras.tree.is_nested(structure):
            structure = structure[key]
    return structure
