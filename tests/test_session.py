"""A run without the panel: settings, the record, and building anew."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from batchlab import MPerClassSampler, RandomSampler, SequentialSampler, Session, datasets
from batchlab.backend import keras
from batchlab.lab import experiment, session as rooms
from batchlab.lab.settings import DATA_SETTINGS

DATA = datasets.moons(n=200, share=0.2)
X, Y = DATA.x_train, DATA.y_train
N = len(Y)


def make(**options: Any) -> Session:
    return Session(X, Y, validation_data=(DATA.x_test, DATA.y_test), **options)


def test_needs_no_widgets() -> None:
    code = (
        "import sys; from batchlab import Session; import batchlab.lab.drawing.picture; "
        "print('ipywidgets' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_a_long_run_forgets_its_oldest_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "SAMPLES_KEPT", 320)
    session = make()
    session.run(100)
    kept = len(session.history.indices)
    assert 10 <= kept <= 20  # batches of 32; the last one of an epoch is smaller
    assert session.history.steps == len(session.curves["train loss"][1]) == 100
    np.testing.assert_array_equal(session.batch(100 - kept), session.history.indices[0])
    with pytest.raises(IndexError, match=f"there are {100 - kept} to 99"):
        session.batch(99 - kept)


def test_past_batches_can_be_looked_at() -> None:
    session = make()
    session.run(60, events={30: {"strategy": "class-balanced", "balance": 0.5}})
    assert session.strategy_at(29) == "random"
    assert session.settings_at(30)["balance"] == 0.5
    np.testing.assert_array_equal(session.batch(30), session.history.indices[30])
    assert session.losses_at(30).shape == session.chances_at(30).shape == (32,)
    # Without replacement: the first batch is drawn from all, the second from those left.
    assert session.chances_at(0) == pytest.approx(1 / N)
    assert session.chances_at(1) == pytest.approx(1 / (N - 32))
    share = session.samplers["class-balanced"].class_probabilities
    of_class = {label: share[label] / (label == Y).sum() for label in (0, 1)}
    assert session.chances_at(30) == pytest.approx([of_class[c] for c in Y[session.batch(30)]])
    for step in (-1, 60):
        with pytest.raises(IndexError, match=f"step {step} is not recorded; there are 0 to 59"):
            session.batch(step)


def test_chances_are_those_of_the_epoch_that_the_batch_is_from() -> None:
    session = Session(X, Y, strategies={"random": RandomSampler(N, 100)})
    session.run(4)
    assert N == 140
    assert session.chances_at(1) == pytest.approx(1 / 40)
    assert session.chances_at(2) == pytest.approx(1 / 140)


def test_chances_are_left_out_where_they_would_cost_too_much(monkeypatch: Any) -> None:
    monkeypatch.setattr(rooms, "CHANCES_UP_TO", N - 1)
    session = make()
    session.run(2)
    assert session.chances_at(1) is None


def test_present_losses_are_those_of_the_model_now() -> None:
    session = make()
    before = session.losses_of(np.arange(N))
    session.run(50)
    after = session.losses_of(np.array([3, 3, 5]))
    chances = session.predict(X[[3, 3, 5]])
    np.testing.assert_allclose(after, -np.log(chances[np.arange(3), Y[[3, 3, 5]]]), rtol=1e-4)
    assert after[0] < before[3]


def test_curves_have_a_point_for_every_score() -> None:
    session = make()
    session.run(50)
    curves = session.curves
    assert curves["train loss"][0].tolist() == list(range(1, 51))
    for name in ("validation loss", "balanced accuracy"):
        steps, values = curves[name]
        assert steps.tolist() == [0, 25, 50]
        assert values.shape == (3,)
    assert curves["validation loss"][1][2] < curves["validation loss"][1][0]
    assert Session(X, Y).curves["validation loss"][0].size == 0


def test_clock_counts_choosing_and_training() -> None:
    session = make()
    assert session.steps_per_second == 0
    session.run(60)
    assert session.clock["choosing"] > 0
    assert session.clock["training"] > 0
    assert session.steps_per_second > 0


def test_settings_print_as_a_table_with_source() -> None:
    settings = make().settings
    assert settings["batch_size"] == 32
    lines = repr(settings).splitlines()
    assert lines[0].split() == ["name", "value", "type", "range", "default", "help", "source"]
    assert len(lines) == len(settings) + 1
    assert all(all(row.values()) for row in settings.rows)
    assert "<td>replacement</td>" in settings._repr_html_()


@pytest.mark.parametrize("name", experiment.STRATEGIES)
def test_every_setting_of_a_strategy_is_declared_with_help_and_source(name: str) -> None:
    session = make()
    session.apply("strategy", name)
    assert all(row["help"] and row["source"] for row in session.settings.rows)
    for setting, value in session.settings.items():
        assert session.settable()[setting].check(value) == value


def test_label_noise_and_imbalance_change_the_training_data_only() -> None:
    noisy = make(label_noise=0.25, imbalance=8.0, seed=3)
    counts = np.bincount(Y[datasets.imbalanced(Y, 8.0, seed=3)])
    assert len(noisy.x) == counts.sum()
    assert counts[0] / counts[1] == pytest.approx(8, rel=0.05)
    kept = datasets.imbalanced(Y, 8.0, seed=3)
    np.testing.assert_array_equal(noisy.x, X[kept])
    assert (noisy.labels != Y[kept]).sum() == round(0.25 * len(kept))
    np.testing.assert_array_equal(noisy.scored_data[1], DATA.y_test)
    noisy.run(20)


def test_rebuild_gives_what_a_new_session_would_be() -> None:
    settings = {"label_noise": 0.1, "imbalance": 6.0, "seed": 5}
    session, fresh = make(), make(**settings)
    session.run(30, events={10: {"strategy": "prioritized", "learning_rate": 0.1}})
    session.rebuild(**settings)
    assert session.history.steps == 0
    for each in (session, fresh):
        each.run(30, events={5: {"strategy": "stratified"}})
    for one, two in zip(session.model.get_weights(), fresh.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(session.model.get_weights()[0], make().model.get_weights()[0])


def test_strategies_of_ones_own_are_built_anew_with_the_data() -> None:
    strategies = {
        "in order": SequentialSampler,
        "first class": lambda labels, batch_size, seed: RandomSampler(len(labels), 4, seed=seed),
    }
    names = np.array(["a", "b"])[Y]
    session = Session(X, names, strategies=strategies, batch_size=8, seed=7)
    session.apply("strategy", "first class")
    assert session.sampler.seed == 7
    session.rebuild(seed=8)
    assert session.strategy == "in order"
    assert session.samplers["first class"].seed == 8


def test_ready_made_samplers_allow_no_change_of_the_data() -> None:
    session = make(strategies={"random": RandomSampler(N, 8)})
    session.run(3)
    assert not set(DATA_SETTINGS) & set(session.settings)
    with pytest.raises(ValueError, match=r"seed cannot be changed.*Pass classes"):
        session.rebuild(seed=1)
    assert session.history.steps == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_noise": 1.5}, "label_noise must be from 0 to 1, got 1.5"),
        ({"imbalance": 0.5}, "imbalance must be from 1"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"imbalance": 1000.0}, "batch_size must not be larger"),
    ],
)
def test_refused_rebuild_leaves_the_session_as_it_was(settings: Any, message: str) -> None:
    session = Session(X, Y, batch_size=128)
    session.run(3)
    with pytest.raises((TypeError, ValueError), match=message):
        session.rebuild(**settings)
    assert session.history.steps == 3
    assert len(session.x) == N
    assert session.settings["imbalance"] == 1.0


def test_data_settings_are_no_events() -> None:
    with pytest.raises(ValueError, match=r"rebuild\(label_noise=0.2\), which starts anew"):
        make().run(5, events={2: {"label_noise": 0.2}})


def test_a_class_that_cannot_be_built_is_explained() -> None:
    class Odd(RandomSampler):
        def __init__(self, n: int, size: int) -> None:
            super().__init__(n, size)

    with pytest.raises(TypeError, match=r"strategy 'odd' cannot be built: .*Pass a class of"):
        Session(X, Y, strategies={"odd": Odd})


# -- what is refused -------------------------------------------------------------------------------


def spoiled(value: float) -> np.ndarray:
    x = X.copy()
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": spoiled(np.nan)}, r"x must hold finite numbers .* got nan in row 3, column 1"),
        ({"x": spoiled(np.inf)}, r"got inf in row 3, column 1 \(1 of 280 values are wrong\)"),
        ({"x": X.astype(float) * 1e300}, "that float32 can hold, got .*e.299 in row 0, column 0"),
        ({"x": np.ma.masked_greater(X, 1)}, "x is masked"),
        ({"classes": ["a", "a"]}, "classes 0 and 1 are both called 'a'"),
        ({"classes": "ab"}, "classes must be a list of names, got 'ab'"),
        ({"classes": 2}, "classes must be a list of names, got 2"),
        ({"strategies": [RandomSampler]}, "strategies must be a dict .* got list"),
        ({"strategies": 5}, "strategies must be a dict .* got int"),
        ({"strategies": {1: RandomSampler}}, "strategies must be named by words, got 1"),
        ({"model": "net"}, "model must be a keras.Model, got str"),
        ({"model": 0}, "model must be a keras.Model, got int"),
        ({"validation_data": "xy"}, r"validation_data must be a pair \(x, y\), got str"),
        ({"validation_data": (X,)}, r"validation_data must be a pair \(x, y\), got tuple"),
        ({"validation_data": (X[:, :1], Y)}, r"samples of shape \(2,\) as x does, got shape \(140, 1\)"),
        ({"validation_data": (X[:0], Y[:0])}, r"as x does, got shape \(0, 2\)"),
        ({"validation_data": (X, Y[:9])}, "one class for each of its 140 samples"),
        ({"validation_data": (spoiled(np.nan), Y)}, "validation_data's x must .* row 3, column 1"),
        ({"validation_data": (X, Y + 5)}, "that y does not have, such as .* at position 0"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Session(**{"x": X, "y": Y, **options})


@pytest.mark.parametrize(
    ("steps", "events", "message"),
    [
        (10, {2.5: {"batch_size": 8}}, "events has a step that must be a whole number, got 2.5"),
        (10, {"3": {"batch_size": 8}}, "events has a step that must be a whole number, got '3'"),
        (10, [(3, {"batch_size": 8})], "events must be a dict by step, got list"),
        (10, {3: 8}, "a dict from setting to value for step 3, got 8"),
        (10, {3: ["balance"]}, "a dict from setting to value for step 3"),
        (float("inf"), {}, "steps must be a whole number, got inf"),
        (2.0, {}, "steps must be a whole number, got 2.0"),
    ],
)
def test_events_and_steps_that_would_never_come_are_refused(
    steps: Any, events: Any, message: str
) -> None:
    session = make()
    with pytest.raises((TypeError, ValueError), match=message):
        session.run(steps, events)
    assert session.history.steps == 0


def test_events_are_tried_with_the_batch_size_that_a_new_strategy_gets() -> None:
    strategies = {"random": RandomSampler(N, 4), "m": MPerClassSampler(Y, 4, 8)}
    session = make(strategies=strategies)
    with pytest.raises(ValueError, match="multiple of m"):
        session.run(20, {10: {"strategy": "m", "m": 8}})  # of batches of 4 then, not of 8
    assert session.history.steps == 0
    session.run(20, {10: {"strategy": "m", "batch_size": 8, "m": 8}})
    assert session.sampler.m == 8


def test_a_models_own_step_is_not_ignored() -> None:
    class Own(keras.Sequential):
        def train_step(self, data: Any) -> Any:
            return {}

    model = Own([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(TypeError, match=r"Session: Own has a train_step of its own"):
        Session(X, Y, model)


def test_what_a_session_does_not_know_is_refused() -> None:
    session = make()
    session.run(3)
    for step in (-1, 4):
        with pytest.raises(IndexError, match=f"step {step} has no settings yet; there are 0 to 3"):
            session.settings_at(step)
    assert session.settings_at(3) == session.settings
    with pytest.raises(ValueError, match="'nothing' is no setting of the data"):
        session.rebuild(nothing=1)
    with pytest.raises(IndexError, match=f"index {N} at position 1"):
        session.losses_of(np.array([0, N]))
    with pytest.raises(IndexError, match="index -1 at position 0"):
        session.losses_of(np.array([-1]))
    with pytest.raises(TypeError, match="whole numbers"):
        session.losses_of(np.array([0.5]))
    assert session.history.steps == 3
