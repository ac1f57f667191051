"""The capstone's task: rare events among look-alikes, a fixed budget, two baselines, 20 seeds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras
from batchlab.comparison import Run, Verdict, compare
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops import CompiledSteps
from batchlab.loops.runner import Runner
from batchlab.samplers import ClassBalancedSampler, RandomSampler

PASSES, PASSES_A_SAMPLE = 5000, 3  # a trained sample costs one pass forward and two backward
SIZE, SEEDS, ALARMS = 32, 20, 0.005
NEW_POINTS = 20_000  # that a plan is judged on
_FRESH = 1000  # no learner's experiment has these seeds

Points = tuple[NDArray[np.float32], NDArray[np.int64]]
Plan = Callable[[NDArray[np.float32], NDArray[np.int64], int], Any]


def events(n: int = 6000, seed: int = 0) -> Points:
    """Points in the plane: 1 % events, and half as many again usual points that look like them.

    Parameters
    ----------
    n : int, default 6000
        How many points.
    seed : int, default 0
        Other points of the same kind.

    Returns
    -------
    x : ndarray of float32, shape (n, 2)
    y : ndarray of int64, shape (n,)
        1 for an event.
    """
    rng = np.random.default_rng(seed)
    rare, alike = round(0.01 * n), round(0.015 * n)
    kind = rng.permutation(np.repeat([0, 1, 2], [n - rare - alike, alike, rare]))
    beside = np.array([[0.9, -0.5], [-0.5, 0.9]])[rng.integers(2, size=n)]
    away = 2.4 + np.where(kind[:, None] == 1, beside, 0)
    x = np.where(kind[:, None] == 0, rng.normal(size=(n, 2)), away + rng.normal(0, 0.3, (n, 2)))
    return x.astype(np.float32), (kind == 2).astype(np.int64)


def network() -> keras.Model:
    """A small network, compiled."""
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(32, "relu")]
    model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return model


BASELINES: dict[str, Plan] = {
    "random": lambda x, y, seed: RandomSampler(len(x), SIZE, seed=seed),
    "class-balanced": lambda x, y, seed: ClassBalancedSampler(y, SIZE, seed=seed),
}


def race(plan: Plan) -> tuple[Verdict, Verdict]:
    """Judge a plan against both baselines: new points, 20 new seeds, the same budget.

    Measured is, event by event of 20 000 new points, whether it is found at 0.5 % false alarms.

    Parameters
    ----------
    plan : callable
        ``plan(x, y, seed)`` returns a sampler of the rows of x.

    Returns
    -------
    tuple of Verdict
        Over random, and over class-balanced.
    """
    seeds = itertools.count(_FRESH)

    def build() -> keras.Model:
        keras.utils.set_random_seed(next(seeds))
        return network()

    data = events(seed=_FRESH), events(NEW_POINTS, seed=_FRESH + 1)
    runs = {name: _run(made, *data) for name, made in {**BASELINES, "your plan": plan}.items()}
    compared = compare(build, runs, seeds=SEEDS)
    one, two = (
        compared.verdict("found", "your plan", over=name, per_sample=True) for name in BASELINES
    )
    return one, two


def _run(plan: Plan, known: Points, new: Points) -> Run:
    (x, y), (x_new, y_new) = known, new

    def run(model: keras.Model, seed: int) -> Mapping[str, Any]:
        _spend(model, Loader(x, y.astype("float32"), sampler=plan(x.copy(), y.copy(), _FRESH + seed)))
        chances = model(x_new, training=False).numpy()[:, 0]
        return {"found": chances[y_new == 1] > np.quantile(chances[y_new == 0], 1 - ALARMS)}

    return run


def _spend(model: keras.Model, loader: Loader) -> None:
    """Train until the budget does not allow another batch."""
    runner = Runner(CompiledSteps(model, loader), History(loader.n), "race")
    budget = PASSES // PASSES_A_SAMPLE
    while steps := (budget - int(runner.history.visits.sum())) // loader.sampler.batch_size:
        runner.run(steps)  # or to the end of an epoch
