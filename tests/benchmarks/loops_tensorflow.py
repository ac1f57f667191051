"""What Keras, plain TensorFlow and ``train`` take for the tasks of ``loops.py``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from loops import Epoch, Task

from batchlab import Loader, RandomSampler, samplers as s, train, use_xla
from batchlab.backend import keras, tf

layers = keras.layers


def contenders(name: str, task: Task) -> Iterator[tuple[str, Callable[[], Epoch]]]:
    if name == "mapped":
        yield "fit loader", lambda: fit_loader(task)
        yield "ours in memory", lambda: ours(task, in_memory=True)
        yield "ours mapped", lambda: ours(task)
        return
    if name != "strategies":
        yield "article", lambda: article(task)
        yield "fit default", lambda: fit(task)
        settings = list(itertools.product((1, 32, 256), (False, True)))[1:]
        for steps, jit in settings:
            if not (jit and task.kind == "resnet"):  # XLA would take minutes
                yield f"fit {steps}{' jit' * jit}", lambda s=steps, j=jit: fit(task, s, j)
        yield "tf.function step", lambda: function_step(task)
    yield "ours", lambda: ours(task)
    some = None if name == "strategies" else 2 if task.kind == "dense" else 0
    for who, make, lag in strategies(task)[:some]:
        yield f"ours {who}", lambda make=make, lag=lag: ours(task, make, lag)


def strategies(task: Task) -> list[tuple[str, Callable[[], Any], int]]:
    """Every strategy but RandomSampler, with the lag of its feedback."""
    n, batch = len(task.x), task.batch
    weights, labels = np.random.default_rng(0).random(n), np.arange(n) % 8
    third = np.array_split(np.arange(n), 3)
    return [
        ("prioritized, lag 16", lambda: s.PrioritizedSampler(n, batch), 16),
        ("prioritized, lag 1", lambda: s.PrioritizedSampler(n, batch), 1),
        ("prioritized, lag 64", lambda: s.PrioritizedSampler(n, batch), 64),
        ("rank, lag 16", lambda: s.RankSampler(n, batch), 16),
        ("self-paced, lag 16", lambda: s.CurriculumSampler(weights, batch, self_paced=True), 16),
        ("weighted", lambda: s.WeightedSampler(weights, batch), 16),
        ("class-balanced", lambda: s.ClassBalancedSampler(labels, batch), 16),
        ("stratified", lambda: s.StratifiedSampler(labels, batch), 16),
        ("m per class", lambda: s.MPerClassSampler(labels, 4, batch), 16),
        ("curriculum", lambda: s.CurriculumSampler(weights, batch, pacing_epochs=100), 16),
        (
            "mixture of three",
            lambda: s.MixtureSampler(
                {name: RandomSampler(len(part), 1) for name, part in zip("abc", third)},
                dict(zip("abc", (0.5, 0.3, 0.2))),
                batch_size=batch,
            ),
            16,
        ),
    ]


def network(task: Task, **options: Any) -> keras.Model:
    inputs = keras.Input(task.x.shape[1:], dtype="int64" if task.kind == "transformer" else None)
    model = keras.Model(inputs, BODIES[task.kind](task, inputs))
    model.compile("adam", task.loss, **options)
    return model


def dense(task: Task, output: Any) -> Any:
    for width in task.widths[:-1]:
        output = layers.Dense(width, "relu")(output)
    return layers.Dense(task.widths[-1], "sigmoid" if task.binary else "softmax")(output)


def conv(task: Task, output: Any) -> Any:
    output = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3)(output)))
    return layers.Dense(10, "softmax")(layers.Flatten()(output))


def transformer(task: Task, output: Any) -> Any:
    output = layers.Embedding(64, 64)(output)
    for _ in range(2):
        normed = layers.LayerNormalization()(output)
        output = layers.Add()([output, layers.MultiHeadAttention(2, 32)(normed, normed)])
        hidden = layers.Dense(128, "gelu")(layers.LayerNormalization()(output))
        output = layers.Add()([output, layers.Dense(64)(hidden)])
    return layers.Dense(10, "softmax")(layers.GlobalAveragePooling1D()(output))


def resnet(task: Task, output: Any) -> Any:
    def normed(filters: int, size: int, strides: int, inputs: Any) -> Any:
        conv = layers.Conv2D(filters, size, strides, "same", use_bias=False)
        return layers.BatchNormalization()(conv(inputs))

    output = layers.ReLU()(normed(16, 3, 1, output))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        hidden = normed(filters, 3, 1, layers.ReLU()(normed(filters, 3, strides, output)))
        shortcut = output if strides == 1 else normed(filters, 1, strides, output)
        output = layers.ReLU()(layers.Add()([hidden, shortcut]))
    return layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(output))


BODIES = {"dense": dense, "conv": conv, "transformer": transformer, "resnet": resnet}


def article(task: Task) -> Epoch:
    """The article's loop, as it stands there; 40 steps of an epoch are enough to time it."""
    model, rng = network(task), np.random.default_rng(0)
    optimizer, loss_fn = keras.optimizers.Adam(), keras.losses.get(task.loss)

    def run(epochs: int) -> int:
        steps = min(task.steps, 40) * epochs
        order = rng.permutation(len(task.x))
        for step in range(steps):
            rows = order[step % task.steps * task.batch :][: task.batch]
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(loss_fn(_column(task, task.y[rows]), model(task.x[rows])))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return steps

    return run


def function_step(task: Task) -> Epoch:
    """One compiled step, batches sliced in NumPy."""
    model = network(task)
    loss_fn = keras.losses.get(task.loss)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_fn(y, model(x, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    model.optimizer.build(model.trainable_variables)

    def run(epochs: int) -> int:
        for _ in range(epochs):
            for rows in RandomSampler(len(task.x), task.batch):
                step(task.x[rows], _column(task, task.y[rows]))
        return epochs * task.steps

    return run


def fit(task: Task, steps_per_execution: int = 1, jit_compile: bool = False) -> Epoch:
    model = network(task, steps_per_execution=steps_per_execution, jit_compile=jit_compile)

    def run(epochs: int) -> int:
        model.fit(task.x, task.y, batch_size=task.batch, epochs=epochs, verbose=0)
        return epochs * task.steps

    return run


def fit_loader(task: Task) -> Epoch:
    """Keras on data that it cannot hold: the same loader as ours."""
    model = network(task, steps_per_execution=32)
    loader = Loader(task.x, task.y, sampler=RandomSampler(len(task.x), task.batch))

    def run(epochs: int) -> int:
        model.fit(loader, shuffle=False, steps_per_epoch=200, verbose=0)
        return 200

    return run


def ours(
    task: Task, make: Callable[[], Any] | None = None, lag: int = 16, in_memory: bool = False
) -> Epoch:
    """``train`` with RandomSampler, or with what `make` makes."""
    x, y = task.x, task.y
    if isinstance(x, np.memmap):  # an epoch of 200 steps, from anywhere in the data
        rows = np.random.default_rng(0).integers(0, len(x), (200, task.batch))
        if in_memory:
            x, y = np.ascontiguousarray(x[rows.ravel()]), y[rows.ravel()]
            rows = np.random.default_rng(0).permutation(rows.size).reshape(rows.shape)
        sampler: Any = list(rows)
    else:
        sampler = make() if make else RandomSampler(len(x), task.batch)
    model, loader = network(task), Loader(x, y, sampler=sampler)
    # As in a long run: a few epochs alone would not be worth what XLA takes to compile.
    options = {"verbose": 0, "lag": lag, "jit_compile": use_xla(model)}
    return lambda epochs: train(model, loader, epochs, **options).steps


def _column(task: Task, y: Any) -> Any:
    return y[:, None] if task.binary else y
