"""Notebook 10, the capstone: mend a stranger's pipeline, write the rule, make a plan."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from batchlab.exercises.capstone import PASSES, PASSES_A_SAMPLE, events, race
from batchlab.exercises.judging import (
    Exercise,
    Wrong,
    by_number,
    read_batches,
    require,
    require_once,
    require_seeded,
    require_shuffled,
    require_sizes,
)


class _Numbers:
    """The row numbers of a loader's batches; it looks whether the targets belong to them."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Any:
        for number, (x, y) in enumerate(self.loader):
            numbers = np.rint(np.asarray(x)[:, 0] * 1000).astype(int)
            apart = np.flatnonzero(numbers != np.asarray(y))
            require(
                not apart.size,
                f"batch {number}: row {apart[:1]} of x comes with the target of another one.",
                "One index array for both: x[batch] and y[batch].",
            )
            yield numbers


def _mended(answer: Any) -> None:
    for n, batch_size in ((200, 32), (96, 32), (130, 20)):
        x, y = np.arange(n)[:, None] / 1000, np.arange(n)
        before = x.copy()
        epochs = []
        loader = answer(x, y, batch_size, seed=1)
        for epoch in range(3):
            batches = read_batches(_Numbers(loader), n, f"epoch {epoch}")
            require(
                np.array_equal(x, before),
                f"epoch {epoch}: the caller's x has other values than before.",
                "`-=` and `*=` change the array that was passed. Make a new one, or leave it.",
            )
            joined = np.concatenate(batches)
            require_once(joined, n, f"epoch {epoch}")
            require_sizes(batches, n, batch_size, f"epoch {epoch}")
            epochs.append(joined)
        require_shuffled(epochs)
        again = partial(answer, x, y, batch_size)
        require_seeded(lambda seed, again=again: _Numbers(again(seed=seed)), n)


_WORDS = ("adopt", "drop", "too close to tell")


def _two_sided_rule(answer: Any) -> None:
    rng = np.random.default_rng(4)
    shifts = ((0.05, 0.05), (0.05, 0.0), (0.0, 0.05), (0.0, 0.0), (-0.05, 0.05), (0.05, -0.05))
    for over_random, over_balanced in shifts * 2:
        gains = [rng.normal(shift, 0.02, 20) for shift in (over_random, over_balanced)]
        low, high = zip(*(stats.ttest_1samp(g, 0).confidence_interval(0.95) for g in gains))
        wanted = _WORDS[2]
        if min(low) > 0:
            wanted = "adopt"
        elif min(high) < 0:
            wanted = "drop"
        came = answer(*(g.copy() for g in gains))
        require(came in _WORDS, f"the rule says {came!r}.", f"It must say one of {_WORDS}.")
        hint = "Both intervals have to lie above 0 for adopt; one below 0 is enough for drop."
        if wanted == "drop":
            hint = "Worse than one of the two baselines: nobody should adopt that."
        elif came == "adopt":
            hint = "Better than one baseline is not enough: which baseline could do the same?"
        require(
            came == wanted,
            f"95 % intervals {low[0]:+.3f} … {high[0]:+.3f} over random and {low[1]:+.3f} … "
            f"{high[1]:+.3f} over class-balanced: {wanted}, but the rule says {came}.",
            hint,
        )


def _plan(answer: Any) -> None:
    answer(*events(seed=1), 1)  # a stub, or what fails anyway, need not wait for the others to train
    verdicts = race(answer)
    lowest = min(verdicts, key=lambda verdict: verdict.low)
    if lowest.low > 0:
        return
    hint = (
        "A plan is judged by what it adds. Where do the false alarms come from? Draw more of these."
    )
    if not verdicts[0].gain:
        hint = "These are the random baseline's own batches. What will you do differently?"
    elif not verdicts[1].gain:
        hint = "These are class-balanced's own batches. What will you do differently?"
    elif lowest.over == "class-balanced":
        hint = "Half of class-balanced's batches are events. Which usual points are in the other half?"
    raise Wrong(" ".join(verdict.text("{:+.1%}") for verdict in verdicts), hint)


def _cost(answer: Any) -> None:
    cases = ((6000, 32, 0), (6000, 8, 0), (6000, 32, 128), (1000, 10, 40), (90, 32, 0))
    for passes, size, pool in cases:
        wanted = passes // (PASSES_A_SAMPLE * size + pool)
        came = answer(passes, size, pool)
        hint = "A trained sample costs 3 passes, a scored one 1. A step trains size, scores pool."
        if came == passes // size:
            hint = "A trained sample costs three passes: forward, and twice that backward."
        elif pool and came == passes // (PASSES_A_SAMPLE * size):
            hint = "Scoring the pool is not free."
        require(
            came == wanted,
            f"{passes} passes, batches of {size} out of pools of {pool}: {wanted} steps, not {came}.",
            hint,
        )


EXERCISES = by_number(
    Exercise(
        "10.1",
        "mend the stranger's loader: six faults.",
        _mended,
        (
            "Let audit look at it, for several epochs and two seeds; then read it line by line.",
            "Ask: seeded? a new order? all rows? once each? x with its y? whose array is changed?",
            "In __iter__: order = self.rng.permutation(n), then x[batch], y[batch] of one batch.",
        ),
        "seeded, shuffled anew, all rows once, x with its y, and nobody's data changed.",
    ),
    Exercise(
        "10.2",
        "count the steps that a budget of forward passes allows.",
        _cost,
        (
            "Notebook 06: what does a trained sample cost, what a scored one?",
            "A step costs 3 · size + pool.",
            "passes // (3 * size + pool)",
        ),
        "whoever scores a pool takes fewer steps.",
    ),
    Exercise(
        "10.3",
        "write the rule before you see a result: adopt, drop or too close to tell.",
        _two_sided_rule,
        (
            "Two intervals, one over each baseline. What must hold of both, and what of one?",
            "scipy.stats.ttest_1samp(gains, 0).confidence_interval(0.95)",
            "adopt if both lows are above 0; drop if one high is below 0; else too close to tell",
        ),
        "it asks for both baselines.",
    ),
    Exercise(
        "10.4",
        f"make a plan: a sampler that wins with {PASSES} forward passes.",
        _plan,
        (
            "Draw the points. Which usual ones look like events, and how many are there?",
            "Weights for WeightedSampler, or classes of your own for ClassBalancedSampler.",
            "Distance to the nearest events (sklearn.neighbors), or clusters (sklearn.cluster).",
        ),
        "better than random and than class-balanced, on data and seeds it had not seen.",
        seconds=120.0,
    ),
)
