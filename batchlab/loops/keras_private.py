"""What the loops need of Keras and it has no public name for, as read in Keras 3.15.

``tests/loops/test_keras_private.py`` fails by name when one of them is gone.
"""

from __future__ import annotations

from typing import Any

from batchlab.backend import keras


def loss_terms(model: keras.Model) -> list[tuple[tuple[Any, ...], keras.losses.Loss, Any]]:
    """Where in the outputs each compiled loss acts, the loss, and its weight or None.

    Empty where there is none, or where the model's own ``compute_loss`` does not use it.
    """
    flat = getattr(model._compile_loss, "_flat_losses", None) or []
    return [(path, loss, weight) for path, loss, weight, _ in flat]


def unknown_to_optimizer(model: keras.Model) -> list[Any]:
    """Trainable variables that the optimizer was not built with."""
    known = {id(variable) for variable in model.optimizer._trainable_variables}
    return [variable for variable in model.trainable_variables if id(variable) not in known]


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """All layers, also those within layers."""
    return [layer for layer in model._flatten_layers() if layer is not model]


def logits_of(output: Any) -> Any:
    """The inputs of the softmax or sigmoid that made `output`, or `output` itself."""
    return getattr(output, "_keras_logits", output)


def clipped(optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    """`gradients` clipped as the optimizer would."""
    return optimizer._clip_gradients(gradients)


def masks_of(outputs: Any) -> list[Any]:
    """The masks of outputs, of those that have one."""
    masks = (getattr(leaf, "_keras_mask", None) for leaf in keras.tree.flatten(outputs))
    return [mask for mask in masks if mask is not None]


def build_symbolically(model: keras.Model, batch: tuple[Any, ...]) -> None:
    """Make every variable of model, metrics and optimizer for batches of these specs."""
    model._symbolic_build(data_batch=batch)


def profiles(callback: keras.callbacks.TensorBoard) -> bool:
    """Whether `callback` needs to see single batches to profile them."""
    return bool(callback._stop_batch)
