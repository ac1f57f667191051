"""Is this model ready to train? Found out before the first step, as far as it can be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from batchlab.backend import keras, need_tensorflow, tf
from batchlab.loaders import Loader
from batchlab.loops.keras_private import build_symbolically, unknown_to_optimizer
from batchlab.loops.own_step import batch_loss
from batchlab.loops.step import forward
from batchlab.loops.targets import check_has_targets, check_targets
from batchlab.parameters import Parameter, shown


def check_ready(model: Any, epochs: int, owner: str, step: Any = None) -> None:
    """Refuse what cannot be trained, before the first step.

    A `step` of one's own takes the place of the loss.

    Raises
    ------
    TypeError
        If `model` is no Keras model, `epochs` no whole number, or `step` no function.
    ValueError
        If the model is not compiled, or `epochs` is below 1.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"{owner}: model must be a keras.Model, got {type(model).__name__}.")
    if step is not None and not callable(step):
        raise TypeError(
            f"{owner}: step must be a function of (model, x, y, weights) that returns the losses, got "
            f"{shown(step)}."
        )
    own_loss = step is not None or type(model).compute_loss is not keras.Model.compute_loss
    if not model.compiled or model.optimizer is None or (model.loss is None and not own_loss):
        raise ValueError(
            f"{owner}: model {model.name!r} is not compiled with an optimizer and a loss. Call "
            'e.g. model.compile(optimizer="adam", loss="sparse_categorical_crossentropy") first.'
        )
    Parameter(1, low=1, name="epochs").check(epochs, owner)


def check_own_step(model: Any, loader: Any, owner: str, step: Any = None) -> None:
    """Refuse what only ``model.fit`` can do, by name.

    Raises
    ------
    RuntimeError
        If Keras does not run on TensorFlow.
    TypeError
        If `loader` is no :class:`Loader`, or the model has a ``train_step`` of its own, which a
        `step` given to :func:`train` replaces.
    ValueError
        If the optimizer does not know all that is trainable.
    """
    need_tensorflow(owner)
    if not isinstance(loader, Loader):
        raise TypeError(
            f"{owner}: loader must be a batchlab.Loader, got {type(loader).__name__}. "
            "Build one with Loader(x, y, sampler=...)."
        )
    unknown = unknown_to_optimizer(model) if model.optimizer.built else ()
    if unknown:
        raise ValueError(
            f"{owner}: {unknown[0].path} was not trainable when model {model.name!r} was compiled, "
            "and its optimizer does not know it. Call model.compile(...) again."
        )
    if step is None and type(model).train_step is not keras.Model.train_step:
        raise TypeError(
            f"{owner}: {type(model).__name__} has a train_step of its own, which would be ignored "
            "here. Use model.fit(loader, shuffle=False), move it to compute_loss, or give it to train "
            "as step=..., a function."
        )


def check_one_device(model: keras.Model, owner: str) -> None:
    """Refuse a model that is distributed: only :func:`train` knows several devices.

    Raises
    ------
    ValueError
        With what to do instead.
    """
    count = model.distribute_strategy.num_replicas_in_sync
    if count > 1:
        raise ValueError(
            f"{owner}: model {model.name!r} is distributed over {count} devices, and this loop uses "
            "one. Use train, or build the model outside the strategy's scope."
        )


def build(model: keras.Model, loader: Loader, own_step: Callable[..., Any] | None = None) -> Any:
    """Create every variable of model, loss, metrics and optimizer, as ``model.fit`` does first.

    One step is traced, as in ``model.fit``, and none is taken: no layer that counts or draws
    advances. Data that the model cannot take are found out here, before the first step.

    Returns
    -------
    TensorSpec, or structure of them
        The model's outputs; None with a step of one's own, which need not ask for any.
    """
    weighed = loader.weighs or loader.sample_weight is not None
    check_has_targets(loader.specs, "Loader")
    specs = (*loader.specs[:2], tf.TensorSpec((None,)) if weighed else None)

    def step(x: Any, y: Any, weights: Any) -> Any:
        if own_step is not None:
            return batch_loss(own_step, model, x, y, weights)[:2]
        y_pred = forward(model, x)
        model.compute_loss(x, y, y_pred, weights)
        model.compute_metrics(x, y, y_pred, weights)
        return y_pred

    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync > 1:
        with strategy.scope():  # else each replica would make variables of its own
            build_symbolically(model, specs)
    if model.run_eagerly and own_step is not None:
        outputs = None  # a trial would move what it has beside the model
    elif model.run_eagerly:  # it may be a model that cannot be traced
        variables = [*model.variables, *model.metrics_variables]
        before = [(variable, variable.numpy()) for variable in variables]
        sample = keras.tree.map_structure(tf.constant, loader.gather(np.zeros(1, dtype=np.int64)))
        outputs = step(*keras.utils.unpack_x_y_sample_weight(sample))
        model.reset_metrics()
        for variable, value in before:
            variable.assign(value)
    else:
        traced = tf.function(lambda *batch: strategy.run(step, batch), autograph=False)
        outputs = traced.get_concrete_function(*specs).structured_outputs
        outputs = strategy.experimental_local_results(outputs)[0]
    if model.built and not model.trainable_weights:
        warnings.warn(f"Model {model.name!r} has no trainable weights.", stacklevel=3)
    if model.built:
        model.optimizer.build(model.trainable_variables)
    if own_step is not None:
        return None
    outputs = keras.tree.map_structure(lambda leaf: tf.TensorSpec(leaf.shape), outputs)
    check_targets(model, loader.y, outputs)
    return outputs
