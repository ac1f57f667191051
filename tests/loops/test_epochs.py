"""Several epochs in one call are the epochs one at a time."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from batchlab import (
    CompiledSteps,
    PrioritizedSampler,
    RandomSampler,
    Schedule,
    StratifiedSampler,
    train,
)
from batchlab.backend import keras, tf
from batchlab.loops import training
from tests.loops.models import N, assert_same_weights, data, loader, model

EPOCHS = 7
LABELS = data("dense")[1]


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_STEPS_WORTH_TRACING", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of every call of the compiled function."""
    seen: list[int] = []
    run = CompiledSteps.run

    def counted(self: CompiledSteps, group: Any, count: int | None = None) -> Any:
        seen.append(group.steps if count is None else count)
        return run(self, group, count)

    monkeypatch.setattr(CompiledSteps, "run", counted)
    return seen


def trained(sampler: Any, epochs: int = EPOCHS, metrics: Any = None, **options: Any) -> Any:
    metrics = metrics or ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(k=2)]
    net = model("dense", "adam", metrics=metrics)
    source = loader(sampler=sampler, sample_weight=options.pop("sample_weight", None))
    train(net, source, epochs, **{"verbose": 0, "jit_compile": False, **options})
    return net


def assert_same_run(one: keras.Model, other: keras.Model, tolerance: float = 0.0) -> None:
    assert_same_weights(one, other)
    assert set(one.history.history) == set(other.history.history)
    for name, expected in other.history.history.items():
        np.testing.assert_allclose(one.history.history[name], expected, rtol=tolerance)
    for name, expected in other.history.arrays().items():
        np.testing.assert_array_equal(one.history.arrays()[name], expected, err_msg=name)


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("weights", [None, np.linspace(1, 2, N)])
def test_epochs_in_one_call_do_not_change_one_bit(xla, weights, calls):
    options = {"jit_compile": xla, "sample_weight": weights}
    many = trained(RandomSampler(N, 12), **options)
    assert len(calls) < EPOCHS
    assert max(calls) > 3
    single = trained(RandomSampler(N, 12), steps_per_call=1, **options)
    assert set(calls[-3 * EPOCHS :]) == {1}
    # For another number of rows XLA adds the regularisation up in another order: into metrics only.
    assert_same_run(many, single, 1e-6 if xla else 0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomSampler(N, 7),  # no smaller last batch
        lambda: RandomSampler(N, 12, drop_last=True),
        lambda: RandomSampler(N, N),
        lambda: StratifiedSampler(LABELS, 9),
        lambda: RandomSampler(N, Schedule(5, 12, epochs=4)),  # no two epochs alike
    ],
)
def test_samplers_of_every_shape_give_the_run_of_one_step_at_a_time(make, calls):
    many = trained(make())
    together = len(calls)
    single = trained(make(), steps_per_call=1)
    assert together < many.history.steps == sum(calls[:together])
    assert_same_run(many, single)


def test_whoever_looks_at_an_epochs_end_sees_that_epochs_weights(calls):
    def seen(**options):
        values = []
        look = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: values.append(net.get_weights()[0].copy())
        )
        net = model("dense", "adam")
        train(net, loader(), EPOCHS, callbacks=[look], verbose=0, jit_compile=False, **options)
        return np.array(values)

    np.testing.assert_array_equal(seen(), seen(steps_per_call=1))
    assert max(calls) == 3


@pytest.mark.parametrize("option", ["validation_data", "checkpoint", "listening sampler"])
def test_a_call_ends_with_the_epoch_where_something_needs_its_end(option, calls, tmp_path):
    options: dict[str, Any] = {"validation_data": data("dense"), "checkpoint": tmp_path / "saved"}
    sampler = PrioritizedSampler(N, 12) if option == "listening sampler" else RandomSampler(N, 12)
    net = model("dense", "adam")
    asked = {option: options[option]} if option in options else {"lag": 100}
    train(net, loader(sampler=sampler), EPOCHS, verbose=0, jit_compile=False, **asked)
    assert calls == [3] * EPOCHS


class Looks(RandomSampler):
    """Looks at a model when an epoch starts, as one that ranks the samples anew would."""

    def epoch_started(self):
        self.seen.append(self.net.get_weights()[0].copy())


def test_a_strategy_that_acts_when_an_epoch_starts_finds_the_model_of_that_time():
    def seen(**options):
        sampler, net = Looks(N, 12), model("dense", "adam")
        sampler.net, sampler.seen = net, []
        train(net, loader(sampler=sampler), EPOCHS, verbose=0, jit_compile=False, **options)
        return np.array(sampler.seen)

    np.testing.assert_array_equal(seen(), seen(steps_per_call=1))


class Counts(keras.metrics.Metric):
    """Is reset by Python of its own, which a graph would run once."""

    resets = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return tf.zeros(())

    def reset_state(self):
        type(self).resets += 1


def test_a_metric_that_python_resets_is_reset_in_every_epoch():
    before = Counts.resets
    trained(RandomSampler(N, 12), metrics=[Counts()])
    assert Counts.resets - before >= EPOCHS


class Spoils(keras.layers.Layer):
    """Its 12th call gives NaN."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return x * tf.where(self.calls == 12, np.nan, 1.0)


def test_a_nan_epochs_later_is_named_by_its_step_and_the_weights_before_it_come_back(calls):
    def net():
        keras.utils.set_random_seed(1)
        made = keras.Sequential([keras.Input((4,)), Spoils(), keras.layers.Dense(3, "softmax")])
        made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return made

    options = {"verbose": 0, "jit_compile": False}
    spoilt, good = net(), net()
    with pytest.raises(FloatingPointError, match="nan at step 11, for samples"):
        train(spoilt, loader(), EPOCHS, restore_on_nan=True, **options)
    assert max(calls) > 3
    with pytest.raises(FloatingPointError, match="nan at step 11, for samples"):
        train(good, loader(), EPOCHS, restore_on_nan=True, steps_per_call=1, **options)
    assert spoilt.history.epoch == [0, 1, 2]
    assert spoilt.history.steps == 11
    assert np.isfinite(spoilt.get_weights()[1]).all()
    assert_same_run(spoilt, good)


def test_ctrl_c_during_a_call_of_several_epochs_leaves_a_run_that_goes_on(monkeypatch, calls):
    run = CompiledSteps.run

    def pressed(self, group, count=None):
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return run(self, group, count)

    monkeypatch.setattr(CompiledSteps, "run", pressed)
    net, source = model("dense", "adam"), loader()
    options = {"verbose": 0, "jit_compile": False}
    with pytest.raises(KeyboardInterrupt):
        train(net, source, 40, **options)
    history = net.history
    assert 3 < history.steps == sum(calls) < 120
    assert history.epoch_steps == 3
    assert len(history.epoch) == history.steps // 3 - 1
    train(net, source, 40, history=history, **options)
    whole = model("dense", "adam")
    train(whole, loader(), 40, **options)
    assert_same_run(net, whole)


class FailsLater(RandomSampler):
    def draw(self, size):
        if self.epoch == 2 and self.position:
            raise OSError("disk is gone")
        return super().draw(size)


def test_what_was_drawn_before_a_failure_epochs_later_is_trained_on_and_recorded():
    net = model("dense", "adam")
    with pytest.raises(OSError, match="disk is gone"):
        train(net, loader(sampler=FailsLater(N, 12)), EPOCHS, verbose=0, jit_compile=False)
    assert net.history.epoch == [0, 1]
    assert int(net.optimizer.iterations.numpy()) == net.history.steps == 7
    expected = trained(RandomSampler(N, 12), 2)
    assert net.history.history["loss"] == expected.history.history["loss"]


def test_the_progress_bar_names_every_epoch(capsys, calls):
    trained(RandomSampler(N, 12), verbose=1)
    out = capsys.readouterr().out
    assert len(calls) < EPOCHS
    assert all(f"Epoch {epoch}/{EPOCHS}" in out for epoch in range(1, EPOCHS + 1))
