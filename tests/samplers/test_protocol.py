"""What holds for every strategy: epochs, seeds, live changes, feedback, exact resume."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from batchlab.samplers import (
    CurriculumSampler,
    MixtureSampler,
    MPerClassSampler,
    PrioritizedSampler,
    RandomSampler,
    RankSampler,
    Sampler,
    Schedule,
    ShardedSampler,
    StratifiedSampler,
    WeightedSampler,
    parameters_of,
)
from batchlab.samplers.wrapper import Wrapper
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
        expected = iter(one_by_one)
        for first in together:
            ahead = together.batches_ahead(most)
            assert ahead.dtype == np.int64
            assert ahead.shape[1:] == first.shape or not len(ahead)
            block = [first, *ahead]
            assert len(block) <= 1 + most
            rows = [next(expected) for _ in block]
            assert [row.tolist() for row in rows] == [batch.tolist() for batch in block]
            assert together.state_dict() == one_by_one.state_dict()
            if together.weighs:
                weights = [one_by_one.importance_weights(row) for row in rows]
                np.testing.assert_array_equal(
                    together.importance_weights(np.stack(block)), np.stack(weights)
                )
            indices, losses = np.concatenate(rows), losses_of(np.concatenate(rows))
            together.update(indices, losses)
            one_by_one.update(indices, losses)
        assert next(expected, None) is None


def of_many_classes(make):
    classes = np.random.default_rng(0).integers(0, 300, 900)
    return make(np.concatenate([classes, np.arange(300), np.arange(300)]))


LARGER = {  # several rounds of a deck, openings and sortings fall into one block of batches
    "stratified": lambda: StratifiedSampler(LABELS, 8),
    "stratified, many classes": lambda: of_many_classes(lambda y: StratifiedSampler(y, 32)),
    "m per class": lambda: of_many_classes(lambda y: MPerClassSampler(y, 2, 32)),
    "m per class, short rounds": lambda: MPerClassSampler(np.arange(N) % 3, 7, 14),
    "curriculum": lambda: CurriculumSampler(np.arange(500.0), 20, "step", pacing_epochs=1),
    "rank": lambda: RankSampler(500, 20, resort=0.13),
    "mixture": lambda: MixtureSampler(
        {"a": RandomSampler(30, 1), "b": WeightedSampler(np.arange(90.0), 1, False)}, batch_size=11
    ),
    "mixture expected": lambda: MixtureSampler(
        {"a": RandomSampler(30, 1), "b": PrioritizedSampler(90, 1)}, batch_size=11, exact=False
    ),
}


@pytest.mark.parametrize("make", LARGER.values(), ids=LARGER)
def test_blocks_of_batches_are_those_that_come_one_by_one(make):
    together, one_by_one = make(), make()
    blocks = []
    for epoch in range(3):
        expected = iter(one_by_one)
        for first in together:
            blocks.append(together.batches_ahead(1 + 5 * epoch))
            rows = [next(expected) for _ in range(1 + len(blocks[-1]))]
            np.testing.assert_array_equal([first, *blocks[-1]], rows)
            assert together.state_dict() == one_by_one.state_dict()
            for sampler in (together, one_by_one):
                sampler.update(np.concatenate(rows), losses_of(np.concatenate(rows), epoch))
        if epoch == 1:
            together.batch_size = one_by_one.batch_size = one_by_one.batch_size // 2
    assert max(map(len, blocks)) > 1


def test_a_source_that_fails_loses_nothing():
    def mixed(second):
        return MixtureSampler({"a": RandomSampler(40, 1), "b": second}, batch_size=8)

    class FailsOnce(RandomSampler):
        failed = False

        def draw(self, size):
            if self.position > 8 and not self.failed:
                type(self).failed = True
                raise OSError("no answer")
            return super().draw(size)

    sampler, came = mixed(FailsOnce(20, 1)), []
    with pytest.raises(OSError, match="no answer"):
        came.extend(batch.tolist() for batch in sampler)
    sampler.continue_epoch()
    assert came + lists(sampler) == lists(mixed(RandomSampler(20, 1)))


@pytest.mark.parametrize("name", ["sequential", "random", "weighted", "class-balanced"])
def test_foreseen_draws_are_made_ahead(name):
    sampler = STRATEGIES[name](batch_size=6)
    next(iter(sampler))
    assert sampler.batches_ahead(100).shape == (9, 6)


class Sorting(RandomSampler):
    """Writes into what it was given, and draws otherwise than the class it inherits from."""

    def draw(self, size):
        order = self.permuted(size)
        order.sort()
        return order


class Keeping(RandomSampler):
    """Hands out what it keeps."""

    foreseen = True

    def draw(self, size):
        if self.position == 0:
            self.kept = np.arange(self.n)
        return self.kept[self.position : self.position + size]


@pytest.mark.parametrize("make", [*STRATEGIES.values(), lambda **o: Keeping(N, **o)])
def test_a_batch_may_be_written_into(make):
    spoilt, untouched = make(batch_size=6), make(batch_size=6)
    for _ in range(2):
        expected = [batch.tolist() for batch in untouched]
        came = []
        for batch in spoilt:
            for row in (batch, *spoilt.batches_ahead(2)):
                came.append(row.tolist())
                row[:] = 0
        assert came == expected


def test_a_subclass_that_draws_otherwise_is_not_asked_for_more():
    together, expected = Sorting(N, 8), lists(Sorting(N, 8))
    assert not Sorting.foreseen
    for batch in together:
        assert [batch.tolist()] == expected[:1]
        expected = expected[1:]
        assert together.batches_ahead(3).size == 0


@EVERY
def test_a_subclass_may_draw_what_its_base_draws(make):
    sampler = make(batch_size=6)
    inside = sampler.sampler if isinstance(sampler, Wrapper) else sampler
    inside.__class__ = type(
        type(inside).__name__,
        (type(inside),),
        {"draw": lambda self, size: super(type(self), self).draw(size)},
    )
    expected = make(batch_size=6)
    for _ in range(2):
        came = []
        for batch in sampler:
            came.append(batch.tolist())
            assert sampler.batches_ahead(3).size == 0
        assert came == lists(expected)


def test_what_is_drawn_at_once_is_limited_after_an_epoch_that_was_left():
    sizes = []

    class Recorded(PrioritizedSampler):
        foreseen = True

        def draw(self, size):
            sizes.append(size)
            return super().draw(size)

    sampler = Recorded(10**6, 32)
    for _ in range(3):
        batch = next(iter(sampler))  # and the rest of the epoch is left
        sampler.update(batch, losses_of(batch))
        sampler.continue_epoch()
        next(iter(sampler))
    assert max(sizes) <= 2**13


def test_an_iterator_that_was_left_gives_nothing_ahead_of_its_successor():
    sampler = RandomSampler(N, 8)
    old = iter(sampler)
    next(old)
    next(iter(sampler))
    ahead = sampler.batches_ahead(2)
    with pytest.raises(RuntimeError, match="newest iterator"):
        next(old)
    assert sampler.position == 8 + ahead.size > 8


@EVERY
def test_an_epoch_can_be_continued(make):
    sampler, expected = make(batch_size=8), lists(make(batch_size=8))
    old = iter(sampler)
    came = [next(old).tolist(), next(old).tolist()]
    sampler.continue_epoch()
    assert came + lists(sampler) == expected
    assert sampler.epoch == 0
    with pytest.raises(RuntimeError, match="newest iterator"):
        next(old)


class Failing(RandomSampler):
    """Fails once, at the third batch of an epoch."""

    failed = False

    def draw(self, size):
        if self.position == 16 and not self.failed:
            self.failed = True
            raise KeyboardInterrupt
        return super().draw(size)


def test_a_draw_that_fails_loses_nothing():
    sampler = Failing(N, 8)
    came = []
    with pytest.raises(KeyboardInterrupt):
        came.extend(batch.tolist() for batch in sampler)
    sampler.continue_epoch()
    assert came + lists(sampler) == lists(RandomSampler(N, 8))


@EVERY
def test_an_epoch_that_nobody_saw_a_batch_of_is_not_skipped(make):
    sampler, twin = make(batch_size=8), make(batch_size=8)
    for _ in range(2):
        iter(sampler)  # and an interrupt before the first batch
        assert lists(sampler) == lists(twin)


class Returning(Sampler):
    def __init__(self, *given):
        super().__init__(10, 4)
        self.given = list(given)

    def draw(self, size):
        return self.given.pop(0)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, TypeError, r"Returning: draw\(4\) must return whole numbers, .* got None"),
        ([0.0, 1.0, 2.0, 3.0], TypeError, "shape .4,. and dtype float64"),
        ([[0, 1, 2, 3]], TypeError, r"shape \(1, 4\)"),
        ([True] * 4, TypeError, "dtype bool"),
        (["a"] * 4, TypeError, "whole numbers"),
        (3, TypeError, r"shape \(\)"),
        ([], ValueError, "gave no index at the start of epoch 0"),
        ([1, 2, 3, 4, 5], ValueError, "returned 5 indices"),
    ],
)
def test_what_is_no_batch_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        list(Returning(given))
    with pytest.raises(error, match=message):
        Returning(given).take(4)


def test_an_epoch_may_end_early():
    assert lists(Returning([1, 2, 3, 4], [5], [])) == [[1, 2, 3, 4], [5]]


def test_whether_a_sampler_listens_and_weighs():
    class Own(MixtureSampler):
        def update(self, indices, losses):
            pass

    def answers(sampler):
        return sampler.listens, sampler.weighs

    prioritized = PrioritizedSampler(N, 8)
    assert answers(RandomSampler(N, 8)) == (False, False)
    assert answers(prioritized) == (True, True)
    assert answers(ShardedSampler(prioritized, 2, 0)) == (True, True)
    assert answers(STRATEGIES["rank"](batch_size=8)) == (True, False)
    assert answers(STRATEGIES["mixture"](batch_size=8)) == (True, True)
    assert answers(MixtureSampler({"a": RandomSampler(N, 8)})) == (False, False)
    assert answers(Own({"a": RandomSampler(N, 8)})) == (True, False)
    curriculum = STRATEGIES["curriculum"](batch_size=8)
    assert not curriculum.listens
    curriculum.self_paced = True
    assert curriculum.listens


def test_a_subclass_may_have_weights_of_its_own():
    class Halved(PrioritizedSampler):
        def importance_weights(self, indices):
            return super().importance_weights(indices) / 2

    batches = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(Halved(6, 3).importance_weights(batches), np.full((2, 3), 0.5))


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
