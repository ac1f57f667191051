"""Random numbers in the graph."""

from __future__ import annotations

import numpy as np

from batchlab.backend import tf
from batchlab.loops.noise import gumbel, uniforms


def test_graph_and_xla_agree_to_the_bit():
    plain = tf.function(lambda step: uniforms(tf.constant(50), step, 1))
    xla = tf.function(lambda step: uniforms(tf.constant(50), step, 1), jit_compile=True)
    for step in (0, 1, 2**31):
        number = tf.constant(step, tf.int64)
        np.testing.assert_array_equal(plain(number), xla(number))


def test_they_are_uniform_and_differ_between_steps_and_streams():
    size = tf.constant(100)
    draws = {
        (step, stream): uniforms(size, tf.constant(step, tf.int64), stream).numpy()
        for step in range(200)
        for stream in (0, 1)
    }
    values = np.concatenate(list(draws.values()))
    assert values.min() > 0
    assert values.max() < 1
    counts = np.histogram(values, 20, (0, 1))[0]
    assert np.abs(counts - values.size / 20).max() < 5 * np.sqrt(values.size / 20)
    assert np.unique(values).size > 0.99 * values.size
    table = np.array([draws[step, 0] for step in range(200)])
    neighbours = np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]
    places = np.corrcoef(table[:, :-1].ravel(), table[:, 1:].ravel())[0, 1]
    streams = np.corrcoef(table.ravel(), np.array([draws[s, 1] for s in range(200)]).ravel())[0, 1]
    assert max(abs(neighbours), abs(places), abs(streams)) < 0.03
    assert abs(gumbel(size, tf.constant(3, tf.int64)).numpy().mean() - 0.577) < 0.5
