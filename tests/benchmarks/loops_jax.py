"""What JAX takes for the tasks of ``loops.py``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from loops import Epoch, Task


def contenders(name: str, task: Task) -> Iterator[tuple[str, Callable[[], Epoch]]]:
    yield "jax lax.scan", lambda: scan(task)


def scan(task: Task) -> Epoch:
    """``lax.scan`` over an index matrix, with Adam by hand; whole batches only."""
    keys = jax.random.split(jax.random.key(0), len(task.widths))
    sizes = itertools.pairwise((task.x.shape[1], *task.widths))
    init = jax.nn.initializers.glorot_uniform()
    params = [(init(key, size), jnp.zeros(size[1])) for key, size in zip(keys, sizes)]
    x, y = jnp.asarray(task.x, jnp.float32), jnp.asarray(task.y)

    def losses(params: Any, xb: Any, yb: Any) -> Any:
        for weights, bias in params[:-1]:
            xb = jax.nn.relu(xb @ weights + bias)
        logits = xb @ params[-1][0] + params[-1][1]
        if task.binary:
            return jnp.logaddexp(0, logits[:, 0]) - yb * logits[:, 0]
        return -jax.nn.log_softmax(logits)[jnp.arange(len(yb)), yb]

    def mean_loss(params: Any, rows: Any) -> Any:
        each = losses(params, x[rows], y[rows])
        return each.mean(), each

    def step(state: Any, rows: Any) -> Any:
        params, mean, square, time = state
        (_, each), slopes = jax.value_and_grad(mean_loss, has_aux=True)(params, rows)
        time += 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slopes)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, slopes)
        rate = 0.001 * jnp.sqrt(1 - 0.999**time) / (1 - 0.9**time)
        params = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), params, mean, square
        )
        return (params, mean, square, time), each

    epoch = jax.jit(lambda state, matrix: jax.lax.scan(step, state, matrix))
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = [(params, zeros, zeros, 0.0)]
    rng = np.random.default_rng(0)
    whole = max(len(task.x) // task.batch, 1)

    def run(epochs: int) -> int:
        for _ in range(epochs):
            order = rng.permutation(len(task.x))[: whole * task.batch]
            state[0], each = epoch(state[0], order.reshape(whole, -1))
            np.asarray(each)
        return epochs * whole

    return run
