"""Notebook 03: weighted batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.exercises.judging import (
    Exercise,
    array_of,
    by_number,
    number_of,
    read_epochs,
    require,
    require_audit,
    require_seeded,
    require_sizes,
)


def _weighted_sampler(answer: Any) -> None:
    for weights, batch_size in (([8.0] * 10 + [1.0] * 30, 16), (np.arange(1.0, 26), 10)):
        n, expected = len(weights), np.asarray(weights)

        def make(seed: int, expected: Any = expected, batch_size: int = batch_size) -> Any:
            return answer(expected.copy(), batch_size, seed=seed)

        epochs = read_epochs(make(3), n, 3)
        for epoch, batches in enumerate(epochs):
            require_sizes(batches, n, batch_size, f"epoch {epoch}")
        require_seeded(make, n)
        draws = np.concatenate([np.concatenate(e) for e in read_epochs(make(4), n, 400)])
        came, share = np.bincount(draws, minlength=n) / draws.size, expected / expected.sum()
        most = int(expected.argmax())
        require(
            abs(came[most] - 1 / n) > 0.2 * (share[most] - 1 / n),
            f"sample {most} has {share[most]:.1%} of the weight, but {came[most]:.1%} of the draws: "
            "no more than any other.",
            "Without replacement every sample comes once, whatever its weight. Draw with replacement.",
        )
        require(
            abs(came[most] - share[most]) < 5 * np.sqrt(share[most] / draws.size),
            f"sample {most} has {share[most]:.1%} of the weight, but {came[most]:.1%} of the draws.",
            "The chance of a sample is its weight divided by the sum of all weights.",
        )
        require_audit(make(5), expected=expected, epochs=200)


def _seen_share(answer: Any) -> None:
    for weights, draws in (([10, 4, 3, 2, 1], 3), ([1, 1, 1, 1], 2), (np.arange(1, 101), 300)):
        p = np.asarray(weights) / np.sum(weights)
        wanted = 1 - (1 - p) ** draws
        case = f"{len(p)} weights, {draws} draws"
        came = array_of(answer(np.asarray(weights, float), draws), case + ": the answer", p.shape)
        off = int(np.abs(came - wanted).argmax())
        hint = "The chance to be drawn at least once is 1 minus the chance to be missed every time."
        if came.max() > 1:
            hint = f"{came.max():.2f} is no probability. Draws of the same sample count once here."
        elif np.allclose(came, 1 - wanted):
            hint = "That is the chance never to come."
        elif np.allclose(came, 1 - p**draws):
            hint = "p ** draws is the chance to be drawn every time. What is the chance to be missed?"
        elif np.allclose(came, np.minimum(1, draws * p)):
            hint = "Chances of several draws do not add up: a sample may be drawn twice."
        elif np.ptp(p) and not np.ptp(came):
            hint = "The weights differ, so the chances do: each sample has its own share of the weights."
        require(
            np.allclose(came, wanted, atol=1e-6),
            f"{case}: sample {off} is seen with chance {wanted[off]:.3f}, you say {came[off]:.3f}.",
            hint,
        )


def _balance_for(answer: Any) -> None:
    for common, rare, share in (
        (1330, 70, 0.25),
        (900, 100, 0.5),
        (5000, 50, 0.05),
        (600, 400, 0.45),
    ):
        balance = number_of(answer(common, rare, share), "balance")
        odds = (rare / common) ** (1 - balance)
        came = odds / (1 + odds)
        require(
            abs(came - share) < 1e-4,
            f"{common} common, {rare} rare: with balance {balance:.3f} the rare class has {came:.1%}, "
            f"not {share:.1%}.",
            "A share of 25 % means odds of 1 : 3, not of 1 : 4."
            if abs(odds - share) < 1e-4
            else "The odds of the rare class are (rare / common) ** (1 - balance).",
        )


EXERCISES = by_number(
    Exercise(
        "03.1",
        "write a sampler that draws each sample as often as its weight says.",
        _weighted_sampler,
        (
            "The chances are the weights divided by their sum.",
            "self.uniforms(size) gives numbers from 0 to 1. Which sample does each of them hit?",
            "np.searchsorted(np.cumsum(chances), self.uniforms(size), side='right')",
        ),
        "samples come as often as their weights say, and seeds are kept.",
    ),
    Exercise(
        "03.2",
        "compute the chance of every sample to be seen at least once.",
        _seen_share,
        (
            "Begin with the chance not to be drawn, once.",
            "Draws with replacement are independent: chances multiply.",
            "1 - (1 - p) ** draws, with p = weights / weights.sum()",
        ),
        "right, for equal and for unequal weights.",
    ),
    Exercise(
        "03.3",
        "compute the balance that gives the rare class a stated share.",
        _balance_for,
        (
            "Work with odds: share / (1 - share).",
            "(rare / common) ** (1 - balance) = share / (1 - share). Take the logarithm of both sides.",
            "1 - np.log(share / (1 - share)) / np.log(rare / common)",
        ),
        "right, for four data sets.",
    ),
)
