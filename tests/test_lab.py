"""The live panel without a browser: scripted runs, the background thread, bad input."""

from __future__ import annotations

import gc
import re
import signal
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties

from batchlab import (
    BatchLab,
    ClassBalancedSampler,
    CurriculumSampler,
    MixtureSampler,
    MPerClassSampler,
    PrioritizedSampler,
    RandomSampler,
    RankSampler,
    SequentialSampler,
    Session,
    ShardedSampler,
    StratifiedSampler,
    WeightedSampler,
    datasets,
)
from batchlab.backend import keras
from batchlab.lab import kernel, worker
from batchlab.lab.drawing.microscope import Microscope
from batchlab.lab.session import FEEDBACK_LAG
from batchlab.lab.settings import HAND, SETTINGS
from batchlab.samplers import Parameter, Sampler

DATA = datasets.moons(n=200, share=0.2)
X, Y = DATA.x_train, DATA.y_train
N = len(Y)


class LossSampler(Sampler):
    """A strategy that listens: samples with a large loss come more often."""

    sharpness = Parameter(1.0, "how strongly to prefer large losses", low=0, high=4)

    def __init__(self, n: int, batch_size: int) -> None:
        super().__init__(n, batch_size)
        self.known = np.ones(n)

    def update(self, indices: Any, losses: Any) -> None:
        self.known[indices] = losses

    def draw(self, size: int) -> Any:
        chances = (self.known + 0.01) ** self.sharpness
        return np.searchsorted(np.cumsum(chances) / chances.sum(), self.uniforms(size))


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def shown(lab: BatchLab) -> set[str]:
    """The settings that the panel shows, but for those of its look."""
    names = {name for name, control in lab.controls.items() if control.layout.display != "none"}
    return {name for name in names if re.fullmatch("[a-z_0-9]+", name)} - {"theme", "width"}


def batches(lab: BatchLab) -> list[list[int]]:
    return [indices.tolist() for indices in lab.history.indices]


def weights(lab: BatchLab) -> list[Any]:
    return [array.copy() for array in lab.model.get_weights()]


def assert_same(one: list[Any], two: list[Any]) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


EVENTS = {
    10: {"strategy": "class-balanced", "balance": 0.5},
    17: {"batch_size": 7, "learning_rate": 0.001},
    25: {"balance": 0.0},
    30: {"strategy": "random"},
}


def test_events_take_effect_at_their_step() -> None:
    lab = BatchLab(X, Y)
    history = lab.run(40, events=EVENTS)
    assert [(e.step, e.name, e.value) for e in history.events] == [
        (step, name, value) for step, changes in EVENTS.items() for name, value in changes.items()
    ]
    assert [len(b) for b in history.indices[16:18]] == [32, 7]
    rare = [np.mean(Y[np.concatenate(history.indices[a:b])]) for a, b in ((0, 10), (10, 25))]
    assert rare[0] < 0.25 < rare[1]


def test_replaying_the_events_repeats_batches_and_weights() -> None:
    first, second = BatchLab(X, Y), BatchLab(X, Y)
    first.run(40, events=EVENTS)
    replay: dict[int, dict[str, Any]] = {}
    for event in first.history.events:
        replay.setdefault(event.step, {})[event.name] = event.value
    second.run(40, events=replay)
    assert batches(first) == batches(second)
    assert_same(weights(first), weights(second))


@pytest.mark.parametrize("make", [LossSampler, PrioritizedSampler])
def test_result_does_not_depend_on_how_the_steps_are_cut(make: Any) -> None:
    first, second = (BatchLab(X, Y, strategies={"listening": make(N, 16)}) for _ in range(2))
    first.run(60)
    for steps in (1, 2, 30, 20, 7):
        second.run(steps)
    assert batches(first) == batches(second)
    assert_same(weights(first), weights(second))


def test_feedback_arrives_at_multiples_of_the_lag_and_at_the_end_of_an_epoch() -> None:
    sampler = LossSampler(N, 6)
    assert (len(sampler), FEEDBACK_LAG) == (24, 16)
    lab = BatchLab(X, Y, strategies={"loss": sampler})
    heard = 0
    for step in range(1, 34):
        lab.run(1)
        # That an epoch is over is found out when its next batch is asked for.
        heard = {16: 16, 25: 24, 32: 32}.get(step, heard)
        told = np.flatnonzero(lab.sampler.known != 1)
        assert set(told) == {i for batch in lab.history.indices[:heard] for i in batch}
    assert (sampler.known == 1).all(), "the panel works with copies"


def test_live_run_can_be_replayed() -> None:
    lab = BatchLab(X, Y, strategies={"loss": LossSampler(N, 16), "random": RandomSampler(N, 16)})
    lab.play()
    wait_for(lambda: lab.history.steps > 20)
    lab.controls["sharpness"].value = 3.0
    wait_for(lambda: len(lab.history.events) == 1)
    lab.controls["strategy"].value = "random"
    wait_for(lambda: len(lab.history.events) == 2)
    lab.stop()
    assert lab.board.error.value == ""
    again = BatchLab(X, Y, strategies={"loss": LossSampler(N, 16), "random": RandomSampler(N, 16)})
    again.run(lab.history.steps, {e.step: {e.name: e.value} for e in lab.history.events})
    assert batches(again) == batches(lab)
    assert_same(weights(again), weights(lab))


def test_reset_goes_back_to_the_first_weights_and_batches() -> None:
    lab = BatchLab(X, Y)
    start = weights(lab)
    lab.run(10)
    first, trained = batches(lab), weights(lab)
    lab.reset()
    assert lab.history.steps == 0
    assert_same(weights(lab), start)
    lab.run(10)
    assert batches(lab) == first
    assert_same(weights(lab), trained)


def test_reset_keeps_what_the_sliders_say() -> None:
    lab = BatchLab(X, Y)
    lab.run(10, events={5: {"strategy": "class-balanced", "balance": 0.25}})
    lab.reset()
    lab.run(1)
    assert lab.sampler.balance == 0.25
    assert [(e.step, e.name) for e in lab.history.events] == [(0, "strategy"), (0, "balance")]


def test_of_many_slider_moves_the_last_one_counts() -> None:
    lab = BatchLab(X, Y)
    lab.play()
    for size in range(1, 101):
        lab.controls["batch_size"].value = size
    lab.controls["batch_size"].value = 21
    wait_for(lambda: lab.sampler.batch_size == 21)
    lab.stop()
    assert lab.history.events[-1].value == 21


def test_step_trains_exactly_one_batch() -> None:
    lab = BatchLab(X, Y)
    lab.step()
    wait_for(lambda: not lab.playing and lab.history.steps == 1)
    lab.step(3)
    wait_for(lambda: lab.history.steps == 4)
    time.sleep(0.1)
    assert lab.history.steps == 4


def test_playing_ends_by_itself_and_leaves_no_thread() -> None:
    lab = BatchLab(X, Y, max_steps=5)
    wait_for(lambda: not threads())  # those of the test before
    before = threading.active_count()
    for plays in (1, 2):  # counted from the last Play
        lab.controls["Play"].value = True
        wait_for(lambda steps=plays * 5: lab.history.steps == steps and not lab.playing)
        wait_for(lambda: threading.active_count() == before)
        assert "nobody did so for 5 steps; Play goes on" in lab.board.status.value
        assert lab.controls["Play"].value is False
    lab.step()
    wait_for(lambda: lab.history.steps == 11 and not threads())
    lab.pause()
    lab.board.show_state(lab.worker.state, playing=False)
    assert "nobody" not in lab.board.status.value


def test_error_in_training_is_shown_and_the_panel_goes_on() -> None:
    lab = BatchLab(X, Y)
    draw = lab.sampler.draw
    lab.sampler.draw = lambda size: 1 / 0
    lab.play()
    wait_for(lambda: "ZeroDivisionError" in lab.board.error.value)
    wait_for(lambda: not lab.playing)
    lab.sampler.draw = draw
    lab.step()
    wait_for(lambda: lab.history.steps == 1)
    assert lab.board.error.value == ""


def test_running_the_cell_again_stops_the_previous_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_present_cell", lambda: "cell 1")
    first = BatchLab(X, Y)
    first.play()
    wait_for(lambda: first.history.steps > 0)
    monkeypatch.setattr(kernel, "_present_cell", lambda: "cell 2")
    other = BatchLab(X, Y)
    other.play()
    monkeypatch.setattr(kernel, "_present_cell", lambda: "cell 1")
    BatchLab(X, Y)
    assert not first.playing
    assert first.widget.comm is None, "its place on the page is taken"
    assert other.playing
    other.stop()
    first.play()
    assert not first.playing, "a stopped panel stays stopped"


def test_a_stopped_panel_that_is_shown_again_works_again() -> None:
    lab = BatchLab(X, Y)
    lab.run(3)
    lab.stop()
    assert "show the panel again" in lab.board.status.value
    assert lab.controls["Play"].disabled
    lab.show()
    assert not lab.controls["Play"].disabled
    lab.controls["Step"].click()
    wait_for(lambda: lab.history.steps == 4 and not threads())
    lab.stop()
    lab.stop()


def test_only_the_settings_of_the_strategy_are_shown() -> None:
    lab = BatchLab(X, Y)

    common = {"strategy", "batch_size", "learning_rate", "speed", "label_noise", "imbalance", "seed"}
    assert shown(lab) == common | {"replacement"}
    lab.controls["strategy"].value = "class-balanced"
    assert "balance" in shown(lab)
    lab.controls["strategy"].value = "sequential"
    assert shown(lab) == common


def test_output_for_a_notebook_has_a_picture_and_words() -> None:
    lab = BatchLab(X, Y, classes=DATA.classes)
    lab.run(20, events={10: {"strategy": "class-balanced"}})
    bundle = lab.views.still()[0]
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "after 20 steps" in bundle["text/plain"]
    assert "class inner is 20% of the data" in bundle["text/plain"]


def test_picture_changes_with_the_run() -> None:
    lab = BatchLab(X, Y)
    before = lab.views.still()[0]["image/png"]
    lab.run(10)
    assert lab.views.still()[0]["image/png"] != before


def test_own_model_with_one_sigmoid_output_and_string_labels() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    names = np.array(["a", "b"])[Y]
    lab = BatchLab(X, names, model, validation_data=(X, names))
    lab.run(30)
    assert lab.model is model
    assert 0 <= lab.a.scores[-1][1] <= 1
    assert "class b" in lab.views.still()[0]["text/plain"]


def test_images_and_many_classes() -> None:
    digits = datasets.digits_long_tailed()
    lab = BatchLab(digits.x_train, digits.y_train)
    lab.run(60)
    assert lab.a.scores[-1][1] > lab.a.scores[0][1]


def uncompiled() -> Any:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])


def test_rejects_model_that_is_not_compiled() -> None:
    with pytest.raises(ValueError, match="not compiled"):
        BatchLab(X, Y, uncompiled())


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X[:, 0], Y, {}, "x must hold numbers and have shape"),
        (X.astype(str), Y, {}, "x must hold numbers"),
        (X[:5], Y, {}, "one row per sample each, got 5 and"),
        (X[:0], Y[:0], {}, "one class per sample"),
        (X, Y + 0.5, {}, "whole numbers or strings"),
        (X, np.eye(2)[Y], {}, "argmax"),
        (X, Y, {"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        (X, Y, {"batch_size": -3}, "batch_size must be 1 or more, got -3"),
        (X, Y, {"batch_size": True}, "batch_size must be a whole number, got True"),
        (X, Y, {"batch_size": 8.0}, "batch_size must be a whole number, got 8.0"),
        (X, Y, {"batch_size": N + 1}, f"must not be larger than the {N} samples"),
        (X, Y, {"max_steps": 0}, "max_steps"),
        (X, Y, {"strategies": {}}, "at least one sampler"),
        (X, Y, {"strategies": {"s": RandomSampler(9, 3)}}, "was made for 9"),
        (X, Y, {"strategies": {"s": 3}}, "iterable of index arrays"),
        (X, Y, {"classes": ["one"]}, "classes must name the 2 classes"),
        (X, Y, {"validation_data": (X, Y + 5)}, "classes that y does not have"),
    ],
)
def test_rejects_bad_input(x: Any, y: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        BatchLab(x, y, **options)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({3: {"balance": 0.5}}, "'balance' is no setting of the strategy 'random'"),
        ({3: {"strategy": "best"}}, "strategy must be one of"),
        ({3: {"strategy": "class-balanced", "balance": 2}}, "balance must be from 0 to 1, got 2"),
        ({3: {"batch_size": N + 1}}, f"batch_size must be from 1 to {N}"),
        ({3: {"learning_rate": float("nan")}}, "learning_rate"),
        ({10: {"batch_size": 8}}, "this run goes from step 0 to 9"),
        ({-1: {"batch_size": 8}}, "this run goes from step 0 to 9"),
        ({2: {"batch_size": 8}, 5: {"sharpness": 1}}, "'sharpness' is no setting"),
    ],
)
def test_rejects_bad_events_before_training(events: dict[int, Any], message: str) -> None:
    lab = BatchLab(X, Y)
    start = weights(lab)
    with pytest.raises((TypeError, ValueError), match=message):
        lab.run(10, events=events)
    assert lab.history.steps == 0
    assert lab.history.events == []
    assert_same(weights(lab), start)


def test_balance_slider_moves_the_class_mix() -> None:
    lab = BatchLab(X, Y, strategies={"balanced": ClassBalancedSampler(Y, 32)})
    lab.run(200, events={100: {"balance": 0.0}})
    halves = [np.concatenate(lab.history.indices[a : a + 100]) for a in (0, 100)]
    balanced, plain = (np.mean(Y[half]) for half in halves)
    assert balanced == pytest.approx(0.5, abs=0.05)
    assert plain == pytest.approx(np.mean(Y), abs=0.05)


def test_a_refused_setting_is_explained_and_put_back() -> None:
    lab = BatchLab(X, Y, strategies={"m": MPerClassSampler(Y, 4, 8)})
    lab.controls["m"].value = 3
    lab.step()
    wait_for(lambda: lab.history.steps == 1)
    assert "must be a multiple of m" in lab.board.error.value
    assert lab.controls["m"].value == lab.sampler.m == 4
    assert lab.history.events == []


def test_events_that_a_sampler_refuses_are_refused_before_training() -> None:
    lab = BatchLab(X, Y, strategies={"m": MPerClassSampler(Y, 4, 8)})
    with pytest.raises(ValueError, match="must be a multiple of m"):
        lab.run(10, events={5: {"m": 3}})
    assert (lab.history.steps, lab.sampler.m) == (0, 4)


def test_a_ratio_that_gives_way_is_shown() -> None:
    lab = BatchLab(X, Y, strategies={"s": StratifiedSampler(Y, 16)})
    lab.controls["ratio_0"].value = 0.25
    lab.run(1)
    assert lab.controls["ratio_1"].value == pytest.approx(0.75)
    assert [event.name for event in lab.history.events] == ["ratio_0"]


def test_a_slider_may_round_what_it_is_shown_but_that_is_no_event() -> None:
    lab = BatchLab(X, Y, strategies={"balanced": ClassBalancedSampler(Y, 32, balance=0.333)})
    lab.controls["balance"].value = 0.33  # what the browser gives back for 0.333
    lab.controls["learning_rate"].value = 0.01 * (1 + 1e-12)
    lab.run(1)
    assert lab.history.events == []
    assert lab.sampler.balance == 0.333


def test_a_value_beyond_the_slider_is_shown_and_kept() -> None:
    lab = BatchLab(X, Y, strategies={"rank": RankSampler(N, 16)})
    lab.run(2, events={1: {"pressure": 5000.0, "learning_rate": 1e-6}})
    lab.run(1)
    assert lab.sampler.pressure == 5000
    assert lab.controls["pressure"].value == pytest.approx(5000)
    assert len(lab.history.events) == 2


def test_every_strategy_works_in_the_panel() -> None:
    halves = {name: RandomSampler(N // 2, 1, seed=seed) for seed, name in enumerate("ab")}
    strategies = {
        "sequential": SequentialSampler(N, 16),
        "weighted": WeightedSampler(np.arange(1, N + 1), 16),
        "stratified": StratifiedSampler(Y, 16),
        "m per class": MPerClassSampler(Y, 4, 8),
        "curriculum": CurriculumSampler(X[:, 0], 16),
        "prioritized": PrioritizedSampler(N, 16),
        "rank": RankSampler(N, 16),
        "mixture": MixtureSampler(halves, batch_size=16),
        "shard": ShardedSampler(RandomSampler(N, 16), 2, 0),
    }
    lab = BatchLab(X, Y, strategies=strategies)
    for name in strategies:
        lab.controls["strategy"].value = name
        lab.run(3)
        assert lab.sampler is lab.a.samplers[name]
        assert set(lab.settings) - set(HAND) == shown(lab)
    assert lab.board.error.value == ""


# -- two runs, and data that change ----------------------------------------------------------------


def test_two_runs_start_alike_and_differ_in_what_was_chosen() -> None:
    lab = BatchLab(X, Y, versus={"strategy": "class-balanced", "balance": 0.5})
    assert_same(weights(lab), lab.b.model.get_weights())
    lab.run(30, events={10: {"batch_size": 8}}, versus_events={20: {"learning_rate": 0.1}})
    assert lab.a.history.steps == lab.b.history.steps == 30
    assert [(e.step, e.name) for e in lab.b.history.events] == [
        (0, "strategy"),
        (0, "balance"),
        (20, "learning_rate"),
    ]
    alone = BatchLab(X, Y)
    alone.run(30, events={10: {"batch_size": 8}})
    assert_same(weights(lab), weights(alone))


def test_twin_of_the_users_model_has_its_first_weights_and_settings() -> None:
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((2,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    lab = BatchLab(X, Y, model, versus={})
    lab.run(20)
    assert lab.b.model is not model
    assert_same(weights(lab), lab.b.model.get_weights())
    assert batches(lab) == [indices.tolist() for indices in lab.b.history.indices]


def test_model_that_cannot_be_cloned_is_refused_with_the_mend() -> None:
    class Own(keras.Model):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer

        def call(self, x: Any) -> Any:
            return self.layer(x)

    model = Own(keras.layers.Dense(2, "softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"cannot be cloned: .*register_keras_serializable"):
        BatchLab(X, Y, model, versus={"strategy": "sequential"})
    lab = BatchLab(X, Y, model)
    lab.controls["Compare with B"].value = True
    wait_for(lambda: "cannot be cloned" in lab.board.error.value)
    wait_for(lambda: not lab.controls["Compare with B"].value)
    lab.run(2)
    assert lab.b is None


def test_at_equal_time_the_slower_run_makes_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = BatchLab(X, Y, versus={}, pace="time")
    lab.run(10)  # compiled
    lab.reset()
    advance = lab.b.advance

    def slowly(steps: int) -> None:
        advance(steps)
        lab.b.clock["training"] += 0.1

    lab.b.advance = slowly
    lab.run(100, versus_events={0: {"batch_size": 8}})
    assert lab.a.history.steps == 100
    assert 0 < lab.b.history.steps < 100
    assert lab.b.time_used >= lab.a.time_used
    assert lab.b.history.events[0].value == 8
    lab.step(50)
    wait_for(lambda: lab.a.history.steps == 150 and not lab.playing)
    lab.stop()


def test_events_of_b_need_b() -> None:
    with pytest.raises(ValueError, match=r"versus_events are for run B"):
        BatchLab(X, Y).run(5, versus_events={0: {"batch_size": 8}})


def test_sliders_show_and_change_the_run_that_is_chosen() -> None:
    lab = BatchLab(X, Y, versus={"batch_size": 8})
    assert lab.controls["batch_size"].value == 32
    lab.controls["Shown run"].value = 1
    wait_for(lambda: lab.controls["batch_size"].value == 8)
    lab.controls["batch_size"].value = 5
    lab.controls["Shown run"].value = 0
    wait_for(lambda: lab.controls["batch_size"].value == 32)
    lab.run(3)
    sizes = [[len(batch) for batch in session.history.indices] for session in (lab.a, lab.b)]
    assert sizes == [[32, 32, 32], [5, 5, 5]]


def test_comparison_can_be_begun_and_ended_in_the_panel() -> None:
    lab = BatchLab(X, Y)
    lab.run(10, events={5: {"batch_size": 7}})
    lab.controls["Compare with B"].value = True
    wait_for(lambda: lab.b is not None and lab.history.steps == 0)
    wait_for(lambda: lab.controls["Shown run"].layout.display is None)
    lab.run(3)
    assert len(lab.a.batch(0)) == len(lab.b.batch(0)) == 7
    assert_same(weights(lab), lab.b.model.get_weights())
    lab.controls["Compare with B"].value = False
    wait_for(lambda: lab.b is None)
    wait_for(lambda: lab.controls["Shown run"].layout.display == "none")


def test_data_sliders_start_anew_at_once_and_keep_the_other_settings() -> None:
    lab = BatchLab(X, Y)
    lab.run(10, events={5: {"strategy": "class-balanced", "balance": 0.5}})
    lab.controls["label_noise"].value = 0.3
    wait_for(lambda: lab.history.steps == 0)
    wait_for(lambda: lab.a.data_settings["label_noise"] == 0.3)
    assert (lab.a.labels != Y).sum() == round(0.3 * N)
    wait_for(lambda: lab.a.settings.get("balance") == 0.5)
    lab.rebuild(imbalance=8.0, seed=4)
    assert lab.a.data_settings == {"label_noise": 0.3, "imbalance": 8.0, "seed": 4}
    assert lab.sampler.seed == 4
    lab.run(3)


def test_refused_data_setting_is_explained_and_put_back() -> None:
    lab = BatchLab(X, Y, batch_size=128)
    lab.run(2)
    lab.controls["imbalance"].value = 100.0
    wait_for(lambda: "batch_size must not be larger" in lab.board.error.value)
    wait_for(lambda: lab.controls["imbalance"].value == 1.0)
    assert lab.history.steps == 2


def test_ready_made_samplers_have_no_data_sliders_and_the_panel_says_why() -> None:
    lab = BatchLab(X, Y, strategies={"random": RandomSampler(N, 16)})
    assert not {"label_noise", "imbalance", "seed"} & set(lab.controls)
    assert any("ready-made" in getattr(part, "value", "") for part in lab.widget.children)


def test_every_control_has_a_help_and_a_row_in_the_table() -> None:
    lab = BatchLab(X, Y)
    assert shown(lab) == set(lab.settings) - set(HAND)  # those are pointed at
    for name, control in lab.controls.items():
        assert control.tooltip or control.tooltips, name


# -- robust ------------------------------------------------------------------------------------------


def test_a_hundred_starts_and_stops_leave_no_thread_and_no_memory() -> None:
    lab = BatchLab(X, Y)
    lab.views.picture.png = lambda: b""  # drawing has tests of its own
    lab.run(1)

    def start_and_stop(times: int) -> int:
        for number in range(times):
            lab.play() if number % 2 else lab.step()
            lab.pause()
        wait_for(lambda: "BatchLab" not in {thread.name for thread in threading.enumerate()})
        lab.reset()
        gc.collect()
        # Matplotlib keeps texts that it measured, up to a limit: each is a tuple and a font with a dict.
        objects = gc.get_objects()
        return len(objects) - 3 * sum(isinstance(each, FontProperties) for each in objects)

    start_and_stop(10)
    before = start_and_stop(10)
    assert start_and_stop(100) < before + 200


def test_stopped_panel_is_garbage() -> None:
    lab = BatchLab(X, Y, versus={"strategy": "prioritized"})
    history = lab.history
    lab.play()
    wait_for(lambda: history.steps > 3)
    lab.stop()
    assert lab.controls["Play"].disabled
    remains = [weakref.ref(thing) for thing in (lab, lab.a, lab.model, lab.b, lab.views.picture)]
    del lab
    gc.collect()
    assert [ref() for ref in remains] == [None] * 5


def test_two_panels_do_not_disturb_each_other() -> None:
    alone = BatchLab(X, Y)
    alone.run(60)
    labs = [BatchLab(X, Y, max_steps=60), BatchLab(X, Y, strategies={"l": LossSampler(N, 8)})]
    for lab in labs:
        lab.step(60)
    for lab in labs:
        wait_for(lambda lab=lab: lab.history.steps == 60 and not lab.playing)
        lab.stop()
    assert_same(weights(labs[0]), weights(alone))
    assert len(labs[1].a.batch(59)) == 8


def test_failing_control_shows_its_traceback_and_the_panel_goes_on() -> None:
    lab = BatchLab(X, Y)
    lab.controls["File"].value = "no/such/folder/run"
    lab.controls["CSV"].click()
    wait_for(lambda: "FileNotFoundError" in lab.board.error.value)
    lab.controls["Step"].click()
    wait_for(lambda: lab.history.steps == 1)
    assert lab.board.error.value == ""


def test_failing_picture_shows_its_traceback_and_the_panel_goes_on() -> None:
    lab = BatchLab(X, Y)
    lab.views.picture.png = lambda: 1 / 0
    lab.play()
    wait_for(lambda: "ZeroDivisionError" in lab.board.error.value and not lab.playing)
    lab.worker.join()  # the last picture fails as well
    del lab.views.picture.png
    lab.step()
    wait_for(lambda: lab.board.error.value == "" and not lab.playing)
    lab.stop()


def test_a_step_that_is_asked_for_while_the_last_picture_fails_is_trained() -> None:
    lab = BatchLab(X, Y)
    box, claim = lab.worker.box, lab.worker.box.claim
    drawn_at: list[int] = []

    def failing() -> None:
        drawn_at.append(lab.history.steps)
        if len(drawn_at) == 2:  # the last one, after the first has stopped the training
            thread = threading.current_thread()
            box.claim = lambda most: thread.join() or claim(most)  # the next one is slow to begin
            lab.step()
        raise ZeroDivisionError

    lab.views.picture.png = failing
    lab.play()
    wait_for(lambda: len(drawn_at) > 2)
    assert drawn_at[1] == drawn_at[0] < drawn_at[2]
    lab.stop()


def test_interrupt_ends_a_scripted_run_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = BatchLab(X, Y)
    score = lab.a.score_if_due

    def interrupted() -> None:
        score()
        signal.raise_signal(signal.SIGINT)

    lab.a.score_if_due = interrupted
    with pytest.raises(KeyboardInterrupt):
        lab.run(100)
    del lab.a.score_if_due
    steps = lab.history.steps
    assert 0 < steps < 100
    lab.run(40 - steps)
    alone = BatchLab(X, Y)
    alone.run(40)
    assert_same(weights(lab), weights(alone))


def test_files_and_recipe_from_the_panel(tmp_path: Path) -> None:
    lab = BatchLab(X, Y)
    lab.controls["10 steps"].click()
    wait_for(lambda: lab.history.steps == 10 and not lab.playing)
    lab.controls["File"].value = str(tmp_path / "mine")
    for label in ("Save", "CSV", "PNG", "SVG"):
        lab.controls[label].click()
    wait_for(lambda: len(list(tmp_path.glob("mine.*"))) == 4)  # not what is still being written
    assert lab.board.error.value == ""
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["mine.csv", "mine.json", "mine.png", "mine.svg"]
    lab.controls["Recipe"].click()
    wait_for(lambda: ".run(" in lab.board.recipe.value)
    with pytest.raises(ValueError, match="path must end in .png or .svg, got 'a.gif'"):
        lab.export_picture("a.gif")


def test_status_says_speed_cost_and_lag() -> None:
    lab = BatchLab(X, Y)
    lab.run(30)
    for words in ("steps/s", "choosing", "chooses without losses"):
        assert words in lab.board.details.value
    lab.run(1200, events={30: {"strategy": "prioritized", "learning_rate": 10**-3.95}})
    assert "16 steps late" in lab.board.details.value
    words = re.sub("<.*?>", "", lab.board.status.value)
    assert words.startswith("❙❙ step 1\u202f230 · epoch ")
    assert re.search(r"balanced accuracy \d+%.*learning rate = 0.0001122 since step 30", words)
    lab.stop()
    assert "stopped" in lab.board.status.value


def test_status_names_the_score_and_the_difference_between_two_runs() -> None:
    def words(lab: BatchLab) -> str:
        return re.sub("<.*?>", "", lab.board.status.value)

    lab = BatchLab(X, Y, versus={"strategy": "class-balanced"})
    lab.run(50)
    a, b = (session.scores[-1][1] for session in lab.runs.sessions)
    assert f"balanced accuracy {b:.0%} ({100 * (b - a):+.0f} points on A)" in words(lab)
    assert words(lab).count("on A") == 1
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    lab = BatchLab(X, X.sum(axis=1, keepdims=True), model)
    lab.run(3)
    assert "mae" in words(lab) and "accuracy" not in words(lab)


# -- what a learner sees and does ------------------------------------------------------------------


def test_rows_of_controls_stay_where_they_are() -> None:
    lab = BatchLab(X, Y)
    counts = set()
    for strategy in lab.a.samplers:
        lab.controls["strategy"].value = strategy
        counts.add(sum(part.layout.display != "none" for part in lab.board.settings.children))
    assert len(counts) == 1


def test_what_does_nothing_is_greyed_out() -> None:
    lab = BatchLab(X, Y)
    lab.controls["strategy"].value = "class-balanced"
    assert lab.controls["effective_beta"].disabled
    lab.controls["scheme"].value = "effective"
    assert not lab.controls["effective_beta"].disabled
    lab.run(1, events={0: {"scheme": "inverse"}})
    assert lab.controls["effective_beta"].disabled


def test_sliders_give_short_numbers_and_bear_the_names_of_classes() -> None:
    lab = BatchLab(X, Y, classes=["outer", "inner"])
    lab.controls["learning_rate"].value = 10**-3.95  # as a slider gives it
    lab.run(1)
    assert lab.sampler is not None and lab.history.events[-1].value == 0.0001122
    assert [lab.controls[f"ratio_{n}"].description for n in (0, 1)] == ["ratio outer", "ratio inner"]
    step = lab.controls["effective_beta"].step
    assert 0.5 / step == pytest.approx(round(0.5 / step))
    assert lab.controls["balance"].step == 0.01


def test_a_drag_is_one_change_and_a_replay_of_it_is_exact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "HANDS_PAUSE", 1e9)  # the machine may be busy
    lab = BatchLab(X, Y)
    lab.run(5)
    for size in (40, 20, 10, 1):
        lab.controls["batch_size"].value = size
        lab.worker.take_letters()
        lab.runs.train(3, "step")
    events = lab.history.events
    assert [event.step for event in events] == [5, 8, 11, 14]  # it acts while it is dragged
    assert [event.drag for event in events] == [False] + [True] * (len(events) - 1)
    (change,) = lab.history.changes
    assert (change.step, change.name, change.value) == (events[0].step, "batch_size", 1)
    ticks = lab.views.picture.axes["L"].collections[-1]
    lab.views.picture.png()
    assert [segment[0, 0] for segment in ticks.get_segments()] == [change.step]
    assert "live changes: 1." in lab.views.picture.words()
    lab.save(tmp_path / "run.json")
    for again in (
        BatchLab.load(tmp_path / "run.json", X, Y).a,
        lab.a.replayed(),
        Session(X, Y),
    ):
        if not again.history.steps:
            again.run(lab.history.steps, {event.step: {event.name: event.value} for event in events})
        else:
            assert again.history.events == events
        assert_same(again.model.get_weights(), weights(lab))


def test_while_a_slider_is_dragged_its_last_value_is_taken_now_and_then() -> None:
    box = worker.LetterBox()
    for value in (1, 2, 3):
        box.write("size", value)
    assert box.take_values(rest=1e9) == {"size": 3}  # the first is heard at once
    box.write("size", 4)
    assert box.take_values(rest=1e9) == {}
    box.write("size", 5)
    assert box.take_values(rest=0) == {"size": 5}
    box.write("size", 6)
    box.write("rate", 0.1)  # another hand does not wait
    assert box.take_values(rest=1e9) == {"size": 6, "rate": 0.1}


def test_two_values_of_a_slider_with_a_pause_or_another_change_between_are_two_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "HANDS_PAUSE", 1e9)
    lab = BatchLab(X, Y)

    def taken(*moves: tuple[str, Any]) -> int:
        before = len(lab.history.changes)
        for name, value in moves:
            lab.controls[name].value = value
            lab.worker.take_letters()
        return len(lab.history.changes) - before

    assert taken(("batch_size", 20), ("batch_size", 21), ("batch_size", 22)) == 1
    assert taken(("learning_rate", 0.1), ("batch_size", 23), ("learning_rate", 0.2)) == 3
    assert taken(("strategy", "sequential"), ("strategy", "random")) == 2  # chosen, not dragged
    monkeypatch.setattr(worker, "HANDS_PAUSE", 0.0)
    assert taken(("batch_size", 30), ("batch_size", 31)) == 2


def test_a_value_that_comes_while_an_older_one_is_taken_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = BatchLab(X, Y)
    size, seen = lab.controls["batch_size"], []
    size.observe(lambda change: seen.append(change["new"]), "value")
    later = threading.Thread(target=setattr, args=(size, "value", 7))
    shown = lab.board.show_values

    def interrupted(*rest: Any) -> None:
        later.start()  # the hand moves on, on a thread of its own
        later.join(0.3)
        shown(*rest)

    size.value = 9
    monkeypatch.setattr(lab.board, "show_values", interrupted)
    lab.worker.take_letters()
    later.join()
    assert seen == [9, 7]
    monkeypatch.undo()
    lab.run(1)
    assert seen == [9, 7]
    assert lab.sampler.batch_size == 7


@pytest.mark.parametrize("change", ["label_noise", "Compare with B", "Reset"])
def test_a_run_that_was_thrown_away_comes_back(change: str) -> None:
    lab = BatchLab(X, Y)
    assert lab.controls["Undo"].layout.display == "none"
    lab.run(30, events={20: {"strategy": "prioritized", "alpha": 0.7}})
    before, chosen, labels = weights(lab), batches(lab), lab.a.labels
    if change == "Reset":
        lab.controls["Reset"].click()
    else:
        lab.controls[change].value = 0.3 if change == "label_noise" else True
    wait_for(lambda: lab.controls["Undo"].layout.display is None and not threads())
    assert lab.history.steps == 0
    lab.controls["Undo"].click()
    wait_for(lambda: lab.history.steps == 30 and not threads())
    assert lab.b is None and lab.a.labels is labels and batches(lab) == chosen
    assert_same(weights(lab), before)
    wait_for(lambda: lab.controls["strategy"].value == "prioritized")
    assert lab.controls["label_noise"].value == 0
    lab.run(20)
    alone = BatchLab(X, Y)
    alone.run(50, events={20: {"strategy": "prioritized", "alpha": 0.7}})
    assert_same(weights(lab), weights(alone))


def test_nothing_is_drawn_while_nobody_sees_it() -> None:
    lab = BatchLab(X, Y)
    drawn: list[int] = []
    show = lab.board.screen.show
    lab.board.screen.show = lambda *args, **traits: (
        drawn.append(lab.history.steps),
        show(*args, **traits),
    )
    lab.board.page.seen = False
    wait_for(lambda: not threads())
    lab.controls["10 steps"].click()
    wait_for(lambda: lab.history.steps == 10 and not threads())
    assert drawn == []
    lab.board.page.seen = True
    wait_for(lambda: drawn == [10] and not threads())


def test_the_layout_follows_the_room_there_is() -> None:
    lab = BatchLab(X, Y)
    assert lab.views.picture.look[1] == "wide"
    lab.board.page.narrow = True
    assert lab.views.picture.look[1] == "narrow"
    lab.width = "wide"
    assert lab.views.picture.look[1] == "wide"


def test_an_error_says_first_what_is_wrong() -> None:
    lab = BatchLab(X, Y)
    lab.sampler.draw = lambda size: 1 / 0
    lab.play()
    wait_for(lambda: "ZeroDivisionError" in lab.board.error.value)
    assert re.sub("<.*?>", "", lab.board.error.value).startswith("ZeroDivisionError: division by zero")
    places = [lab.widget.children.index(part) for part in (lab.board.error, lab.board.screen)]
    assert places == sorted(places)


def test_ipywidgets_7_is_refused_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipywidgets.__version__", "7.7.1")
    with pytest.raises(ImportError, match=r"needs ipywidgets 8, got 7.7.1. Run %pip install"):
        BatchLab(X, Y)


# -- what used to go wrong -------------------------------------------------------------------------


def test_an_open_microscope_is_at_the_newest_batch_of_a_new_run_too() -> None:
    lab = BatchLab(X, Y)
    lab.run(5)
    lab.controls["Batch microscope"].value = True
    wait_for(lambda: lab.controls["Past step"].value == 4 and not threads())
    lab.controls["Reset"].click()
    wait_for(lambda: lab.history.steps == 0 and not threads())
    lab.run(8)
    lab.controls["width"].value = "narrow"
    wait_for(lambda: lab.board.past_words.value.count("Step 7:") == 1 and not threads())
    assert lab.controls["Past step"].value == 7


def test_the_shown_run_may_change_while_the_microscope_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = BatchLab(X, Y, versus={"batch_size": 8})
    lab.run(3)
    look_at = Microscope.look_at

    def disturbed(glass: Microscope, step: int) -> None:
        look_at(glass, step)
        lab.controls["Shown run"].value = 1

    monkeypatch.setattr(Microscope, "look_at", disturbed)
    errors: list[str] = []
    lab.board.error.observe(lambda change: errors.append(change["new"]), "value")
    lab.controls["Batch microscope"].value = True
    wait_for(lambda: "8 samples" in lab.board.past_words.value)
    assert errors == []


def test_the_second_run_may_end_while_it_is_shown() -> None:
    lab = BatchLab(X, Y, versus={"batch_size": 8})
    lab.controls["Batch microscope"].value = True
    lab.controls["Shown run"].value = 1
    wait_for(lambda: not threads())
    lab.controls["Compare with B"].value = False
    lab.board.show_status("paused", False, lab.runs.sessions[:1])
    wait_for(lambda: lab.b is None and not threads())
    assert lab.board.error.value == ""
    assert lab.controls["Shown run"].value == 0
    assert lab.controls["batch_size"].value == 32


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "BatchLab"]


def test_nothing_waits_for_ever_for_a_sampler_that_blocks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "PATIENCE", 0.05)
    lab = BatchLab(X, Y)
    draw, blocked, go_on = lab.sampler.draw, threading.Event(), threading.Event()

    def waiting(size: int) -> Any:
        blocked.set()
        go_on.wait(120)
        return draw(size)

    lab.sampler.draw = waiting
    lab.controls["File"].value = str(tmp_path / "run")
    lab.controls["Step"].click()
    blocked.wait(60)
    try:
        lab.controls["Play"].value = False
        for name in ("Recipe", "Save", "PNG", "10 steps", "Reset"):
            lab.controls[name].click()
        lab.controls["balance"].value = 0.5
        lab.controls["theme"].value = "dark"
        lab.controls["Compare with B"].value = True
        for call in (
            lab.recipe,
            lab.reset,
            lab.show,
            lambda: lab.save(tmp_path / "mine"),
            lambda: lab.run(1),
        ):
            with pytest.raises(TimeoutError, match=r"has not ended within 0.05 s.*may hang"):
                call()
    finally:
        go_on.set()
    wait_for(lambda: not threads())
    assert lab.b is not None, "what was asked for meanwhile is done"
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "run.png"}


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_no_exception_of_a_strategy_ends_the_panel(kind: type[BaseException]) -> None:
    lab = BatchLab(X, Y)
    draw = lab.sampler.draw

    def leave(size: int) -> Any:
        raise kind

    lab.sampler.draw = leave
    lab.play()
    wait_for(lambda: kind.__name__ in lab.board.error.value and not threads())
    assert not lab.playing
    lab.sampler.draw = draw
    lab.step()
    wait_for(lambda: lab.history.steps == 1)


def test_a_panel_that_nobody_has_any_more_is_garbage() -> None:
    lab = BatchLab(X, Y, versus={"strategy": "prioritized"})
    history = lab.history
    lab.play()
    wait_for(lambda: history.steps > 3)
    control = lab.controls["balance"]
    remains = [weakref.ref(thing) for thing in (lab, lab.a, lab.model, lab.b, lab.views.picture)]
    del lab
    wait_for(lambda: not threads())
    gc.collect()
    assert [ref() for ref in remains] == [None] * 5
    assert control.comm is None, "its widgets are closed"


def test_widgets_follow_what_is_set_from_python() -> None:
    lab = BatchLab(X, Y)
    lab.speed, lab.theme, lab.width = 400.0, "dark", "narrow"
    assert lab.controls["speed"].value == pytest.approx(400)
    assert [lab.controls[name].value for name in ("theme", "width")] == ["dark", "narrow"]
    assert lab.views.picture.look == ("dark", "narrow")
    lab.rebuild(label_noise=0.2, seed=5)
    assert [lab.controls[name].value for name in ("label_noise", "seed")] == [0.2, 5]
    for name, value in {"width": "huge", "theme": "pink", "speed": 0.0, "pace": "fast"}.items():
        with pytest.raises(ValueError, match=f"BatchLab: {name} must be"):
            setattr(lab, name, value)
    assert (lab.speed, lab.theme, lab.width, lab.pace) == (400, "dark", "narrow", "step")
    with pytest.raises(ValueError, match="'nothing' is no setting"):
        lab.rebuild(nothing=1)
    assert lab.a.data_settings["seed"] == 5


def test_the_panel_has_its_own_copies_of_the_shared_declarations() -> None:
    assert BatchLab.speed is not SETTINGS["speed"]
    assert BatchLab.speed.source == "BatchLab"
    assert SETTINGS["speed"].source == ""


def test_steps_without_end_are_refused() -> None:
    for lab in (BatchLab(X, Y), BatchLab(X, Y, versus={}, pace="time")):
        with pytest.raises(TypeError, match="steps must be a whole number, got inf"):
            lab.run(float("inf"))
        with pytest.raises(TypeError, match="whole number, got 2.5"):
            lab.run(5, {2.5: {"batch_size": 8}})
        assert lab.history.steps == 0


def test_a_setting_of_a_strategy_must_not_be_named_like_one_of_the_panels() -> None:
    class Wide(RandomSampler):
        width = Parameter(0.5, "how wide", low=0, high=1)

    with pytest.raises(ValueError, match="named 'width', which is one of the panel's own"):
        BatchLab(X, Y, strategies={"wide": Wide})
