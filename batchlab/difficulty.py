"""How hard samples were, from the losses that they had in the order of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices, Losses = NDArray[np.integer[Any]], NDArray[np.float32]


def mean_loss(samples: Indices, losses: Losses, learnt_below: float) -> NDArray[Any]:
    """The mean of every sample's losses."""
    return np.bincount(samples, weights=losses) / np.bincount(samples)


def visits_until_learnt(samples: Indices, losses: Losses, learnt_below: float) -> NDArray[Any]:
    """How often it came before it was first learnt; of those never learnt, the most visits of any."""
    counts = np.bincount(samples)
    samples, learnt = _sample_after_sample(samples, losses < learnt_below)
    visit = np.arange(samples.size) - (np.cumsum(counts) - counts)[samples]
    score = np.full(counts.size, counts.max())
    np.minimum.at(score, samples[learnt], visit[learnt])
    return score


def forgetting_events(samples: Indices, losses: Losses, learnt_below: float) -> NDArray[Any]:
    """How often it was learnt and then no longer; of those never learnt, one more than any."""
    samples, learnt = _sample_after_sample(samples, losses < learnt_below)
    forgotten = learnt[:-1] & ~learnt[1:] & (samples[:-1] == samples[1:])
    score = np.bincount(samples[1:][forgotten], minlength=samples[-1] + 1)
    score[np.bincount(samples, weights=learnt) == 0] = score.max() + 1
    return score


def _sample_after_sample(samples: Indices, learnt: NDArray[np.bool_]) -> tuple[Indices, NDArray[np.bool_]]:
    """The same, each sample's visits side by side, in the order of time."""
    order = np.argsort(samples, kind="stable")
    return samples[order], learnt[order]


# From samples and their losses, both (visits,) with every sample at least once, to a score (n,).
SCORES: dict[str, Callable[[Indices, Losses, float], NDArray[Any]]] = {
    "loss": mean_loss,
    "first_learnt": visits_until_learnt,
    "forgetting": forgetting_events,
}
