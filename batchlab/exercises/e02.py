"""Notebook 02: random batches you draw yourself."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.exercises.judging import (
    Exercise,
    by_number,
    number_of,
    read_batches,
    require,
    require_once,
    require_shuffled,
    require_sizes,
)


def _random_batches(answer: Any) -> None:
    for n, batch_size in ((100, 32), (60, 20), (257, 50)):
        rng = np.random.default_rng(n)
        epochs = [
            read_batches(answer(n, batch_size, rng), n, f"epoch {epoch}") for epoch in range(3)
        ]
        for epoch, batches in enumerate(epochs):
            require_sizes(batches, n, batch_size, f"epoch {epoch}")
            require_once(batches, n, f"epoch {epoch}")
        orders = [np.concatenate(batches) for batches in epochs]
        require_shuffled(orders)
        again = np.random.default_rng(n)
        same = np.concatenate(read_batches(answer(n, batch_size, again), n))
        require(
            np.array_equal(same, orders[0]),
            "two generators of the same seed give different batches.",
            "Draw from `rng`, the generator that was passed: rng.permutation(n).",
        )


def _gradient_step(answer: Any) -> None:
    from batchlab.backend import keras, tf

    rng = np.random.default_rng(0)
    for loss_fn, columns in ((keras.losses.MeanSquaredError(), 1), (_cross_entropy(), 3)):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(columns)])
        rate, x = 0.1, rng.normal(size=(8, 4)).astype(np.float32)
        y = rng.integers(0, 3, 8) if columns == 3 else rng.normal(size=(8, 1)).astype(np.float32)
        for step in range(2):
            before = [w.copy() for w in model.get_weights()]
            with tf.GradientTape() as tape:
                loss = loss_fn(y, model(x, training=True))
            gradients = [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
            returned = answer(model, keras.optimizers.SGD(rate), loss_fn, x, y)
            moved = [new - old for new, old in zip(model.get_weights(), before)]
            _judge_move(moved, [-rate * g for g in gradients], f"step {step}")
            came = number_of(np.asarray(returned), f"step {step}: what you return")
            require(
                abs(came - float(loss)) < 1e-4 * max(1, abs(float(loss))),
                f"step {step}: you return {came:.4f}, but the loss of the batch is {float(loss):.4f}.",
                "Return the loss that was computed inside the tape, before the weights changed.",
            )


def _cross_entropy() -> Any:
    from batchlab.backend import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _judge_move(moved: list[Any], wanted: list[Any], place: str) -> None:
    one, other = (np.concatenate([part.ravel() for part in parts]) for parts in (moved, wanted))
    require(
        np.abs(one).max() > 0,
        f"{place}: the weights are as they were.",
        "Gradients alone change nothing: the optimizer must apply them.",
    )
    ratio = float(one @ other / (other @ other))
    require(
        ratio > 0, f"{place}: the weights move uphill, the loss grows.", "Do not turn the sign."
    )
    require(
        np.allclose(one, other, rtol=1e-3, atol=1e-5),
        f"{place}: the step is {ratio:.1f} times the one that the gradient asks for."
        if abs(ratio - 1) > 0.05 and np.allclose(one, ratio * other, rtol=1e-2, atol=1e-4)
        else f"{place}: the weights do not move along the gradient of this loss.",
        "One gradient of loss_fn(y, model(x)) for all trainable variables, applied once.",
    )


def _full_batches(answer: Any) -> None:
    for n, batch_size, epochs in ((100, 32, 8), (30, 20, 4), (64, 16, 3)):
        steps = n * epochs // batch_size
        case = f"n = {n}, batches of {batch_size}"
        batches = read_batches(answer(n, batch_size, steps, 1), n, case)
        require(
            len(batches) == steps,
            f"{case}: {steps} batches were asked for, {len(batches)} came.",
        )
        for number, batch in enumerate(batches):
            require(
                len(batch) == batch_size,
                f"{case}, batch {number}: it holds {len(batch)} samples, not {batch_size}.",
                "Fill it up with the first samples of the next epoch.",
            )
        row = np.concatenate(batches)
        orders = [row[start : start + n] for start in range(0, len(row) - n + 1, n)]
        for epoch, order in enumerate(orders):
            require_once(order, n, f"{case}, draws {epoch * n} to {epoch * n + n - 1}")
        require_shuffled(orders)
        again, other = (
            np.concatenate(read_batches(answer(n, batch_size, steps, seed), n)) for seed in (1, 2)
        )
        require(np.array_equal(again, row), "seed 1 twice: the batches differ.", _SEED)
        require(not np.array_equal(other, row), "seeds 1 and 2 give the same batches.", _SEED)


_SEED = "All randomness comes from np.random.default_rng(seed), made once."

EXERCISES = by_number(
    Exercise(
        "02.1",
        "write random_batches: one epoch of shuffled index batches.",
        _random_batches,
        (
            "An epoch is one order of all samples, cut into pieces.",
            "rng.permutation(n) is such an order. Where does piece number k begin?",
            "[order[start : start + batch_size] for start in range(0, n, batch_size)]",
        ),
        "every epoch a new permutation, drawn from the generator that was passed.",
    ),
    Exercise(
        "02.2",
        "write one training step with a GradientTape.",
        _gradient_step,
        (
            "Four lines: predict and compute the loss inside the tape, differentiate, apply.",
            "tape.gradient(loss, model.trainable_variables) gives one array per variable.",
            "optimizer.apply_gradients(zip(gradients, model.trainable_variables)), then return loss",
        ),
        "the weights move exactly where the gradient says.",
    ),
    Exercise(
        "02.3",
        "write full_batches: every batch full, no sample lost.",
        _full_batches,
        (
            "Do not cut each epoch by itself.",
            "Put the permutations end to end, and cut the long row.",
            "np.concatenate([rng.permutation(n) for _ in range(epochs)]), enough of them for all steps",
        ),
        "every batch is full, and every n draws are a permutation.",
    ),
)
