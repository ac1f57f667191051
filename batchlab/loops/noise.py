"""Random numbers in the graph that are the same with and without XLA.

TensorFlow's own depend on the compiler, even where the algorithm is named. These are splitmix64
(Steele, Lea & Flood, 2014) of a counter: a function of step, stream and place, and nothing else.
"""

from __future__ import annotations

from batchlab.backend import tf


def uniforms(size: tf.Tensor, step: tf.Tensor, stream: int) -> tf.Tensor:
    """Numbers strictly between 0 and 1 for one step, float32 (size,)."""

    def number(value: int) -> tf.Tensor:
        return tf.constant(value, tf.uint64)

    def mixed(bits: tf.Tensor, shift: int, factor: int) -> tf.Tensor:
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, number(shift)))
        return bits * number(factor)

    place = tf.cast(tf.range(tf.cast(size, tf.int64)) + 1, tf.uint64)
    start = mixed(tf.cast(step, tf.uint64) * number(2) + number(stream), 29, 0xD1342543DE82EF95)
    bits = (start + place) * number(0x9E3779B97F4A7C15)
    bits = mixed(mixed(bits, 30, 0xBF58476D1CE4E5B9), 27, 0x94D049BB133111EB)
    top = tf.cast(tf.bitwise.right_shift(bits, number(41)), tf.int32)  # 23 bits
    return (tf.cast(top, tf.float32) + 0.5) * 2.0**-23


def gumbel(size: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Gumbel noise, float32 (size,): the place of the largest ``log(p) + noise`` is a draw by p."""
    return -tf.math.log(-tf.math.log(uniforms(size, step, 0)))
