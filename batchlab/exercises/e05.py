"""Notebook 05: curriculum."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.exercises.judging import (
    Exercise,
    by_number,
    number_of,
    read_epochs,
    require,
)
from batchlab.samplers import CurriculumSampler


def _one_step(answer: Any) -> None:
    for epoch in (0, 1, 0.5, 2, 2.5, 2.99, 3, 3.2, 7):
        share = number_of(answer(epoch), f"the share at epoch {epoch}")
        wanted = 0.5 if epoch < 3 else 1.0
        hint = "Shares go from 0 to 1: a half is 0.5." if share > 1 else ""
        if epoch == 3 and share == 0.5:
            hint = "Three epochs are over when `epoch` reaches 3: they are 0, 1 and 2."
        elif epoch % 1 and share != wanted:
            hint = "`epoch` counts fractions, too: 2.5 is in the middle of the third epoch."
        require(
            share == wanted,
            f"epoch {epoch}: the share is {share:g}, but {wanted} should be open.",
            hint,
        )
    for n, batch_size in ((200, 20), (90, 25)):
        difficulty = np.arange(n)[::-1].astype(float)
        sampler = CurriculumSampler(difficulty, batch_size, answer, seed=n)
        for epoch, batches in enumerate(read_epochs(sampler, n, 4)):
            hardest = difficulty[np.concatenate(batches)].max()
            require(
                (hardest < n / 2) == (epoch < 3),
                f"epoch {epoch}: a sample of rank {hardest:g} among {n} comes in the sampler.",
            )


def _open_samples(answer: Any) -> None:
    rng = np.random.default_rng(0)
    for n, share in ((10, 0.3), (50, 0.5), (7, 1.0), (40, 0.01), (30, 0.41)):
        difficulty = rng.gamma(1.0, size=n) * 100  # skewed: few are very hard
        wanted = set(np.argsort(difficulty)[: max(1, int(np.ceil(share * n)))].tolist())
        case = f"n = {n}, share {share}"
        came = np.asarray(answer(difficulty, share))
        require(came.ndim == 1, f"{case}: the answer must be a row of sample numbers.")
        if came.dtype.kind == "b":
            came = np.flatnonzero(came)
        require(
            came.size == 0 or came.dtype.kind in "iu",
            f"{case}: the answer must be sample numbers, but it holds {came.dtype}.",
            "Not the difficulties themselves: np.argsort tells who has them.",
        )
        require(
            len(came) == len(wanted),
            f"{case}: {len(came)} samples are open, not {len(wanted)}.",
            "At least one sample is open: round up."
            if abs(len(came) - len(wanted)) == 1
            else "A share of the samples, not of the largest difficulty.",
        )
        require(
            set(came.tolist()) == wanted,
            f"{case}: the open samples are not the easiest.",
            "The hardest are open." if difficulty[came].min() > np.median(difficulty) else "",
        )


def _linear_pacing(answer: Any) -> None:
    for start, epochs in ((0.2, 4), (0.5, 10), (0.1, 0.5)):
        pacing = answer(start, epochs)
        require(
            callable(pacing),
            "linear_pacing must return a function of the epoch.",
            "Define a function inside, and return it without calling it.",
        )
        for part in (0, 0.25, 0.5, 1, 1.5, 10):
            share = number_of(pacing(part * epochs), f"the share at epoch {part * epochs:g}")
            wanted = min(1.0, start + (1 - start) * part)
            hint = ""
            if part == 0:
                hint = "At epoch 0 the share is `start`."
            elif part > 1 and share > 1:
                hint = "No more than all can be open: min(1.0, …)."
            elif start + part == share:
                hint = "What is left to open at the start is 1 - start, not 1."
            elif epochs == 10:
                hint = "Is a number of epochs written into the code?"
            elif part == 1:
                hint = "After `epochs` epochs all is open, not before and not later."
            require(
                abs(share - wanted) < 1e-6,
                f"start {start}, {epochs:g} epochs: at epoch {part * epochs:g} the share is {share:.3f}, "
                f"not {wanted:.3f}.",
                hint,
            )


EXERCISES = by_number(
    Exercise(
        "05.1",
        "write a pacing that opens the easiest half for three epochs, then all.",
        _one_step,
        (
            "A function of `epoch` that returns one of two shares.",
            "Where is the border, and on which side of it is 3.0?",
            "return 0.5 if epoch < 3 else 1.0",
        ),
        "half for three epochs, then all.",
    ),
    Exercise(
        "05.2",
        "write open_samples: the numbers of the easiest share of the samples.",
        _open_samples,
        (
            "Sort the samples, not the difficulties.",
            "np.argsort(difficulty) lists sample numbers, the easiest first.",
            "np.argsort(difficulty)[: max(1, math.ceil(share * len(difficulty)))]",
        ),
        "the easiest samples, and always at least one.",
    ),
    Exercise(
        "05.3",
        "write linear_pacing(start, epochs): a function that opens evenly.",
        _linear_pacing,
        (
            "A straight line through two points: (0, start) and (epochs, 1).",
            "Beyond `epochs` the line would go on. The share must not.",
            "lambda epoch: min(1.0, start + (1 - start) * epoch / epochs)",
        ),
        "a straight line from start to all, and no further.",
    ),
)
