"""A hand in a run: picks are events, and runs can be replayed with a change or from a past step."""

from __future__ import annotations

import json

import numpy as np
import pytest

from batchlab import BatchLab, HandPickedSampler, RandomSampler, Session, datasets
from batchlab.backend import keras

DATA = datasets.moons(240)


def build(kind=Session, **options):
    return kind(DATA.x_train, DATA.y_train, **options)


def weights(session):
    return [value.numpy().tolist() for value in session._variables()]


def same(one, two):
    """Whether two sessions did the same, bit for bit."""
    batches = [[batch.tolist() for batch in each.history.indices] for each in (one, two)]
    losses = [[row.tolist() for row in each.history.losses] for each in (one, two)]
    return batches[0] == batches[1] and losses[0] == losses[1] and weights(one) == weights(two)


EVENTS = {
    0: {"exclude": [3, 5]},
    7: {"pin": [9], "boost": {11: 4.0, 12: 0.5}},
    12: {"next": [7, 8, 11]},
    15: {"strategy": "prioritized", "alpha": 1.0, "correct": True},
    20: {"next": [1, 2], "fill_next": True},
    26: {"strategy": "stratified", "exclude": [3, 4], "pin": []},
}


@pytest.fixture(scope="module")
def picked():
    session = build(seed=3)
    session.run(40, EVENTS)
    session.pick([50, 51], "always")
    return session


def test_picks_are_settings_like_all_others(picked):
    assert picked.settings["exclude"] == (3, 4)
    assert picked.settings.declared["exclude"].range == f"samples from 0 to {len(picked.x) - 1}"
    assert picked.batch(12).tolist() == [7, 8, 11]
    assert picked.settings_at(12)["next"] == (7, 8, 11)
    assert picked.settings_at(11)["next"] == picked.settings_at(13)["next"] == ()
    assert {1, 2, 9} <= set(picked.batch(20).tolist())
    for step in range(40):
        batch, now = set(picked.batch(step).tolist()), picked.settings_at(step)
        assert not batch & set(now["exclude"])
        assert step == 12 or set(now["pin"]) <= batch
    assert picked.value("pin") == (50, 51)
    events = [(event.step, event.name, event.value) for event in picked.history.events]
    assert (7, "boost", {11: 4.0, 12: 0.5}) in events
    assert events[-1] == (40, "pin", (50, 51))


def test_picks_stay_when_the_strategy_changes(picked):
    assert picked.settings_at(16)["boost"] == {11: 4.0, 12: 0.5}
    assert picked.settings_at(16)["pin"] == (9,)
    assert picked.settings_at(30)["exclude"] == (3, 4)


def test_a_strategy_with_picks_of_its_own_keeps_them():
    strategies = {
        "random": RandomSampler(len(DATA.x_train), 32),
        "clean": HandPickedSampler(RandomSampler(len(DATA.x_train), 32), exclude=[5]),
    }
    session = build(strategies=strategies)
    session.apply("pin", [3])
    session.apply("strategy", "clean")
    assert (session.value("exclude"), session.value("pin")) == ((5,), ())


def test_a_replay_of_nothing_is_the_same_run(picked):
    again = picked.replayed()
    assert same(picked, again)
    assert again.settings == picked.settings
    assert again.history.events == picked.history.events


def test_events_survive_a_file_and_a_recipe(picked, tmp_path):
    lab = build(BatchLab, seed=3)
    lab.run(40, EVENTS)
    lab.pick([50, 51], "always")
    assert same(lab.a, picked)
    lab.save(tmp_path / "run.json")
    loaded = BatchLab.load(tmp_path / "run.json", DATA.x_train, DATA.y_train)
    assert same(loaded.a, picked)
    assert loaded.a.settings == picked.settings
    code = lab.recipe().replace("x, y = ...", "x, y = DATA.x_train, DATA.y_train")
    names = {"DATA": DATA}
    exec(code, names)
    assert same(names["session"], picked)
    json.dumps([event.value for event in names["session"].history.events])


def test_what_if_leaves_samples_out_from_the_first_step(picked):
    other = picked.replayed(exclude=[7, 60])
    assert not {7, 60} & set(np.concatenate(list(other.history.indices)).tolist())
    assert other.batch(12).tolist() == [8, 11]
    assert other.settings_at(30)["exclude"] == (7, 60, 3, 4)
    assert other.history.steps == 40
    larger = picked.replayed(batch_size=64, until=10)
    assert (larger.history.steps, len(larger.batch(0))) == (10, 64)


def test_another_strategy_takes_what_it_can_of_the_changes(picked):
    other = picked.replayed(strategy="sequential")
    assert {other.strategy_at(step) for step in range(40)} == {"sequential"}
    assert other.settings_at(30)["pin"] == ()


@pytest.mark.parametrize("own_model", [False, True])
def test_a_run_goes_on_from_a_past_step(own_model):
    def model():
        keras.utils.set_random_seed(1)
        network = keras.Sequential(
            [keras.Input((2,)), keras.layers.Dropout(0.2, seed=1), keras.layers.Dense(1, "sigmoid")]
        )
        network.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
        return network

    session = build(model=model() if own_model else None)
    session.run(30, {5: {"exclude": [1]}, 18: {"exclude": [1, 2]}, 20: {"batch_size": 8}})
    trained = session.model
    session.rewind(18)
    assert session.model is trained
    assert session.history.steps == 18
    assert session.value("exclude") == (1,)
    straight = build(model=model() if own_model else None)
    straight.run(18, {5: {"exclude": [1]}})
    assert same(session, straight)
    for each in (session, straight):
        each.run(10, {20: {"pin": [4]}})
    assert same(session, straight)


def test_past_steps_must_be_there(picked):
    before = weights(picked)
    for until in (-1, 41, 2.0):
        with pytest.raises((TypeError, ValueError), match="until must be"):
            picked.rewind(until)
        with pytest.raises((TypeError, ValueError), match="until must be"):
            picked.replayed(until)
    assert weights(picked) == before


def test_gestures():
    session = build()
    told = {name: lambda name=name: session.value(name) for name in ("exclude", "pin", "boost", "next")}
    session.pick([3, 4], "never")
    session.pick([5, 5], "always")
    assert (told["exclude"](), told["pin"]()) == ((3, 4), (5,))
    session.pick([4], "always")
    assert (told["exclude"](), told["pin"]()) == ((3,), (5, 4))
    session.pick([3, 9], "more")
    session.pick([9], "more", 2.0)
    session.pick([8], "less", 4.0)
    assert (told["exclude"](), told["boost"]()) == ((), {3: 5.0, 8: 0.25, 9: 10.0})
    session.pick([9, 3], "next")
    assert told["next"]() == (9, 3)
    assert len(session.history.events) == 9
    session.pick(range(20), "clear")
    assert [told[name]() for name in told] == [(), (), {}, ()]


@pytest.mark.parametrize(
    ("indices", "how", "message"),
    [
        ([10**6], "never", r"exclude\[0\] is 1000000"),
        ([0.5], "next", "next must hold whole numbers"),
        ([1], "sometimes", "how must be one of .*'sometimes'"),
        (range(32), "always", "pin has 32 samples"),
    ],
)
def test_refused_gestures_change_nothing(indices, how, message):
    session = build()
    session.pick([1], "never")
    before = dict(session.settings), len(session.history.events)
    with pytest.raises((TypeError, ValueError, IndexError), match=message):
        session.pick(indices, how)
    with pytest.raises((TypeError, ValueError, IndexError)):
        session.run(5, {1: {"pin": list(range(32))}})
    assert (dict(session.settings), len(session.history.events)) == before


def test_the_panel_shows_what_would_have_been():
    lab = build(BatchLab)
    lab.run(30, {10: {"strategy": "class-balanced"}})
    same_again = lab.what_if()
    assert lab.b is same_again
    assert lab.controls["Compare with B"].value
    assert same(lab.a, lab.b)
    lab.what_if(exclude=[1, 2, 3])
    assert lab.b.history.visits[[1, 2, 3]].tolist() == [0, 0, 0]
    assert lab.a.history.steps == lab.b.history.steps == 30
    lab.run(5)
    lab.branch(20)
    assert [session.history.steps for session in lab.runs.sessions] == [20, 20]
    with pytest.raises(ValueError, match="until must be from 0 to 20"):
        lab.branch(21)
    lab.pick([7], "never")
    assert (lab.a.value("exclude"), lab.b.value("exclude")) == ((7,), (1, 2, 3))
