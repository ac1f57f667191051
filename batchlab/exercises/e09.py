"""Notebook 09: find the fault in the article's own code, and judge a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from batchlab.exercises.judging import (
    Exercise,
    by_number,
    read_batches,
    require,
    require_once,
    require_sizes,
)


def _rebalanced(answer: Any) -> None:
    for counts, batch_size in (((80, 20), 32), ((190, 10), 20), ((60, 30, 10), 25)):
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
        n, rng = len(labels), np.random.default_rng(3)
        epochs = []
        for epoch in range(60):
            batches = read_batches(answer(labels.copy(), batch_size, rng), n, f"epoch {epoch}")
            require_sizes(batches, n, batch_size, f"epoch {epoch}")
            epochs.append(np.concatenate(batches))
        require(
            not np.array_equal(epochs[0], epochs[1]),
            "epoch 1 repeats epoch 0.",
            "Draw from `rng`, the generator that was passed.",
        )
        draws, rarest = np.concatenate(epochs), len(counts) - 1
        share, data = np.mean(labels[draws] == rarest), counts[-1] / n
        wanted = 1 / len(counts)
        hint = "A sample's weight is 1 divided by the size of its class."
        if all(len(np.unique(epoch)) == n for epoch in epochs):
            hint = "Each epoch still shows every sample exactly once. Which argument says so?"
        elif share < data:
            hint = "The weights favour the common class: divide by the counts."
        require(
            abs(share - wanted) < 0.05,
            f"{n} samples, {counts[-1]} of the rarest class: it makes up {share:.0%} of the draws "
            f"(of the data {data:.0%}), not {wanted:.0%}.",
            hint,
        )
        of_rarest = np.bincount(draws, minlength=n)[labels == rarest]
        require(
            of_rarest.min() > 0.5 * of_rarest.mean(),
            f"{n} samples: some of the rarest class come {of_rarest.min()} times, others "
            f"{of_rarest.max()} times.",
            "Within a class all samples are alike.",
        )


def _independent_loader(answer: Any) -> None:
    for n, batch_size in ((50, 16), (30, 10)):
        x, y = np.arange(n, dtype=float)[:, None], np.arange(n)
        loader = answer(x, y, batch_size)
        orders = []
        for epoch in range(3):
            batches = read_batches((pair[1] for pair in loader), n, f"epoch {epoch}")
            require_sizes(batches, n, batch_size, f"epoch {epoch}")
            require_once(batches, n, f"epoch {epoch}")
            orders.append(np.concatenate(batches).tolist())
        require(orders[0] != orders[1], "epoch 1 has the same order as epoch 0.", "Shuffle anew.")
        outer, inner = iter(loader), iter(loader)
        seen: list[list[int]] = [[], []]
        for _ in range(-(-n // batch_size)):
            for walk, numbers in zip((outer, inner), seen):
                pair = next(walk, None)
                numbers += [] if pair is None else np.asarray(pair[1]).tolist()
        for name, numbers in zip(("first", "second"), seen):
            require(
                sorted(numbers) == list(range(n)),
                f"two loops at once: the {name} one sees {len(set(numbers))} of {n} samples.",
                "Both loops share what __iter__ keeps in self. Keep it in local variables: `yield`.",
            )


def _decision_rule(answer: Any) -> None:
    rng = np.random.default_rng(0)
    cases = [[0.01, 0.012, 0.009, 0.011, 0.01], [0.02, -0.02, 0.01, -0.01, 0.0]]
    cases += [[0.001, 0.08, 0.002, 0.003, 0.001], [-0.03, -0.02, -0.025, -0.03, -0.02]]
    cases += [
        rng.normal(shift, 0.02, size).tolist() for shift in (0, 0.02, -0.03) for size in (3, 8, 20)
    ]
    for gains in cases:
        low, high = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
        wanted = "better" if low > 0 else "worse" if high < 0 else "too close to tell"
        came = answer(np.array(gains))
        require(
            came in ("better", "worse", "too close to tell"),
            f"the rule says {came!r}.",
            'It must say "better", "worse" or "too close to tell".',
        )
        all_won = min(gains) > 0 or max(gains) < 0
        hint = "The 95 % interval of the mean: all above 0, all below, or neither."
        if wanted == "too close to tell" and all_won:
            hint = "All seeds won, and yet: one of them did nearly all of it. How wide is the interval?"
        elif {came, wanted} == {"better", "worse"}:
            hint = "A gain above 0 is better."
        require(
            came == wanted,
            f"{len(gains)} gains from {min(gains):+.3f} to {max(gains):+.3f}, mean {np.mean(gains):+.3f}: "
            f"the interval is {low:+.3f} … {high:+.3f}, so {wanted}; the rule says {came}.",
            hint,
        )


EXERCISES = by_number(
    Exercise(
        "09.1",
        "find the fault in the article's example 2 and mend it: classes are to come alike.",
        _rebalanced,
        (
            "Count how often each sample comes in an epoch of the article's code.",
            "n draws from n samples without replacement are a permutation, whatever the weights.",
            "rng.choice(n, size=n, replace=True, p=weights)",
        ),
        "all classes come alike, and within a class all samples.",
    ),
    Exercise(
        "09.2",
        "find the fault in the article's example 3 and mend it: two loops at once.",
        _independent_loader,
        (
            "What happens to the first loop when a second one calls __iter__?",
            "`return self` means that there is only one place in the data for all loops.",
            "write __iter__ as a generator: order = permutation; for start in …: yield …",
        ),
        "each loop has its own epoch.",
    ),
    Exercise(
        "09.3",
        "write the rule: better, worse or too close to tell.",
        _decision_rule,
        (
            "The mean alone is not enough, nor is the number of seeds won.",
            "mean ± t · sd / √seeds, with t of seeds - 1 degrees of freedom.",
            "scipy.stats.ttest_1samp(gains, 0).confidence_interval(0.95)",
        ),
        "the rule of this course.",
    ),
)
