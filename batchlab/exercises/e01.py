"""Notebook 01: what ``model.fit`` does with your batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.exercises.judging import (
    Exercise,
    Wrong,
    by_number,
    number_of,
    read_batches,
    require,
    require_once,
    require_shuffled,
    require_sizes,
)


def _first_of(dataset: Any) -> Any:
    """The numbers of the samples, whether a batch is (x, y) or x alone."""
    for batch in dataset:
        part = batch[0] if isinstance(batch, tuple) else batch
        yield part.numpy() if hasattr(part, "numpy") else part


def _shuffled_dataset(answer: Any) -> None:
    for n in (100, 150, 64):
        dataset = answer(np.arange(n))
        epochs = [read_batches(_first_of(dataset), n, f"epoch {epoch}") for epoch in range(3)]
        orders = [np.concatenate(epoch) for epoch in epochs]
        for epoch, order in enumerate(orders):
            require_once(order, n, f"epoch {epoch}")
        require_shuffled(orders)
        for epoch, batches in enumerate(epochs):
            require_sizes(batches, n, 32, f"epoch {epoch}")


def _shuffled_pairs(answer: Any) -> None:
    for n, batch_size in ((90, 32), (128, 10)):
        rows = np.arange(n)
        dataset = answer(np.stack([rows, rows], axis=1).astype(np.float32), -rows, batch_size)
        epochs = []
        for epoch in range(3):
            batches = []
            for number, pair in enumerate(dataset):
                where = f"epoch {epoch}, batch {number}"
                require(
                    isinstance(pair, (tuple, list)) and len(pair) == 2,
                    f"{where}: a batch must be a pair (x, y).",
                )
                x, y = (np.asarray(part) for part in pair)
                require(
                    x.ndim == 2 and y.shape == (len(x),),
                    f"{where}: x has shape {x.shape} and y {y.shape}.",
                    "x keeps its columns: (batch, 2) here, and y is (batch,).",
                )
                apart = np.flatnonzero(x[:, 0].astype(int) != -y)
                if apart.size:
                    first = int(apart[0])
                    raise Wrong(
                        f"{where}: row {first} holds x of sample {int(x[first, 0])} and y of sample "
                        f"{int(-y[first])}.",
                        "x and y are shuffled apart. Put them together first, shuffle then.",
                    )
                batches.append(x[:, 0].astype(np.int64))
            read = read_batches(batches, n, f"epoch {epoch}")
            require_once(read, n, f"epoch {epoch}")
            epochs.append(read)
        require_shuffled([np.concatenate(epoch) for epoch in epochs])
        for number, read in enumerate(epochs):
            require_sizes(read, n, batch_size, f"epoch {number}")


def _steps_in(answer: Any) -> None:
    for n, batch_size, epochs in ((100, 32, 5), (96, 32, 1), (1000, 7, 3), (5, 8, 2), (33, 1, 4)):
        wanted = -(-n // batch_size) * epochs
        came = number_of(answer(n, batch_size, epochs), "the number of steps")
        require(
            came == wanted,
            f"n = {n}, batches of {batch_size}, {epochs} epochs: {came:g} steps, but fit makes {wanted}.",
            "Each epoch ends with a smaller batch, and begins anew. That batch is a step, too."
            if came < wanted
            else "Is there a batch too many, where n can be divided by the batch size?",
        )


EXERCISES = by_number(
    Exercise(
        "01.1",
        "make a tf.data pipeline that gives every epoch a new order, in batches of 32.",
        _shuffled_dataset,
        (
            "One call is missing. Does it belong before or after `batch`?",
            "`shuffle` fills a buffer and draws from it. How many samples must the buffer hold?",
            "dataset.shuffle(len(numbers)) before .batch(32)",
        ),
        "every sample once per epoch, in a new order each time.",
    ),
    Exercise(
        "01.2",
        "make a tf.data pipeline that shuffles x together with y.",
        _shuffled_pairs,
        (
            "Which object holds x and y of one sample together?",
            "from_tensor_slices takes a pair (x, y), and shuffle moves whole pairs.",
            "tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch_size)",
        ),
        "x and y stay together, in a new order in every epoch.",
    ),
    Exercise(
        "01.3",
        "compute how many steps model.fit makes.",
        _steps_in,
        (
            "Count one epoch first: 100 samples in batches of 32 were four steps.",
            "A division that is rounded up: math.ceil, or -(-n // batch_size).",
            "math.ceil(n / batch_size) * epochs",
        ),
        "right, for whole and for broken epochs.",
    ),
)
