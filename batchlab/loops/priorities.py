"""Priorities inside the compiled function: a batch is drawn by the losses of the one before it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from batchlab.backend import keras, tf
from batchlab.samplers import PrioritizedSampler

Levels = tuple[Any, ...]  # tensors, float64 (16 * nodes,) each, the samples first

WIDTH = 16  # 8 has more levels, each some operations; 32 reads twice as much on each
_FEW = 64  # so many nodes are summed up in one operation sooner than those that changed in four


class Priorities:
    """The priorities of a :class:`PrioritizedSampler` as the compiled function carries them.

    A wide tree of sums as in :class:`SumTree`, float64 (16 * nodes,) a level, the samples first. Every
    sum is of its 16 in one order, so that the tree is a function of the losses and the same
    batches come however training is cut into calls. The sampler adds in another order, and NumPy's
    powers differ in the last bit, so that once in a very long while it would draw another sample.

    What stays between two calls only saves growing the tree anew.
    """

    def __init__(self) -> None:
        self._levels: Levels = ()
        self._grown_for: Any = None

    def settings(self, sampler: PrioritizedSampler) -> Levels:
        """What the compiled function needs of the sampler: (alpha, epsilon), and the tree."""
        constants = tf.constant([sampler.alpha, sampler.epsilon], tf.float64)
        if self._grown_for != (id(sampler), sampler.heard):
            self._levels = _compiled_grown(sampler.n)(tf.constant(sampler.losses), constants)
        return constants, *self._levels

    def keep(self, priorities: Levels, sampler: PrioritizedSampler, samples: int) -> None:
        """Keep the tree for when the sampler has heard of the `samples` that were trained on."""
        changes, draws = sampler.heard
        self._levels, self._grown_for = priorities[1:], (id(sampler), (changes, draws + samples))


def prioritized_steps(
    take_step: Callable[..., Any],
    first: tf.Tensor,
    start: Any,
    end: Any,
    part: Any,
    priorities: Levels,
    arrays: Any,
) -> tuple[Any, ...]:
    """As ``Program._steps``; the rows of a part hold the numbers to draw with, and beta."""
    numbers, (betas,), data = part
    constants, *levels = priorities
    n = tf.cast(tf.shape(keras.tree.flatten(data)[0])[0], tf.float64)

    def drawn(levels: Levels, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Not numbers[row]: XLA would take `end` for a constant, and compile anew for every count.
        samples = _find(levels, tf.gather(numbers, row))
        return samples, tf.gather(levels[0], samples) * (n / _sums(levels[-1]))

    def body(row: tf.Tensor, batch: Any, levels: Levels, *arrays: tf.TensorArray) -> tuple[Any, ...]:
        samples, weights = batch
        weights **= -betas[row]
        weights = tf.cast(weights / tf.reduce_max(weights), tf.float32)
        x, y, *factors = keras.tree.map_structure(lambda leaf: tf.gather(leaf, samples), data)
        for factor in factors:
            weights *= factor
        step = first + tf.cast(row, tf.int64)
        values = *take_step(step, samples, x, y, weights), tf.cast(samples, tf.int64)
        arrays = tuple(array.write(row, value) for array, value in zip(arrays, values))
        levels = _put(levels, samples, _powers(values[0], constants))
        # Drawn for the next turn: read before it is written to in the same turn, the tree is copied.
        return row + 1, drawn(levels, tf.minimum(row + 1, end - 1)), levels, *arrays

    _, _, levels, *arrays = tf.while_loop(
        lambda row, *_: row < end, body, (start, drawn(levels, start), tuple(levels), *arrays)
    )
    return (constants, *levels), tuple(arrays)


@functools.lru_cache(maxsize=32)
def _compiled_grown(n: int) -> Any:
    """One for every `n`: of a function that is traced for many shapes TensorFlow warns."""
    return tf.function(_grown, jit_compile=True, autograph=False)


def _grown(losses: tf.Tensor, constants: tf.Tensor) -> Levels:
    """The tree for the losses of all samples, (n,)."""
    levels = [_padded(_powers(losses, constants))]
    while levels[-1].shape[0] > WIDTH:
        levels.append(_padded(_sums(levels[-1])))
    return tuple(levels)


def _padded(weights: tf.Tensor) -> tf.Tensor:
    return tf.pad(weights, [[0, -weights.shape[0] % WIDTH]])


def _powers(losses: tf.Tensor, constants: tf.Tensor) -> tf.Tensor:
    alpha, epsilon = constants[0], constants[1]
    return (tf.abs(tf.cast(losses, tf.float64)) + epsilon) ** alpha


def _sums(level: tf.Tensor, nodes: tf.Tensor | None = None) -> tf.Tensor:
    """The sums of all nodes, or of some, from left to right wherever they are computed."""
    return _ends(level, nodes)[-1]


def _ends(level: tf.Tensor, nodes: tf.Tensor | None = None) -> list[tf.Tensor]:
    rows = tf.reshape(level, (-1, WIDTH))
    rows = rows if nodes is None else tf.gather(rows, nodes)
    ends = [rows[:, 0]]
    for child in range(1, WIDTH):
        ends.append(ends[-1] + rows[:, child])
    return ends


def _find(levels: Levels, numbers: tf.Tensor) -> tf.Tensor:
    """The samples, int32 (batch,), at these numbers in [0, 1) of the whole."""
    nodes, heights = tf.zeros_like(numbers, tf.int32), numbers * _sums(levels[-1])
    for level in reversed(levels):
        ends = _ends(level, nodes)
        # Rounding may carry a height past the end; the last weight above 0 is meant then.
        heights = tf.minimum(heights, ends[-1] * (1 - 2.0**-53))
        before, nodes = tf.zeros_like(heights), nodes * WIDTH
        for end in ends[:-1]:
            nodes += tf.cast(end <= heights, tf.int32)
            before = tf.where(end <= heights, end, before)
        heights -= before
    return nodes


def _put(levels: Levels, samples: tf.Tensor, weights: tf.Tensor) -> Levels:
    """The tree where `samples`, (batch,), have new weights; of equal ones the last counts."""
    changed, places = [], samples
    for level in levels:
        below = changed[-1] if changed else None
        if below is not None and below.shape[0] <= _FEW * WIDTH:
            changed.append(_padded(_sums(below)))
            continue
        weights = weights if below is None else _sums(below, places)
        changed.append(tf.tensor_scatter_nd_update(level, places[:, tf.newaxis], weights))
        places //= WIDTH
    return tuple(changed)
