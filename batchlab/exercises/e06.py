"""Notebook 06: priority and feedback."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.exercises.judging import (
    Exercise,
    array_of,
    by_number,
    read_batches,
    require,
    require_audit,
)


def _capped(answer: Any) -> None:
    for n, ceiling, seed in ((40, 3.0, 2), (60, 1.5, 1)):
        sampler = answer(n=n, batch_size=10, alpha=1.0, seed=seed)
        sampler.ceiling = ceiling
        losses = np.linspace(0.2, 0.9, n) * ceiling
        mislabelled = np.arange(n) % 7 == 3
        losses[mislabelled] = ceiling * 2
        given = losses.copy()
        sampler.update(np.arange(n), given)
        require(
            np.array_equal(given, losses),
            "update changes the array of losses that it is given.",
            "It is the caller's array: np.where makes a new one.",
        )
        list(sampler)  # the first epoch shows every sample once
        for epoch in range(1, 4):
            batches = read_batches(sampler, n, f"epoch {epoch}")
            share = mislabelled[np.concatenate(batches)].mean()
            chances = sampler.probabilities
            capped_only = chances[mislabelled].max() * losses[0] / chances[0] / ceiling
            require(
                share < 0.01,
                f"epoch {epoch}: samples whose loss is {2 * ceiling:g} are {share:.0%} of the draws, "
                f"though the ceiling is {ceiling:g}.",
                _why_drawn(capped_only, np.ptp(chances)),
            )
            for batch in batches:
                sampler.update(batch, losses[batch])
        chances = sampler.probabilities[~mislabelled]
        wanted = losses[~mislabelled] / losses[~mislabelled].sum()
        require(
            np.allclose(chances, wanted, rtol=0.02),
            f"samples below the ceiling: one of loss {losses[0]:.2f} has {chances[0]:.2%} of the draws, "
            f"not {wanted[0]:.2%}.",
            "Losses below the ceiling go on to super().update as they are, each to its own index.",
        )
    sampler.ceiling = 100.0  # a live change: the very next report counts
    sampler.update(np.arange(n), losses)
    require(
        sampler.probabilities[mislabelled].min() > sampler.probabilities[~mislabelled].max(),
        "the ceiling was raised to 100 while the sampler ran, but high losses still count as 0.",
        "Read self.ceiling in every update; do not keep what it was.",
    )
    require_audit(answer(n=30, batch_size=10))


def _why_drawn(capped_only: float, spread: float) -> str:
    if not spread:
        return "All are drawn alike: no loss arrives. Call super().update."
    if abs(capped_only - 1) < 0.05:
        return "A loss above the ceiling counts as 0, not as the ceiling."
    return "Is `self.ceiling` used, or a number written into the code?"


def _importance(answer: Any) -> None:
    rng = np.random.default_rng(0)
    for n, beta in ((20, 1.0), (50, 0.4), (10, 0.0)):
        chances = rng.dirichlet(np.ones(n))
        batch = rng.choice(n, size=6)
        weights = (n * chances[batch]) ** -beta
        wanted = weights / weights.max()
        came = array_of(answer(chances, batch, beta), "the weights", (6,))
        hint = "The weight is (n · chance) to the power of minus beta, divided by the largest of the batch."
        whole = (n * chances) ** -beta
        if beta and np.allclose(came, weights / whole.max()):
            hint = "Divide by the largest weight of the batch, not of all samples."
        elif beta and came[chances[batch].argmax()] > came[chances[batch].argmin()]:
            hint = "Samples that are drawn often must count less."
        elif np.allclose(came, weights):
            hint = "Divide by the largest weight of the batch, so that no weight is above 1."
        elif np.allclose(came, weights / weights.sum()):
            hint = "Divide by the largest weight, not by the sum of all."
        elif beta and not np.ptp(came):
            hint = "All weights are alike. Which chance has each sample of the batch?"
        require(
            np.allclose(came, wanted, rtol=1e-4),
            f"beta {beta}: the first weight of the batch is {came[0]:.3f}, not {wanted[0]:.3f}.",
            hint,
        )


def _hardest_of_pool(answer: Any) -> None:
    rng = np.random.default_rng(1)
    for size, keep in ((16, 4), (128, 32), (9, 9), (20, 1)):
        pool = rng.choice(1000, size=size, replace=False)
        losses = rng.gamma(1.0, size=size)
        wanted = set(pool[np.argsort(-losses)[:keep]].tolist())
        case = f"{keep} of a pool of {size}"
        (came,) = read_batches([answer(pool, losses, keep)], 1000, case)
        require(
            len(came) == keep, f"{case}: {len(came)} were kept.", "Keep exactly `keep` samples."
        )
        hint = ""
        if max(came) < size and not set(came.tolist()) <= set(pool.tolist()):
            hint = "Those are places in the pool. Which samples stand there? pool[places]"
        elif keep < size and set(came.tolist()) == set(pool[np.argsort(losses)[:keep]].tolist()):
            hint = "Those are the easiest: np.argsort sorts upwards."
        require(
            set(came.tolist()) == wanted,
            f"{case}: these are not the samples of the largest loss.",
            hint,
        )


EXERCISES = by_number(
    Exercise(
        "06.1",
        "write a prioritized sampler that stops drawing what is probably mislabelled.",
        _capped,
        (
            "Only `update` must change: what does it hand on to super().update?",
            "np.where(losses > self.ceiling, …, …)",
            "super().update(indices, np.where(np.asarray(losses) > self.ceiling, 0.0, losses))",
        ),
        "mislabelled samples stay away, all others come as their losses say.",
    ),
    Exercise(
        "06.2",
        "compute the importance weights of a batch.",
        _importance,
        (
            "A sample drawn twice as often as by chance counts half, if beta is 1.",
            "(n · chance of each sample of the batch) ** -beta; then divide by the largest.",
            "w = (len(chances) * chances[batch]) ** -beta; return w / w.max()",
        ),
        "right, for full, part and no correction.",
    ),
    Exercise(
        "06.3",
        "keep the samples of a pool that have the largest losses.",
        _hardest_of_pool,
        (
            "Two steps: which places in the pool have the largest losses, which samples stand there?",
            "np.argsort(losses) sorts upwards; the last `keep` places are the largest.",
            "pool[np.argsort(losses)[-keep:]]",
        ),
        "exactly the hardest of the pool.",
    ),
)
