"""Literal sequences: a change of what a seed gives, in a later version, must be noticed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.samplers.strategies import STRATEGIES, losses_of

FIRST_TWELVE = {
    ("sequential", 0): [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5],
    ("random", 0): [5, 7, 30, 39, 9, 56, 59, 20, 11, 54, 50, 24],
    ("random", 7): [54, 27, 49, 39, 34, 43, 2, 54, 15, 39, 47, 48],
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
    ("stratified", 0): [11, 54, 18, 50, 7, 5, 20, 14, 39, 18, 26, 57],
    ("stratified", 7): [7, 47, 19, 35, 38, 42, 32, 46, 23, 51, 30, 18],
    ("stratified equal", 0): [36, 59, 18, 54, 7, 43, 32, 33, 56, 53, 10, 58],
    ("stratified equal", 7): [7, 55, 38, 47, 59, 57, 23, 59, 51, 57, 34, 17],
    ("m per class", 0): [1, 49, 46, 22, 59, 35, 45, 21, 10, 34, 24, 0],
    ("m per class", 7): [56, 8, 9, 57, 26, 50, 43, 19, 38, 14, 9, 33],
    ("curriculum", 0): [48, 17, 23, 55, 42, 36, 31, 35, 16, 55, 47, 42],
    ("curriculum", 7): [23, 55, 42, 43, 11, 49, 12, 23, 11, 10, 55, 56],
    ("self-paced", 0): [15, 7, 44, 50, 0, 16, 33, 57, 26, 52, 39, 22],
    ("self-paced", 7): [14, 29, 53, 35, 34, 7, 38, 8, 32, 52, 49, 21],
    ("prioritized", 0): [5, 7, 30, 39, 9, 56, 39, 13, 36, 25, 48, 46],
    ("prioritized", 7): [54, 27, 49, 39, 34, 43, 28, 2, 12, 7, 4, 21],
    ("rank", 0): [5, 7, 30, 39, 9, 56, 45, 55, 10, 29, 18, 36],
    ("rank", 7): [54, 27, 49, 39, 34, 43, 19, 46, 55, 11, 11, 28],
    ("mixture", 0): [39, 50, 5, 33, 17, 12, 25, 16, 32, 34, 19, 44],
    ("mixture", 7): [5, 39, 33, 17, 37, 50, 25, 44, 16, 32, 19, 20],
    ("mixture expected", 0): [50, 5, 39, 17, 12, 33, 32, 25, 34, 16, 44, 33],
    ("mixture expected", 7): [39, 5, 33, 50, 37, 17, 27, 29, 21, 3, 18, 19],
    ("sharded", 0): [7, 39, 56, 29, 28, 0, 14, 25, 45, 39, 56, 35],
    ("sharded", 7): [27, 39, 43, 6, 1, 10, 3, 8, 23, 52, 5, 18],
    ("user's own", 0): [58, 33, 50, 21, 39, 48, 49, 29, 46, 39, 54, 52],
    ("user's own", 7): [53, 13, 46, 55, 51, 24, 41, 14, 28, 21, 18, 36],
}


def first_twelve(name, seed):
    """The first batch of the first epoch, and the first batch of the second."""
    sampler = STRATEGIES[name](batch_size=12, seed=seed)
    for batch in sampler:
        sampler.update(batch, losses_of(batch))
    return next(iter(STRATEGIES[name](batch_size=12, seed=seed))).tolist()[:6] + next(
        iter(sampler)
    ).tolist()[:6]


@pytest.mark.parametrize(("name", "seed"), FIRST_TWELVE)
def test_sequences_are_those_of_earlier_versions(name, seed):
    assert first_twelve(name, seed) == FIRST_TWELVE[name, seed]


def test_every_strategy_has_its_sequence():
    assert {name for name, _ in FIRST_TWELVE} == set(STRATEGIES)
    assert np.unique([str(value) for value in FIRST_TWELVE.values()]).size > len(STRATEGIES)
