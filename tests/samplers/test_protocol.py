"""What holds for every strategy: epochs, seeds, live changes, feedback, exact resume."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from batchlab.samplers import (
    PrioritizedSampler,
    RandomSampler,
    Schedule,
    WeightedSampler,
    parameters_of,
)
from tests.samplers.strategies import LABELS, STRATEGIES, N, lists, losses_of

EVERY = pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)

# A live change of each kind of setting, where the strategy has it.
LIVE = {
    "balance": 0.3,
    "scheme": "effective",
    "replacement": True,
    "alpha": 1.0,
    "pressure": 8.0,
    "pacing": "root",
    "order": "hard-first",
    "ratio_a": 0.1,
    "ratio_1": 0.6,
    "exact": False,
    "power": 5.0,
    "m": 1,
}


def steps(sampler, feedback=True, live=False, epochs=3):
    """Batches of some epochs with feedback and live changes, and the state after each."""
    step = 0
    for _ in range(epochs):
        for batch in sampler:
            if feedback:
                sampler.update(batch, losses_of(batch, step))
            if live and step == 5:
                for name, value in LIVE.items():
                    if name in parameters_of(sampler):
                        setattr(sampler, name, value)
                sampler.batch_size = 6
            yield batch.tolist(), sampler
            step += 1


@EVERY
def test_batches_are_int64_and_in_range(make):
    sampler = make(batch_size=8)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    for batch in batches:
        assert batch.dtype == np.int64
        assert batch.ndim == 1
        assert 0 <= batch.min() <= batch.max() < N


@EVERY
def test_equal_seeds_give_equal_batches_and_epochs_differ(make):
    one, two = make(batch_size=8, seed=3), make(batch_size=8, seed=3)
    epochs = [lists(one) for _ in range(3)]
    assert epochs == [lists(two) for _ in range(3)]
    if "sequential" not in repr(one).lower():
        assert epochs[0] != epochs[1] != epochs[2]
        assert lists(make(batch_size=8, seed=4)) != epochs[0]


@EVERY
@pytest.mark.parametrize("live", [False, True], ids=["settings kept", "live changes"])
def test_resume_after_every_batch_repeats_the_rest(make, live):
    whole, states = [], []
    for batch, sampler in steps(make(batch_size=8, seed=1), live=live):
        whole.append(batch)
        states.append(json.dumps(sampler.state_dict()))
    for taken, state in enumerate(states, start=1):
        resumed = make(batch_size=8, seed=1)
        resumed.load_state_dict(json.loads(state))
        rest, step = [], taken
        while len(rest) + taken < len(whole):
            for batch in resumed:
                resumed.update(batch, losses_of(batch, step))
                if live and step == 5:
                    for name, value in LIVE.items():
                        if name in parameters_of(resumed):
                            setattr(resumed, name, value)
                    resumed.batch_size = 6
                rest.append(batch.tolist())
                step += 1
        assert rest == whole[taken:], f"resumed after batch {taken}"


@EVERY
def test_reading_changes_nothing(make):
    def run(read):
        batches = []
        for batch, sampler in steps(make(batch_size=8)):
            batches.append(batch)
            if read:
                sampler.probabilities, sampler.statistics, sampler.state_dict(), repr(sampler)
                sampler.importance_weights(np.array(batch))
        return batches

    assert run(read=True) == run(read=False)


@EVERY
def test_two_samplers_do_not_disturb_each_other(make):
    alone = [batch for batch, _ in steps(make(batch_size=8))]
    pairs = zip(steps(make(batch_size=8)), steps(make(batch_size=8, seed=9)))
    assert [first[0] for first, _ in pairs] == alone


@EVERY
def test_global_random_state_is_left_alone(make):
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    list(steps(make(batch_size=8)))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    other = make(batch_size=8)
    np.random.seed(2)  # noqa: NPY002
    assert lists(other) == lists(make(batch_size=8))


@EVERY
def test_probabilities_add_up_to_one_at_any_time(make):
    for _, sampler in steps(make(batch_size=8)):
        chances = sampler.probabilities
        if chances is not None:
            assert chances.shape == (N,)
            assert chances.dtype == np.float64
            assert chances.min() >= 0
            assert chances.sum() == pytest.approx(1)


INDEPENDENT = ("sequential", "random", "random with replacement", "keyed", "weighted",
               "weighted without replacement", "class-balanced", "rank", "user's own")  # fmt: skip


@pytest.mark.parametrize("name", INDEPENDENT)
def test_draws_do_not_depend_on_how_they_are_cut(name):
    make = STRATEGIES[name]
    whole = np.concatenate(list(make(batch_size=48, seed=5)))
    for size in (1, 7, 16):
        assert np.array_equal(np.concatenate(list(make(batch_size=size, seed=5))), whole)
    recut = make(batch_size=7, seed=5)
    parts = []
    for batch in recut:
        parts.append(batch)
        recut.batch_size = 1 + len(parts) % 9
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("make", [*STRATEGIES.values(), lambda **o: PrioritizedSampler(N, **o)])
def test_batches_drawn_ahead_are_those_that_come_one_by_one(make, most):
    together, one_by_one = make(batch_size=8, seed=1), make(batch_size=8, seed=1)
    for _ in range(3):
        batches, expected = iter(together), iter(one_by_one)
        for first in batches:
            ahead = batches.ahead(most) if hasattr(batches, "ahead") else []
            block = [first, *ahead]
            assert len(block) <= 1 + most
            rows = [next(expected) for _ in block]
            assert [row.tolist() for row in rows] == [batch.tolist() for batch in block]
            assert together.state_dict() == one_by_one.state_dict()
            weights = [one_by_one.importance_weights(row) for row in rows]
            if len(ahead) and hasattr(together, "weights_of_batches"):
                np.testing.assert_array_equal(
                    together.weights_of_batches(np.stack(block)), np.stack(weights)
                )
            indices, losses = np.concatenate(rows), losses_of(np.concatenate(rows))
            together.update(indices, losses)
            one_by_one.update(indices, losses)
        assert next(expected, None) is None


@pytest.mark.parametrize("name", ["random", "weighted", "class-balanced"])
def test_independent_draws_are_made_ahead(name):
    batches = iter(STRATEGIES[name](batch_size=6))
    next(batches)
    next(batches)  # the second block is twice as large as the first
    assert len(batches.ahead(100)) >= 1


def test_a_subclass_may_have_weights_of_its_own():
    class Halved(PrioritizedSampler):
        def importance_weights(self, indices):
            return super().importance_weights(indices) / 2

    batches = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(Halved(6, 3).weights_of_batches(batches), np.full((2, 3), 0.5))


@EVERY
def test_drop_last_leaves_out_the_smaller_batch(make):
    kept, dropped = make(batch_size=16), make(batch_size=16, drop_last=True)
    sizes = [len(batch) for batch in dropped]
    assert len(set(sizes)) == 1
    assert len(sizes) == len(dropped) == N // 16
    assert len(kept) == N // 16 + 1 == len(list(kept))


@EVERY
def test_an_epoch_that_was_left_cannot_go_on(make):
    sampler = make(batch_size=8)
    first = iter(sampler)
    next(first)
    next(iter(sampler))
    with pytest.raises(RuntimeError, match="newest iterator"):
        next(first)


@EVERY
def test_a_refused_state_changes_nothing(make):
    sampler = make(batch_size=8)
    epoch = iter(sampler)
    next(epoch)
    before = json.dumps(sampler.state_dict())

    def broken(change):
        state = json.loads(before)
        change(state.get("inside", state))
        return state

    def clear(state):
        state.clear()

    for change in (
        clear,
        lambda state: state.update(n=N + 1),
        lambda state: state.update(sampler="OtherSampler"),
        lambda state: state.update(drawn=-1),
        lambda state: state.update(drawn=10**6),
        lambda state: state.update(epoch="0"),
        lambda state: state["parameters"].update(batch_size=10**6),
        lambda state: state["parameters"].update(batch_size=0),
        lambda state: state["parameters"].pop("seed"),
        lambda state: state.update(schedules={"nothing": {"start": 0, "end": 1, "epochs": 1}}),
        lambda state: state.update(schedules={"seed": {"start": 0}}),
    ):
        with pytest.raises(ValueError, match="cannot load this state"):
            sampler.load_state_dict(broken(change))
        assert json.dumps(sampler.state_dict()) == before
    next(epoch)  # the iterator has not noticed anything


def test_states_stay_small_where_nothing_was_learned():
    sampler = WeightedSampler(np.arange(1.0, 10**5), batch_size=10, replacement=False)
    next(iter(sampler))
    assert len(json.dumps(sampler.state_dict())) < 500


def test_a_state_of_other_data_is_refused():
    sampler = WeightedSampler([1.0, 2.0], batch_size=1)
    with pytest.raises(ValueError, match="other weights"):
        sampler.load_state_dict(WeightedSampler([1.0, 3.0], batch_size=1).state_dict())
    balanced = STRATEGIES["class-balanced"](batch_size=8)
    other = type(balanced)(LABELS[::-1], batch_size=8)
    with pytest.raises(ValueError, match="other labels"):
        balanced.load_state_dict(other.state_dict())


def test_take_goes_on_over_the_end_of_the_epoch():
    sampler = RandomSampler(5, batch_size=5)
    assert sorted(sampler.take(12)[:5].tolist()) == list(range(5))
    assert sampler.epoch == 2
    assert sampler.take(0).size == 0


def test_a_schedule_moves_a_setting_until_a_value_is_assigned():
    sampler = RandomSampler(100, batch_size=Schedule(10, 50, epochs=1))
    sizes = [len(batch) for batch in sampler]
    assert sizes[0] == 10
    assert sizes == sorted(sizes[:-1]) + sizes[-1:]
    assert sum(sizes) == 100
    sampler.batch_size = 25
    assert [len(batch) for batch in sampler] == [25] * 4


def test_importing_the_samplers_does_not_import_tensorflow():
    code = "import sys, batchlab.samplers, batchlab.checks; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
