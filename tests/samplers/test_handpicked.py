"""A hand on every strategy: what comes, how often, what is stated, and what is refused."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chisquare

from batchlab import check_sampler
from batchlab.samplers import (
    HandPickedSampler,
    PrioritizedSampler,
    RandomSampler,
    Sampler,
    Schedule,
    SequentialSampler,
    ShardedSampler,
    StratifiedSampler,
    WeightedSampler,
)
from tests.samplers.strategies import LABELS, STRATEGIES, N, lists, losses_of

STATED = {
    name: make
    for name, make in STRATEGIES.items()
    if isinstance(make(batch_size=8), Sampler) and name != "user's own"
}
EVERY = pytest.mark.parametrize("make", STATED.values(), ids=STATED)
FALSE_ALARM = 1e-6
HANDS = {
    "exclude": {"exclude": [0, 3, 40, 41, 58]},
    "pin": {"pin": [5, 59]},
    "boost": {"boost": {7: 6.0, 8: 0.2, 50: 3.0, 55: 0.0}},
    "all": {"exclude": [1, 2, 30], "pin": [5, 5], "boost": {7: 9.0, 44: 0.3}, "correct": True},
}
EVERY_HAND = pytest.mark.parametrize("hand", HANDS.values(), ids=HANDS)


def picked(n=N, batch_size=8, **hand):
    return HandPickedSampler(RandomSampler(n, batch_size), **hand)


# -- without a pick ------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("drop_last", [False, True])
def test_without_a_pick_it_is_the_strategy(make, drop_last):
    bare = make(batch_size=8, seed=2, drop_last=drop_last)
    held = HandPickedSampler(make(batch_size=8, seed=2, drop_last=drop_last))
    assert len(held) == len(bare)
    for _ in range(3):
        expected = iter(bare)
        for step, batch in enumerate(held):
            assert batch.tolist() == next(expected).tolist()
            assert (held.epoch, held.position) == (bare.epoch, bare.position)
            ahead = [row.tolist() for row in held.batches_ahead(1)]
            assert ahead == [row.tolist() for row in bare.batches_ahead(1)]
            for sampler in (bare, held):
                sampler.update(batch, losses_of(batch, step))
            if bare.probabilities is not None:
                assert np.array_equal(held.probabilities, bare.probabilities)
            if step == 3:
                held.batch_size = bare.batch_size = 6
        assert next(expected, None) is None


def test_a_pick_that_was_taken_back_leaves_no_trace():
    held, bare = picked(seed=None) if False else picked(), RandomSampler(N, 8)
    for batch, expected in zip(held, bare):
        assert batch.tolist() == expected.tolist()
        held.pin = [3]
        held.boost = {4: 2.0}
        held.pin, held.boost = [], {4: 1.0}
    assert held.boost == {}


# -- what comes ----------------------------------------------------------------------------------


@EVERY
@EVERY_HAND
def test_excluded_samples_never_come_and_pinned_ones_always(make, hand):
    held = HandPickedSampler(make(batch_size=8), **hand)
    for epoch in range(3):
        batches = list(held)
        assert len(batches) == len(held)
        for batch in batches:
            held.update(batch, losses_of(batch, epoch))
            assert not set(batch.tolist()) & set(hand.get("exclude", ()))
            for sample in set(hand.get("pin", ())):
                assert (batch == sample).sum() >= hand["pin"].count(sample)
        assert {len(batch) for batch in batches[:-1]} == {8}


def test_an_epoch_is_all_but_the_excluded_ones_once():
    for held in (
        picked(exclude=[4, 9, 9]),
        HandPickedSampler(SequentialSampler(N, 8), exclude=[4, 9]),
        HandPickedSampler(WeightedSampler(np.ones(N), 8, replacement=False), exclude=[4, 9]),
    ):
        for _ in range(3):
            drawn = np.concatenate(list(held))
            assert sorted(drawn.tolist()) == [i for i in range(N) if i not in (4, 9)]
            assert len(held) == 8


def test_excluding_within_an_epoch_brings_nothing_twice():
    held = picked()
    for epoch in range(4):
        drawn = []
        for step, batch in enumerate(held):
            drawn += batch.tolist()
            if step == 3:
                held.exclude = list(range(10 * epoch, 10 * epoch + 10))
        assert len(set(drawn)) == len(drawn) >= N - 20
    assert sorted(np.concatenate(lists(held))) == [i for i in range(N) if not 30 <= i < 40]


def test_pinned_samples_come_on_top_of_a_pass_of_the_strategy():
    held = picked(pin=[3, 3])
    batches = list(held)
    assert len(batches) == len(held) == 10
    assert np.bincount(np.concatenate(batches)).tolist() == [1] * 3 + [21] + [1] * 56
    held.drop_last, held.batch_size = True, 9
    assert [len(batch) for batch in held] == [9] * 8


def test_the_next_batch_is_exactly_these_and_then_it_goes_on():
    held, bare = picked(), lists(RandomSampler(N, 8))
    epoch = iter(held)
    first = next(epoch).tolist()
    held.next = [7, 3, 9]
    assert len(held) == 9
    assert held.probabilities[[3, 7, 9]].tolist() == [1 / 3] * 3
    assert next(epoch).tolist() == [7, 3, 9]
    assert held.next == ()
    assert [first, *(batch.tolist() for batch in epoch)] == bare


def test_the_next_batch_may_be_filled_up():
    held = picked(fill_next=True, pin=[1])
    held.next = [7, 3]
    expected = held.probabilities
    assert expected[[1, 3, 7]] == pytest.approx([1 / 8 + 5 / 8 / N] * 3)
    batch = next(iter(held))
    assert len(batch) == 8
    assert {1, 3, 7} <= set(batch.tolist())
    assert held.next == ()
    assert held.position == 5


def test_exclude_wins_over_pin_and_next():
    held = picked(exclude=[3, 4], pin=[3], next=[4])
    for batch in held:
        assert len(batch) in (8, 2)
        assert not {3, 4} & set(batch.tolist())


def test_a_stratified_batch_holds_its_shares_beside_pinned_samples():
    held = HandPickedSampler(StratifiedSampler(LABELS, 11, ratios="equal"), pin=[0, 1])
    for batch in held:
        rest = list(batch)
        rest.remove(0), rest.remove(1)
        assert len(rest) < 9 or np.bincount(LABELS[rest]).tolist() == [3, 3, 3]


class Short(RandomSampler):
    """Ends its epochs early."""

    def draw(self, size):
        return self.permuted(size)[: max(20 - self.position, 0)]


def test_an_epoch_that_ends_early_ends_with_pinned_samples_too():
    held = HandPickedSampler(Short(N, 8), pin=[3])
    assert [len(batch) for batch in held] == [8, 8, 7]
    assert [len(batch) for batch in held] == [8, 8, 7]


# -- how often -----------------------------------------------------------------------------------


@EVERY
@EVERY_HAND
def test_check_sampler_accepts_it(make, hand):
    report = check_sampler(HandPickedSampler(make(batch_size=8), **hand), epochs=6)
    assert report.ok, report


def compared(chances, came):
    """The p-value of what came in many runs against what each had stated."""
    expected = chances.sum(axis=0)
    observed = np.bincount(came, minlength=expected.size)
    assert not observed[expected == 0].any()
    order = np.argsort(expected)[np.count_nonzero(expected == 0) :]
    most = max(expected.sum() // 20 - 1, 0)
    cells = np.minimum(np.cumsum(expected[order]) // 20, most)
    cells = np.unique(cells, return_inverse=True)[1]  # of at least 20 expected draws each
    if cells.max() == 0:
        return 1.0
    return chisquare(np.bincount(cells, observed[order]), np.bincount(cells, expected[order])).pvalue


@EVERY
@EVERY_HAND
def test_stated_chances_are_true(make, hand):
    chances, came = [], []
    for seed in range(400):
        held = HandPickedSampler(make(batch_size=8, seed=seed), **hand)
        for number, member in enumerate(held.members()):
            member.seed = 3 * seed + number
        epoch = iter(held)
        for step in range(1 + 8 * (seed % 2)):
            batch = next(epoch, None)
            if batch is None:
                epoch = iter(held)
                batch = next(epoch)
            held.update(batch, losses_of(batch, step))
        if held._places() >= 0:
            chances.append(held.probabilities)
            came.append(int(next(epoch)[0]))
    assert compared(np.array(chances), came) > FALSE_ALARM


@pytest.mark.parametrize("name", ["random", "random with replacement", "weighted",
                                  "class-balanced", "stratified equal", "rank"])  # fmt: skip
def test_all_places_of_a_batch_follow_the_chances(name):
    chances, came = [], []
    for seed in range(300):
        held = HandPickedSampler(STRATEGIES[name](batch_size=8, seed=seed), **HANDS["all"])
        chances += [held.probabilities] * 8
        came += next(iter(held)).tolist()
    assert compared(np.array(chances), came) > FALSE_ALARM


def test_a_boosted_sample_comes_as_many_times_as_often():
    visits = np.zeros(600)
    held = picked(600, 20, boost={7: 5.0})
    for _ in range(200):
        visits += np.bincount(np.concatenate(list(held)), minlength=600)
    assert visits.sum() == 600 * 200
    assert visits[7] / np.median(visits) == pytest.approx(5, rel=0.15)


# -- importance weights --------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("hand", ["boost", "pin", "all"])
def test_importance_weights_undo_the_hand(make, hand):
    held = HandPickedSampler(make(batch_size=8), **{**HANDS[hand], "correct": True})
    for _ in range(9):
        held.sampler._follow_schedules()
        own, stated = held._strategys_chances(), held.probabilities
        batch = next(iter(held))
        weights = held.importance_weights(batch).astype(float)
        inside = held.sampler.importance_weights(batch)
        wanted = own / np.where(stated > 0, stated, 1)
        known = batch[own[batch] > 0]
        if known.size:
            wanted = wanted[batch] * (1 if inside is None else inside)
            scale = weights[own[batch] > 0].max() / wanted[own[batch] > 0].max()
            places = own[batch] > 0
            np.testing.assert_allclose(weights[places], scale * wanted[places], rtol=1e-5)
        assert weights.max() == 1
        assert weights.min() > 0
        held.continue_epoch()


def test_weights_are_given_where_they_are_wanted():
    held = picked(boost={3: 4.0})
    assert not held.weighs
    assert held.importance_weights([3, 4]) is None
    held.correct = True
    next(iter(held))
    assert held.weighs
    assert held.importance_weights([[3, 4], [5, 6]]).tolist() == [[0.25, 1], [1, 1]]
    assert HandPickedSampler(PrioritizedSampler(N, 8)).weighs


# -- resume --------------------------------------------------------------------------------------

samples = st.lists(st.integers(0, N - 1), max_size=5)
changes = st.one_of(
    st.tuples(st.just("exclude"), samples),
    st.tuples(st.just("pin"), samples),
    st.tuples(st.just("next"), samples),
    st.tuples(st.just("fill_next"), st.booleans()),
    st.tuples(st.just("correct"), st.booleans()),
    st.tuples(st.just("boost"), st.dictionaries(st.integers(0, N - 1), st.floats(0, 9), max_size=4)),
    st.tuples(st.just("batch_size"), st.sampled_from([6, 8, 12])),
)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(STATED)),
    plan=st.lists(st.tuples(st.integers(0, 11), changes), max_size=8),
    at=st.integers(0, 11),
)
def test_any_hand_resumes_anywhere(name, plan, at):
    held = HandPickedSampler(STATED[name](batch_size=8, seed=1))
    for step in range(12):
        for when, (setting, value) in plan:
            if when == step:
                setattr(held, setting, value)
        if step == at:
            state = json.dumps(held.state_dict())
            resumed = HandPickedSampler(STATED[name](batch_size=8, seed=1))
            resumed.load_state_dict(json.loads(state))
            assert json.dumps(resumed.state_dict()) == state
            twins = held, resumed
        if step >= at:
            for when, (setting, value) in plan:
                if when == step:
                    setattr(resumed, setting, value)
        batches = []
        for sampler in (held, resumed) if step >= at else (held,):
            batch = next(iter(sampler))
            sampler.continue_epoch()
            sampler.update(batch, losses_of(batch, step))
            weights = sampler.importance_weights(batch)
            batches.append((batch.tolist(), None if weights is None else weights.tolist()))
        assert batches[0] == batches[-1]
    assert json.dumps(twins[0].state_dict()) == json.dumps(twins[1].state_dict())


# -- what is refused -----------------------------------------------------------------------------


class Silent(RandomSampler):
    """States no chances."""

    probabilities = None


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("exclude", [1, N], IndexError, r"exclude\[1\] is 60, but the 60 samples are numbered"),
        ("pin", [-1], IndexError, r"pin\[0\] is -1"),
        ("next", [0.5], TypeError, "next must hold whole numbers, got dtype float64"),
        ("next", np.ones(N, bool), TypeError, r"Pass np.flatnonzero\(next\)"),
        ("exclude", {3, 5}, TypeError, "exclude must be an array or a list"),
        ("exclude", 3, ValueError, "exclude must hold numbers of samples, got shape"),
        ("exclude", range(N), ValueError, "exclude leaves no sample that could come: 60 of 60"),
        ("boost", np.zeros(N), ValueError, "boost leaves no sample"),
        ("boost", {3: -1.0}, ValueError, r"boost\[3\] must be 0 or more, got -1.0"),
        ("boost", {3: "x"}, TypeError, r"boost\[3\] must be a number"),
        ("boost", {N: 2.0}, IndexError, r"boost\[0\] is 60"),
        ("boost", np.ones(N - 1), ValueError, "boost must have one entry for each of the 60"),
        ("boost", Schedule(0, 1, 1), TypeError, "boost is set by hand and cannot follow"),
        ("pin", range(8), ValueError, "pin has 8 samples, but with batch_size=8 at most 7 can"),
        ("batch_size", 2, ValueError, "pin has 2 samples, but with batch_size=2"),
        ("batch_size", Schedule(9, 1, 1), ValueError, "pin has 2 samples"),
        ("correct", 1, TypeError, "correct must be True or False"),
    ],
)
def test_bad_picks_change_nothing(name, value, error, message):
    held = picked(pin=[1, 2], exclude=[9])
    before = held.state_dict()
    with pytest.raises(error, match=message):
        setattr(held, name, value)
    assert held.state_dict() == before


def test_what_the_strategy_cannot_do_is_said():
    for name, value in {"boost": {3: 2.0}, "correct": True}.items():
        with pytest.raises(ValueError, match=f"{name} needs the chances of Silent"):
            HandPickedSampler(Silent(N, 8), **{name: value})
    assert HandPickedSampler(Silent(N, 8), exclude=[3], pin=[4]).probabilities is None
    with pytest.raises(ValueError, match="no sample that could come"):
        HandPickedSampler(WeightedSampler([0, 0, 1, 1], 2), exclude=[2, 3])
    with pytest.raises(TypeError, match="Put that one around this one"):
        HandPickedSampler(ShardedSampler(RandomSampler(N, 8), 2, 0))
    shares = {0: 0.0, 1: 0.0, 2: 1.0}
    held = HandPickedSampler(StratifiedSampler(LABELS, 4, shares), exclude=range(54, 60))
    with pytest.raises(ValueError, match="no sample but excluded ones could come in this batch"):
        next(iter(held))


def test_a_refused_hand_in_a_state_changes_nothing():
    held = picked(pin=[1], boost={2: 3.0})
    next(iter(held))
    before = json.dumps(held.state_dict())
    for change in ({"exclude": [N]}, {"pin": list(range(8))}, {"boost": [[1, -1.0]]}, {"next": None}):
        state = json.loads(before)
        state["hand"].update(change)
        with pytest.raises(ValueError, match="cannot load this state"):
            held.load_state_dict(state)
        assert json.dumps(held.state_dict()) == before


def test_shards_of_a_hand_picked_batch_are_its_parts():
    whole = lists(picked(pin=[3], exclude=[4]))
    parts = [lists(ShardedSampler(picked(pin=[3], exclude=[4]), 2, shard)) for shard in (0, 1)]
    for batch, *both in zip(whole, *parts, strict=True):
        even = batch[: len(batch) // 2 * 2]
        assert sorted(even) == sorted(both[0] + both[1])


def test_it_can_be_copied_and_shown():
    held = picked(exclude=[3], boost=np.where(np.arange(N) == 5, 2.0, 1.0))
    assert lists(copy.deepcopy(held)) == lists(held)
    assert repr(held).endswith("drop_last=False, replacement=False), exclude=(3,), boost={5: 2.0})")
    held.boost[5] = 9.0
    assert held.boost == {5: 2.0}
