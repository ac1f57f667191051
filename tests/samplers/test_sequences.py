"""Literal sequences: a change of what a seed gives, in a later version, must be noticed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.samplers.strategies import STRATEGIES, losses_of

FIRST_TWELVE = {
    ("sequential", 0): [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5],
    ("random", 0): [17, 46, 36, 6, 43, 11, 34, 59, 15, 55, 14, 54],
    ("random", 7): [34, 24, 35, 51, 1, 8, 21, 1, 29, 10, 24, 4],
    ("random with replacement", 0): [56, 18, 43, 7, 25, 38, 40, 14, 36, 25, 49, 46],
    ("random with replacement", 7): [47, 3, 35, 52, 43, 10, 28, 3, 13, 8, 5, 22],
    ("keyed", 0): [34, 47, 41, 30, 32, 25, 31, 11, 27, 40, 13, 53],
    ("keyed", 7): [47, 45, 3, 44, 34, 19, 3, 33, 12, 8, 6, 13],
    ("weighted", 0): [58, 33, 51, 21, 39, 48, 49, 29, 47, 39, 54, 52],
    ("weighted", 7): [53, 14, 46, 55, 51, 24, 41, 15, 28, 22, 18, 37],
    ("weighted without replacement", 0): [46, 28, 22, 27, 48, 35, 41, 18, 46, 29, 59, 38],
    ("weighted without replacement", 7): [28, 49, 29, 31, 51, 35, 44, 59, 54, 38, 55, 46],
    ("class-balanced", 0): [58, 34, 55, 13, 40, 52, 54, 26, 51, 40, 56, 55],
    ("class-balanced", 7): [56, 5, 49, 57, 55, 18, 43, 6, 24, 14, 10, 38],
    ("class-balanced scheduled", 0): [56, 18, 43, 7, 25, 38, 47, 18, 43, 32, 54, 52],
    ("class-balanced scheduled", 7): [47, 3, 35, 52, 43, 10, 36, 4, 16, 10, 7, 28],
    ("stratified", 0): [18, 58, 33, 47, 32, 25, 35, 28, 41, 1, 20, 58],
    ("stratified", 7): [20, 46, 31, 35, 47, 42, 12, 40, 27, 52, 23, 16],
    ("stratified equal", 0): [45, 54, 33, 58, 32, 48, 0, 6, 59, 43, 9, 56],
    ("stratified equal", 7): [20, 59, 47, 46, 56, 55, 25, 59, 52, 57, 13, 0],
    ("m per class", 0): [40, 16, 57, 9, 23, 47, 19, 43, 41, 17, 54, 6],
    ("m per class", 7): [51, 3, 49, 1, 10, 34, 43, 19, 28, 52, 17, 41],
    ("curriculum", 0): [48, 17, 23, 55, 42, 36, 29, 35, 42, 56, 47, 17],
    ("curriculum", 7): [23, 55, 42, 43, 11, 49, 18, 50, 42, 22, 24, 48],
    ("self-paced", 0): [47, 27, 36, 32, 33, 48, 56, 55, 11, 22, 49, 35],
    ("self-paced", 7): [35, 44, 51, 31, 21, 26, 29, 30, 24, 22, 14, 4],
    ("prioritized", 0): [17, 46, 36, 6, 43, 11, 39, 13, 36, 25, 48, 46],
    ("prioritized", 7): [34, 24, 35, 51, 1, 8, 28, 2, 12, 7, 4, 21],
    ("rank", 0): [17, 46, 36, 6, 43, 11, 45, 55, 10, 29, 18, 36],
    ("rank", 7): [34, 24, 35, 51, 1, 8, 19, 46, 55, 11, 11, 28],
    ("mixture", 0): [39, 58, 22, 33, 26, 9, 10, 8, 35, 32, 24, 54],
    ("mixture", 7): [22, 39, 33, 26, 36, 58, 10, 54, 8, 35, 24, 5],
    ("mixture expected", 0): [58, 22, 39, 26, 9, 33, 35, 10, 32, 8, 54, 32],
    ("mixture expected", 7): [39, 22, 33, 58, 36, 26, 16, 21, 15, 13, 17, 8],
    ("sharded", 0): [46, 6, 11, 3, 50, 45, 14, 24, 45, 39, 56, 36],
    ("sharded", 7): [24, 51, 8, 44, 23, 5, 3, 7, 22, 51, 5, 16],
    # As "random", which is inside:
    ("hand-picked without a pick", 0): [17, 46, 36, 6, 43, 11, 34, 59, 15, 55, 14, 54],
    ("hand-picked without a pick", 7): [34, 24, 35, 51, 1, 8, 21, 1, 29, 10, 24, 4],
    ("hand-picked", 0): [17, 46, 36, 6, 43, 11, 13, 37, 25, 49, 46, 33],
    ("hand-picked", 7): [34, 24, 35, 5, 51, 1, 28, 2, 12, 7, 4, 21],
    ("user's own", 0): [58, 33, 50, 21, 39, 48, 49, 29, 46, 39, 54, 52],
    ("user's own", 7): [53, 13, 46, 55, 51, 24, 41, 14, 28, 21, 18, 36],
}


def first_twelve(name, seed):
    """The first batch of the first epoch, and the first batch of the second."""
    sampler = STRATEGIES[name](batch_size=12, seed=seed)
    for batch in sampler:
        sampler.update(batch, losses_of(batch))
    return (
        next(iter(STRATEGIES[name](batch_size=12, seed=seed))).tolist()[:6]
        + next(iter(sampler)).tolist()[:6]
    )


@pytest.mark.parametrize(("name", "seed"), FIRST_TWELVE)
def test_sequences_are_those_of_earlier_versions(name, seed):
    assert first_twelve(name, seed) == FIRST_TWELVE[name, seed]


def test_every_strategy_has_its_sequence():
    assert {name for name, _ in FIRST_TWELVE} == set(STRATEGIES)
    assert np.unique([str(value) for value in FIRST_TWELVE.values()]).size > len(STRATEGIES)
