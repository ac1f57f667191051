"""What the loops share: is this model ready to train, and what does each sample cost it?"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from batchlab.backend import keras, tf
from batchlab.loaders import Loader
from batchlab.parameters import Parameter


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
            f"{owner}: model {model.name!r} is not compiled with an optimizer and a loss. Call "
            'e.g. model.compile(optimizer="adam", loss="sparse_categorical_crossentropy") first.'
        )
    Parameter(1, low=1, name="epochs").check(epochs, owner)


def check_own_step(model: keras.Model, loader: Any, owner: str) -> None:
    """Refuse what only ``model.fit`` can do, by name.

    Raises
    ------
    TypeError
        If `loader` is no :class:`Loader`, or the model has a ``train_step`` of its own.
    ValueError
        If the model is distributed over several devices.
    """
    if not isinstance(loader, Loader):
        raise TypeError(
            f"{owner}: loader must be a batchlab.Loader, got {type(loader).__name__}. "
            "Build one with Loader(x, y, sampler=...)."
        )
    if type(model).train_step is not keras.Model.train_step:
        raise TypeError(
            f"{owner}: {type(model).__name__} has a train_step of its own, which would be ignored "
            "here. Use model.fit(loader, shuffle=False), or move it to compute_loss."
        )
    if model.distribute_strategy.num_replicas_in_sync > 1:
        raise ValueError(
            f"{owner}: model {model.name!r} is distributed over "
            f"{model.distribute_strategy.num_replicas_in_sync} devices, and this loop uses one. "
            "Use model.fit(loader, shuffle=False), or build the model outside the strategy's scope."
        )


def build(model: keras.Model, loader: Loader) -> None:
    """Create every variable of model, loss, metrics and optimizer, as ``model.fit`` does first.

    Nothing else changes. Data of a shape that the model cannot take is found out here, before
    the first step.
    """
    # As a tensor: a model without weights of its own yet learns its shapes from the first call.
    sample = keras.tree.map_structure(tf.constant, loader.gather(np.zeros(1, dtype=np.int64)))
    x, y, weights = keras.utils.unpack_x_y_sample_weight(sample)
    y_pred = model(x, training=False)
    metrics = [(variable, variable.numpy()) for variable in model.metrics_variables]
    model.compute_loss(x, y, y_pred, weights)
    model.compute_metrics(x, y, y_pred, weights)
    model.optimizer.build(model.trainable_variables)
    model.reset_metrics()
    for variable, value in metrics:
        variable.assign(value)


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
    Where a loss of your own returns one number per batch, every sample gets that number.
    Regularisation losses belong to no sample and are left out. The model must be built.
    """
    # Keras resolves names, dicts and lists of losses when it builds them and has no public way
    # to ask for the result.
    terms = [
        (path, _Unreduced(loss), 1.0 if weight is None else weight)
        for path, loss, weight, _ in model._compile_loss._flat_losses
    ]

    def losses(y: Any, y_pred: Any) -> tf.Tensor:
        if isinstance(y, dict) and not isinstance(y_pred, dict):
            y = [y[name] for name in model.output_names]
        size = tf.shape(keras.tree.flatten(y_pred)[0])[0]
        total = tf.zeros((size,))
        for path, loss, weight in terms:
            target, output = _at(y, path), _at(y_pred, path)
            values = tf.cast(loss(target, output), tf.float32)
            if values.shape.rank:
                values = tf.reduce_mean(tf.reshape(values, (size, -1)), axis=1)
            total += weight * values
        return total

    return losses


class _Unreduced(keras.losses.Loss):
    """Another loss, without its reduction; dtypes and masks stay Keras's business."""

    def __init__(self, loss: keras.losses.Loss) -> None:
        super().__init__(loss.name, reduction=None, dtype=loss.dtype)
        self.call = loss.call


def _at(structure: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        if keras.tree.is_nested(structure):
            structure = structure[key]
    return structure
