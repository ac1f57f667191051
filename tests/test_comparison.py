"""Comparisons start alike, count alike, and say what they measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from batchlab import Loader, RandomSampler, compare, figures, train
from batchlab.backend import keras

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def build() -> keras.Model:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4), layers.Dropout(0.5), layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


def ends(model: keras.Model, seed: int) -> dict[str, Any]:
    """Train, and measure what shows every difference: first weights, last weights, Adam's."""
    first = np.concatenate([w.ravel() for w in model.get_weights()])
    train(model, Loader(X, Y, sampler=RandomSampler(64, 8, seed=seed)), epochs=2, verbose=0)
    last = np.concatenate([w.ravel() for w in model.get_weights()])
    return {"first": first, "last": last, "iterations": int(model.optimizer.iterations)}


def test_every_strategy_starts_from_the_same_weights_and_a_fresh_optimizer() -> None:
    result = compare(build, {"a": ends, "b": ends}, seeds=2)
    assert result.measures["first"]["a"].shape[0] == 2
    for measure in ("first", "last", "iterations"):  # equal ends: equal Dropout and Adam, too
        np.testing.assert_array_equal(*result.measures[measure].values())
    assert (result.measures["iterations"]["a"] == 16).all()
    assert not np.array_equal(*result.measures["first"]["a"])  # other seeds, other weights
    assert {name: times.shape for name, times in result.seconds.items()} == {"a": (2,), "b": (2,)}


def test_runs_that_measure_different_things_are_refused() -> None:
    runs = {"a": lambda model, seed: {"loss": 1}, "b": lambda model, seed: {"los": 1}}
    with pytest.raises(ValueError, match=r"'b' with seed 0 gave \['los'\]"):
        compare(build, runs, seeds=1)


@pytest.mark.parametrize(("runs", "seeds", "error"), [({}, 5, ValueError), ({"a": ends}, 2.0, TypeError)])
def test_bad_input_is_refused(runs: Any, seeds: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="compare: "):
        compare(build, runs, seeds)


def test_curves_are_judged_by_their_ends() -> None:
    curves = {"up": lambda model, seed: {"c": [0, 1 + seed]}, "flat": lambda model, seed: {"c": [2, 2]}}
    result = compare(build, curves, seeds=3)
    assert result.last("c")["up"].tolist() == [1, 2, 3]
    assert result.wins("c", "up", over="flat") == 1
    assert "up        2.00     1.00 … 3.00" in result.table("c")


def test_figure_has_a_dot_for_every_seed_or_a_band() -> None:
    values = {"random": np.array([0.5, 0.6, 0.7]), "mine": np.array([0.6, 0.7, 0.8])}
    figure = figures.comparison(values, "accuracy", "Which is better", alt="Mine is higher.")
    dots = figure.axes[0].collections
    assert [len(dot.get_offsets()) for dot in dots] == [3, 3]
    assert "3 seeds" in figure.alt and figure.alt.endswith("Mine is higher.")
    curves = {name: np.stack([ends, ends + 0.1], axis=1) for name, ends in values.items()}
    drawn = figures.comparison(curves, "accuracy", points=[10, 20]).axes[0]
    np.testing.assert_allclose(drawn.lines[0].get_ydata(), [0.6, 0.7])
