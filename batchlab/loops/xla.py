"""Which models XLA makes faster: a rule that can be repeated, and what to do where it cannot."""

from __future__ import annotations

import re

from batchlab.backend import keras, tf
from batchlab.loops.keras_private import layers_of
from batchlab.parameters import shown

# On CPUs XLA has no fast kernel for convolutions: they take up to eight times as long.
_CONVOLUTIONS = tuple(
    layer for name, layer in vars(keras.layers).items() if re.search("Conv", name)
)
# For one and the same seed XLA draws other random numbers than the graph, and on CPUs slowly.
_RANDOM = tuple(
    layer for name, layer in vars(keras.layers).items() if re.search("Dropout|Noise|Random", name)
)


# XLA takes seconds to compile what the graph takes a fraction of a second for. A step of a small
# network gains about 0.1 ms by it, so that this many steps earn it back.
_STEPS_WORTH_COMPILING = 20_000


def use_xla(
    model: keras.Model, jit_compile: bool | None = None, steps: int | None = None
) -> bool:
    """Whether to compile a model's training with XLA.

    `jit_compile` decides if it is not None; so do ``run_eagerly=True`` and ``jit_compile=True`` in
    ``model.compile`` (Keras's own choice where there is a GPU). Otherwise the model and the number
    of `steps` that are planned decide, never a stopwatch, so that a run can be repeated: XLA,
    unless fewer than 20 000 steps are planned, or a layer

    - does not support it (``supports_jit``),
    - draws random numbers, such as Dropout with a rate above 0: those of XLA differ from those of
      ``model.fit``,
    - is a convolution, and there is no GPU.

    Over several devices it is always off.

    Raises
    ------
    TypeError
        If `model` is no Keras model.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"use_xla: model must be a keras.Model, got {shown(model)}.")
    if model.run_eagerly:
        return False
    if jit_compile is None and model.distribute_strategy.num_replicas_in_sync > 1:
        return False
    if jit_compile is not None or model.jit_compile:
        return jit_compile is not False
    if steps is not None and steps < _STEPS_WORTH_COMPILING:
        return False
    layers = layers_of(model)
    if not all(getattr(layer, "supports_jit", True) for layer in layers):
        return False
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    for_the_graph = () if on_gpu else _CONVOLUTIONS
    return not any(isinstance(layer, for_the_graph) or _draws(layer) for layer in layers)


def _draws(layer: keras.layers.Layer) -> bool:
    """Whether a layer draws random numbers: a Dropout of rate 0, as in every attention, does not."""
    if isinstance(layer, _RANDOM):
        return getattr(layer, "rate", getattr(layer, "stddev", None)) != 0
    rates = (getattr(layer, name, None) for name in ("dropout", "recurrent_dropout"))
    return any(isinstance(rate, (int, float)) and rate > 0 for rate in rates)


def unsupported_ops(error: tf.errors.OpError) -> str:
    """The names of the operations that XLA refused, or the first line of its message."""
    ops = sorted(set(re.findall(r"(\w+) \(No registered", str(error))))
    return ", ".join(ops) or str(error).strip().splitlines()[0]
