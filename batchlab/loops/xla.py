"""Which models XLA makes faster: a rule that can be repeated, and what to do where it cannot."""

from __future__ import annotations

import re

from batchlab.backend import keras, tf

# Measured on CPUs, where XLA has no fast kernel for these: convolutions take up to eight times as
# long as in the plain graph, and random numbers are computed anew wherever they are used.
_SLOW_ON_CPU = tuple(
    layer
    for name in dir(keras.layers)
    if re.search("Conv|Dropout|Noise|Random", name)
    and isinstance(layer := getattr(keras.layers, name), type)
)


def use_xla(model: keras.Model, jit_compile: bool | None = None) -> bool:
    """Whether to compile a model's training with XLA.

    `jit_compile` decides if it is not None; so do ``model.compile(jit_compile=True)`` and
    ``run_eagerly=True``. Otherwise the model decides, never a stopwatch, so that a run can be
    repeated: XLA, unless a layer does not support it, or there is only a CPU and some layer is a
    convolution or draws random numbers.
    """
    if model.run_eagerly:
        return False
    if jit_compile is not None or model.jit_compile:
        return jit_compile is not False
    layers = [layer for layer in model._flatten_layers() if layer is not model]
    if not all(getattr(layer, "supports_jit", True) for layer in layers):
        return False
    on_cpu = not tf.config.list_logical_devices("GPU")
    return not (on_cpu and any(map(_slow_on_cpu, layers)))


def _slow_on_cpu(layer: keras.layers.Layer) -> bool:
    # Recurrent layers and attention draw random numbers if they have a dropout of their own.
    rates = (getattr(layer, name, 0) for name in ("dropout", "recurrent_dropout"))
    return isinstance(layer, _SLOW_ON_CPU) or any(
        isinstance(rate, float) and rate > 0 for rate in rates
    )


def unsupported_ops(error: tf.errors.OpError) -> str:
    """The names of the operations that XLA refused, or the first line of its message."""
    ops = sorted(set(re.findall(r"(\w+) \(No registered", str(error))))
    return ", ".join(ops) or str(error).strip().splitlines()[0]
