"""Comparisons start alike, count alike, and say what they measured."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from batchlab import Comparison, Loader, RandomSampler, compare, figures, train
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


# -- the one rule for "better" -------------------------------------------------------------------


def measured(**strategies: Any) -> Comparison:
    values = {name: np.asarray(each, dtype=np.float64) for name, each in strategies.items()}
    return Comparison({"accuracy": values}, seconds={})


def test_over_seeds_the_interval_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    random, mine = rng.normal(0.8, 0.02, 6), rng.normal(0.83, 0.02, 6)
    verdict = measured(random=random, mine=mine).verdict("accuracy", "mine")
    interval = stats.ttest_rel(mine, random).confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx(tuple(interval))
    assert verdict.gain == pytest.approx(mine.mean() - random.mean())
    assert verdict.from_test == 0


def test_the_test_set_widens_the_interval_by_agresti_and_caffo() -> None:
    pair = measured(random=[0.80, 0.80], mine=[0.90, 0.90])
    verdict = pair.verdict("accuracy", "mine", test_size=98)
    # (98 p + 1) / 100 = 0.794 and 0.892, by hand
    expected = 1.959964 * np.sqrt((0.794 * 0.206 + 0.892 * 0.108) / 100)
    assert verdict.from_test == verdict.smallest == pytest.approx(expected, rel=1e-6)
    assert pair.verdict("accuracy", "mine", test_size=50).word == "too close to tell"
    assert pair.verdict("accuracy", "mine", test_size=980).word == "better"
    assert pair.verdict("accuracy", "mine", test_size=980, lower_is_better=True).word == "worse"


def test_two_parts_add_by_their_squares_and_classes_by_their_counts() -> None:
    result = measured(random=[0.80, 0.82, 0.81], mine=[0.90, 0.91, 0.89])
    verdict = result.verdict("accuracy", "mine", test_size=[100])
    assert verdict.smallest**2 == pytest.approx(verdict.from_seeds**2 + verdict.from_test**2)
    balanced = result.verdict("accuracy", "mine", test_size=[100, 100])
    assert balanced.from_test == pytest.approx(verdict.from_test / np.sqrt(2))
    rare = result.verdict("accuracy", "mine", test_size=[1000, 10])
    assert rare.from_test > balanced.from_test  # ten samples of a class say little of its recall


def test_the_same_mistakes_on_the_same_samples_can_be_told_from_chance() -> None:
    """35 of 400 are wrong for both, 12 more for one: a small but clear difference."""
    random, mine = np.ones((2, 2, 400))
    random[:, :47] = mine[:, :35] = 0
    paired = measured(random=random, mine=mine).verdict("accuracy", "mine", per_sample=True)
    assert paired.gain == pytest.approx(12 / 400)
    # McNemar: a share D = 12 / 400 disagrees, all one way
    assert paired.from_test == pytest.approx(1.959964 * np.sqrt((0.03 - 0.03**2) / 399), rel=1e-6)
    assert paired.word == "better"
    shares = measured(random=random.mean(axis=1), mine=mine.mean(axis=1))
    assert shares.verdict("accuracy", "mine", test_size=400).word == "too close to tell"


@pytest.mark.parametrize("per_sample", [False, True])
def test_strategies_that_are_alike_are_rarely_called_better(per_sample: bool) -> None:
    """5 seeds, 200 test samples of different difficulty, 600 comparisons: at most 5 % and a bit."""
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(600):
        difficulty = rng.beta(2, 0.5, size=200)
        skill = rng.normal(0, 0.03, (2, 5, 1))  # seeds differ, too
        right = (rng.random((2, 5, 200)) < difficulty + skill).astype(float)
        if per_sample:
            verdict = measured(a=right[0], b=right[1]).verdict("accuracy", "b", per_sample=True)
        else:
            shares = right.mean(axis=2)
            verdict = measured(a=shares[0], b=shares[1]).verdict("accuracy", "b", test_size=200)
        called += verdict.word != "too close to tell"
    assert called <= 600 * 0.05 + 3 * np.sqrt(600 * 0.05 * 0.95)


def test_five_equal_seeds_do_not_hide_a_small_test_set() -> None:
    """What seeds alone would call clear: +8 points in 5 of 5, on 24 events."""
    result = measured(random=[0.40, 0.41, 0.42, 0.41, 0.40], mine=[0.48, 0.49, 0.50, 0.49, 0.48])
    assert result.verdict("accuracy", "mine").word == "better"
    verdict = result.verdict("accuracy", "mine", test_size=24)
    assert (verdict.word, verdict.wins, verdict.seeds) == ("too close to tell", 5, 5)
    assert 0.2 < verdict.smallest < 0.35


def test_verdicts_are_printed_as_a_table_against_the_baseline() -> None:
    result = measured(random=[0.80, 0.82], mine=[0.9, 0.924], worse=[0.7, 0.72], same=[0.80, 0.82])
    verdicts = result.verdicts("accuracy")
    assert {name: verdict.word for name, verdict in verdicts.items()} == {
        "mine": "better",
        "worse": "worse",
        "same": "too close to tell",
    }
    assert verdicts.text("{:+.1%}").splitlines() == [
        "accuracy against random, in points",
        "strategy  gain   95 % interval  seeds won  smallest to show  verdict",
        "mine      +10.2  +7.7 … +12.7   2 of 2     2.5               better",
        "worse     -10.0  -10.0 … -10.0  0 of 2     0.0               worse",
        "same      0.0    0.0 … 0.0      0 of 2     0.0               too close to tell",
    ]
    assert str(verdicts) == repr(verdicts) == verdicts.text()
    assert list(result.verdicts("accuracy", over="mine")) == ["random", "worse", "same"]


def test_a_loss_is_better_where_it_is_lower_and_curves_are_judged_by_their_ends() -> None:
    result = measured(random=[[9, 0.5], [9, 0.6], [9, 0.5]], mine=[[9, 0.3], [9, 0.4], [9, 0.3]])
    verdict = result.verdict("accuracy", "mine", lower_is_better=True)
    assert (verdict.word, verdict.wins) == ("better", 3)
    assert str(verdict).startswith("mine is better than random in accuracy: +0.20 in the mean")
    assert str(result.verdict("accuracy", "mine")).startswith("mine is worse than random")


@pytest.mark.parametrize(
    ("arguments", "options", "fault"),
    [
        (("mien",), {}, "there is no strategy 'mien'. There are 'random', 'mine'."),
        (("mine", "rnd"), {}, "there is no strategy 'rnd'"),
        (("mine",), {"test_size": 0}, "test_size must be a number of samples, or one per class"),
        (("mine",), {"test_size": [5, 2.5]}, "test_size must be"),
        (("mine",), {"test_size": 10}, "must be a share from 0 to 1, got 82. Divide per cent"),
        (("mine",), {"per_sample": True}, "needs 'accuracy' of shape (seeds, test samples)"),
        (("mine",), {"per_sample": True, "test_size": 9}, "leave it out"),
    ],
)
def test_a_verdict_that_cannot_be_given_says_why(
    arguments: tuple[str, ...], options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        measured(random=[80, 81], mine=[82, 83]).verdict("accuracy", *arguments, **options)
    with pytest.raises(ValueError, match="one seed cannot tell"):
        measured(random=[80], mine=[82]).verdict("accuracy", "mine")


def test_figure_shows_the_interval_and_the_word() -> None:
    result = measured(random=[0.80, 0.82], mine=[0.9, 0.925], same=[0.81, 0.81])
    verdicts = result.verdicts("accuracy")
    figure = figures.comparison(
        result.measures["accuracy"], "accuracy, %", "Which", verdicts=verdicts, scale=100
    )
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["random", "mine\nbetter", "same\ntoo close to tell"]
    (interval,) = axes.containers[0].lines[2][0].get_segments()
    expected = [81 + 100 * verdicts["mine"].low, 81 + 100 * verdicts["mine"].high]
    np.testing.assert_allclose(interval[:, 1], expected)
    assert "against random (mine better, same too close to tell)" in figure.alt
    losses = result.verdicts("accuracy", lower_is_better=True)
    below = figures.comparison(result.measures["accuracy"], "loss", verdicts=losses).axes[0]
    (interval,) = below.containers[0].lines[2][0].get_segments()
    assert interval[:, 1].mean() == pytest.approx(0.9125)  # where its dots are
    curves = {name: np.stack([ends, ends], axis=1) for name, ends in result.last("accuracy").items()}
    axes = figures.comparison(curves, "accuracy", points=[10, 20], verdicts=verdicts).axes[0]
    written = [text.get_text() for text in axes.get_legend().get_texts()]
    assert written == ["random", "mine: better", "same: too close to tell"]
    assert axes.containers[0].lines[2][0].get_segments()[0][0, 0] == pytest.approx(20, abs=1)
