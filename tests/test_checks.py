"""The report of check_sampler: faults that must be found, samplers that must be accepted."""

from __future__ import annotations

import itertools
import random
import threading
import tracemalloc

import numpy as np
import pytest

from batchlab.checks import check_sampler
from batchlab.checks.subject import Subject
from batchlab.samplers import (
    Parameter,
    PrioritizedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedSampler,
)
from tests.samplers.strategies import LABELS, STRATEGIES, WEIGHTS, N


@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_strategy_is_accepted(make, seed):
    report = check_sampler(make(batch_size=8, seed=seed), labels=LABELS)
    assert report.ok, str(report)


# -- faults, one class each ------------------------------------------------------------------------


class Plain:
    """A correct sampler without batchlab, from which the faulty ones are made."""

    def __init__(self, n=N, batch_size=8, seed=0):
        self.n, self.batch_size, self.seed, self.epoch = n, batch_size, seed, 0

    def order(self):
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.n)

    def __len__(self):
        return (self.n + self.batch_size - 1) // self.batch_size

    def __iter__(self):
        order = self.order()
        self.epoch += 1
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]


class ArticlesTrap(Plain):
    weights = WEIGHTS + 0.1

    def order(self):
        generator = np.random.default_rng([self.seed, self.epoch])
        chances = self.weights / self.weights.sum()
        return generator.choice(self.n, size=self.n, replace=False, p=chances)


class SameEveryEpoch(Plain):
    def order(self):
        return np.random.default_rng(self.seed).permutation(self.n)


class Rotated(Plain):
    def order(self):
        return np.roll(np.random.default_rng(self.seed).permutation(self.n), 7 * self.epoch)


class GlobalNumPy(Plain):
    def order(self):
        return np.random.permutation(self.n)  # noqa: NPY002 (the fault)


class GlobalPython(Plain):
    def order(self):
        return np.array(random.sample(range(self.n), self.n))


class ForgetsTheLast(Plain):
    def order(self):
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.n - 1)


class CountsFromOne(Plain):
    def order(self):
        return super().order() + 1


class Negative(Plain):
    def order(self):
        return super().order() - 1


class Overlaps(Plain):
    def order(self):
        order = super().order()
        order[8] = order[0]
        return order


class BreaksItsPromise(Overlaps):
    replacement = False


class WrongLength(Plain):
    def __len__(self):
        return self.n // self.batch_size


class EmptyBatch(Plain):
    def __iter__(self):
        yield from super().__iter__()
        yield np.array([], dtype=int)


class Ragged(Plain):
    def __iter__(self):
        for number, batch in enumerate(super().__iter__()):
            yield batch[: 3 + number]


class IgnoresItsSeed(Plain):
    def order(self):
        return np.random.default_rng([0, self.epoch]).permutation(self.n)


class AddsSeedAndEpoch(Plain):
    def order(self):
        return np.random.default_rng(self.seed + self.epoch).permutation(self.n)


class Floats(Plain):
    def order(self):
        return super().order() / 1.0


class TwoDimensional(Plain):
    def __iter__(self):
        return (batch[:, None] for batch in super().__iter__())


class OnlyOnce(Plain):
    def __init__(self):
        super().__init__()
        self.generator = super().__iter__

    def __iter__(self):
        self.epoch += 1
        return iter(super().__iter__() if self.epoch == 1 else ())


class OneBuffer(Plain):
    def __iter__(self):
        buffer = np.empty(self.batch_size, int)
        for batch in super().__iter__():
            buffer[: len(batch)] = batch
            yield buffer[: len(batch)]


class SharedState(Plain):
    calls = [0]  # noqa: RUF012 (the fault)

    def order(self):
        self.calls[0] += 1
        return np.random.default_rng([self.seed, self.calls[0]]).permutation(self.n)


class SquaredWeights(WeightedSampler):
    @property
    def probabilities(self):
        return self.weights**2 / (self.weights**2).sum()


class DrawsTheImpossible(RandomSampler):
    @property
    def probabilities(self):
        return np.arange(self.n) / np.arange(self.n).sum()


class DoesNotAddUp(RandomSampler):
    @property
    def probabilities(self):
        return np.full(self.n, 1.0)


class StateWithArrays(RandomSampler):
    def extra_state(self):
        return {"order": np.arange(3)}


class StateWithoutPlace(Plain):
    def state_dict(self):
        return {"epoch": self.epoch - 1}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


class StateThatMoves(RandomSampler):
    def draw(self, size):
        self.log = [*getattr(self, "log", []), size]
        self.shown = getattr(self, "shown", {})
        self.shown["draws"] = len(self.log)
        return super().draw(size)

    def extra_state(self):
        self.shown = getattr(self, "shown", {})
        return {"shown": self.shown}


class ForgetsItsGenerator(Sampler):
    def draw(self, size):
        if not hasattr(self, "own"):
            self.own = np.random.default_rng(self.seed)
        return self.own.integers(self.n, size=size)


class WritesIntoLosses(PrioritizedSampler):
    def update(self, indices, losses):
        losses += 1
        super().update(indices, losses)


class SwallowsNaN(Sampler):
    def __init__(self):
        super().__init__(N, 8)
        self.scores = np.ones(N)

    def update(self, indices, losses):
        self.scores[indices] = losses

    @property
    def probabilities(self):
        return self.scores / self.scores.sum()

    def draw(self, size):
        ends = np.cumsum(self.probabilities)
        return np.searchsorted(ends, self.uniforms(size), side="right").clip(0, N - 1)

    def extra_state(self):
        return {"scores": self.scores.tolist()}

    def load_extra_state(self, state):
        self.scores = np.array(state["scores"])


class NegativeImportance(PrioritizedSampler):
    def importance_weights(self, indices):
        return -super().importance_weights(indices)


class FailsInUpdate(RandomSampler):
    def update(self, indices, losses):
        raise RuntimeError("not today")


class NeverEnds(Plain):
    def __iter__(self):
        while True:
            yield np.array([0, 1])


def options(cls):
    if issubclass(cls, WeightedSampler):
        return {"weights": WEIGHTS + 0.1, "batch_size": 8}
    return {"n": N, "batch_size": 8} if issubclass(cls, Sampler) and cls is not SwallowsNaN else {}


FAULTS = {
    SameEveryEpoch: "epochs repeat each other exactly",
    Rotated: "only shifted",
    GlobalNumPy: "np.random or random was used",
    GlobalPython: "np.random or random was used",
    ForgetsTheLast: "sample 59 never comes",
    CountsFromOne: "index 60 came",
    Negative: "index -1 came",
    BreaksItsPromise: "although replacement is False",
    WrongLength: "len() says 7, but an epoch has 8",
    EmptyBatch: "empty batches",
    IgnoresItsSeed: "it is not used",
    AddsSeedAndEpoch: "seed 1 begins with the second epoch of seed 0",
    Floats: "dtype float64",
    TwoDimensional: "shape (8, 1)",
    OnlyOnce: "epoch 1 was empty",
    OneBuffer: "changes after it was handed out",
    SharedState: "something outside the sampler decides",
    SquaredWeights: "does not follow what was stated",
    DrawsTheImpossible: "came although its stated probability was 0",
    DoesNotAddUp: "they add up to 60",
    StateWithArrays: "is not plain JSON",
    StateWithoutPlace: "starts the epoch again",
    StateThatMoves: "changes while the sampler goes on",
    ForgetsItsGenerator: "does not go on with batch",
    WritesIntoLosses: "writes into the arrays it is given",
    SwallowsNaN: "a loss of NaN spoils",
    NegativeImportance: "not one positive factor",
    FailsInUpdate: "RuntimeError: not today",
}


@pytest.mark.parametrize(("cls", "message"), FAULTS.items(), ids=lambda each: str(each)[:40])
def test_planted_faults_are_found(cls, message):
    report = check_sampler(cls(**options(cls)))
    assert not report.ok
    assert any(message in fault for fault in report.faults), str(report)


@pytest.mark.parametrize(
    ("cls", "message"),
    {
        ArticlesTrap: "these weights change the order, not the frequency",
        Overlaps: "Do batches overlap?",
        Ragged: "within an epoch they vary",
    }.items(),
)
def test_what_is_probably_not_meant_is_a_warning(cls, message):
    assert any(message in warning for warning in check_sampler(cls()).warnings)


def test_the_trap_is_recognised_from_the_weights_that_were_meant():
    report = check_sampler(Plain(), expected=WEIGHTS + 0.1)
    assert any("change the order, not the frequency" in warning for warning in report.warnings)
    uneven = WeightedSampler(WEIGHTS + 0.1, 8)
    assert check_sampler(uneven, expected=WEIGHTS + 0.1).ok
    assert not check_sampler(uneven, expected=(WEIGHTS + 0.1) ** 3).ok


def test_a_plain_class_and_iterables_of_lists_and_of_ints_are_accepted():
    class Lists(Plain):  # like PyTorch's BatchSampler
        def __iter__(self):
            return (batch.tolist() for batch in super().__iter__())

    class Singles(Plain):  # like PyTorch's RandomSampler, whose length counts samples
        def __len__(self):
            return self.n

        def __iter__(self):
            return (index for batch in super().__iter__() for index in batch.tolist())

    for sampler in (Plain(), Lists(), Singles()):
        report = check_sampler(sampler, labels=LABELS)
        assert report.ok, str(report)
        assert not report.warnings, str(report)


def test_an_epoch_without_end_is_a_fault():
    assert "did not end" in check_sampler(NeverEnds()).faults[0]


def test_a_class_that_never_comes_is_named():
    weights = np.where(LABELS == 2, 0.0, 1.0)
    names = np.array(["ant", "bee", "cat"])[LABELS]
    report = check_sampler(WeightedSampler(weights, 8), labels=names)
    assert any("class 'cat' never comes" in warning for warning in report.warnings)
    assert "ant" in str(report)


def test_the_sampler_is_left_as_it_was():
    sampler = PrioritizedSampler(N, 8)
    next(iter(sampler))
    before = sampler.state_dict()
    check_sampler(sampler)
    assert sampler.state_dict() == before


def test_the_report_reads_as_text_and_as_html():
    class Sly(SameEveryEpoch):
        name = Parameter("<b>", "a name that must be escaped")

    report = check_sampler(Sly())
    assert str(report).startswith("Sly: 1 faults")
    assert "✗ epochs" in str(report)
    shown = report._repr_html_()
    assert "<table>" in shown
    assert "✗ fault" in shown


def test_false_alarms_are_rare():
    for seed in range(60):
        report = check_sampler(WeightedSampler(WEIGHTS, 8, seed=seed))
        assert report.ok, f"seed {seed}: {report}"


def test_expected_is_checked():
    with pytest.raises(ValueError, match=r"expected\[1\] is NaN"):
        check_sampler(Plain(), expected=[1.0, np.nan, *[1.0] * (N - 2)])


# -- what was once judged falsely ------------------------------------------------------------------


def codes(report, level="fault"):
    return [each.code for each in report.findings if each.level == level]


def test_one_batch_an_epoch_is_no_fault():
    assert check_sampler(RandomSampler(60, 60)).ok
    assert check_sampler(RandomSampler(60, 60, replacement=True)).ok


def test_one_epoch_is_enough_to_look_at():
    report = check_sampler(RandomSampler(60, 8), epochs=1)
    assert report.ok, str(report)
    assert "epochs/too few" in codes(report, "note")


def test_a_large_epoch_of_small_batches_ends():
    # 1.1 million batches were once called endless.
    assert Subject(RandomSampler(1_100_000, 1), None, None, None, ()).at_most > 1_100_000


class SetsTheGlobalState(Plain):
    def order(self):
        np.random.seed(1000 * self.seed + self.epoch)  # noqa: NPY002 (the fault)
        return np.random.permutation(self.n)  # noqa: NPY002


class TwoInTurn(Plain):
    def order(self):
        return np.random.default_rng([self.seed, self.epoch % 2]).permutation(self.n)


class FirstStaysFirst(Plain):
    def order(self):
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n - 1) + 1
        return np.concatenate([[0], order])


class DrawsFloats(Sampler):
    def draw(self, size):
        return self.n * self.uniforms(size)


class LosesTheLastBatch(Plain):
    def __len__(self):
        return self.n // self.batch_size

    def __iter__(self):
        return (batch for batch in super().__iter__() if len(batch) == self.batch_size)


class OverlappingBatches(Plain):
    def __iter__(self):
        order = self.order()
        self.epoch += 1
        for start in range(0, self.n, self.batch_size):
            yield order[start : start + self.batch_size + 2]


class SmallBuffer(Plain):
    """As tf.data's ``shuffle(6)`` does it."""

    def order(self):
        generator = np.random.default_rng([self.seed, self.epoch])
        buffer, order = list(range(6)), []
        for new in range(6, self.n):
            place = generator.integers(6)
            order.append(buffer[place])
            buffer[place] = new
        return np.array([*order, *generator.permutation(buffer)])


class NegativeChances(RandomSampler):
    @property
    def probabilities(self):
        chances = np.full(self.n, 1 / self.n)
        chances[3] -= 1
        chances[4] += 1
        return chances


class TooFewChances(RandomSampler):
    @property
    def probabilities(self):
        return np.full(self.n - 1, 1 / (self.n - 1))


class Quits(Plain):
    def order(self):
        raise SystemExit("enough")


class Backwards(Plain):
    def order(self):
        return np.arange(self.n)[::-1]


FOUND = {
    SetsTheGlobalState: "global random state/used",
    TwoInTurn: "epochs/replayed",
    FirstStaysFirst: "epochs/same place",
    NegativeChances: "probabilities/no chance",
    TooFewChances: "probabilities/shape",
    Quits: "batches/failed",
    Backwards: "epochs/replayed",
}


@pytest.mark.parametrize(("cls", "code"), FOUND.items(), ids=lambda each: str(each)[:40])
def test_these_faults_are_found_once(cls, code):
    report = check_sampler(cls(**options(cls)))
    assert codes(report) == [code], str(report)


@pytest.mark.parametrize(
    ("cls", "code"),
    {
        LosesTheLastBatch: "coverage/lost",
        OverlappingBatches: "duplicates/overlap",
        SmallBuffer: "epochs/local",
    }.items(),
)
def test_these_are_warnings_and_faults_where_the_contract_says_so(cls, code):
    report = check_sampler(cls())
    assert code in codes(report, "warning"), str(report)
    report = check_sampler(cls(), contract=["once", "random"])
    assert code in codes(report), str(report)


def test_draws_that_are_no_whole_numbers_are_found():
    (found,) = check_sampler(DrawsFloats(N, 8)).faults
    assert "float" in found


def test_places_are_stated():
    class Slips(Plain):
        def order(self):
            order = super().order()
            order[19] = -1 if self.epoch == 2 else order[19]
            return order

    (found,) = [each for each in check_sampler(Slips()).findings if each.level == "fault"]
    assert (found.code, found.epoch, found.batch, found.index) == ("batches/out of range", 2, 2, -1)


@pytest.mark.parametrize("sampler", [None, 3, RandomSampler, lambda: [[1, 2]]])
def test_what_is_no_sampler_is_answered_with_one_fault(sampler):
    report = check_sampler(sampler)
    assert codes(report) == ["batches/no sampler"]


def test_an_error_is_reported_once():
    class Broken(Plain):
        def order(self):
            raise KeyError("nothing here")

    assert len(check_sampler(Broken()).findings) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": LABELS[:50]}, "labels must have one entry for each of the 60 samples, got 50"),
        ({"labels": LABELS + 0.5}, "labels must name classes"),
        ({"expected": [1, 2]}, "expected must have one entry for each of the 60 samples, got 2"),
        ({"epochs": 0}, "epochs must"),
        ({"epochs": "three"}, "epochs must"),
        ({"contract": ["rnadom"]}, "contract may hold fixed, random"),
        ({"contract": ["fixed", "random"]}, "not both"),
        ({"patience": -1}, "patience must"),
    ],
)
def test_the_callers_mistakes_are_raised_as_such(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check_sampler(Plain(), **options)


def test_a_sampler_that_blocks_is_answered():
    release = threading.Event()

    class Blocks(Plain):
        def __iter__(self):
            yield from itertools.islice(super().__iter__(), 3)
            release.wait()

    report = check_sampler(Blocks(), patience=1.0)
    release.set()
    (found,) = report.findings
    assert (found.code, found.epoch, found.batch) == ("batches/blocked", 0, 2)


def test_a_loop_without_end_is_stopped():
    before = set(threading.enumerate())

    class Spins(Plain):
        def order(self):
            while True:
                pass

    assert codes(check_sampler(Spins(), patience=0.2)) == ["batches/blocked"]
    (spinning,) = set(threading.enumerate()) - before or {threading.current_thread()}
    if spinning is not threading.current_thread():
        spinning.join(30)
        assert not spinning.is_alive()


def test_a_fixed_order_is_accepted_where_it_is_declared():
    class Declared(Backwards):
        shuffle = False

    assert check_sampler(Backwards(), contract=["fixed", "once", "seeded"]).ok
    assert check_sampler(Declared()).ok
    assert codes(check_sampler(Plain(), contract=["fixed"])) == ["epochs/not fixed"]
    assert codes(check_sampler(Declared(), contract=["random"])) == ["epochs/replayed"]
    in_order = check_sampler(SequentialSampler(N, 8), contract=["random"])
    assert codes(in_order) == ["epochs/unshuffled"]


def test_a_pool_that_grows_is_no_overlap():
    assert not check_sampler(STRATEGIES["curriculum"](batch_size=8)).warnings


def test_a_contract_is_kept_or_not():
    every = ["random", "once", "seeded", "live"]
    assert check_sampler(RandomSampler(N, 8), contract=every).ok
    drawn = check_sampler(RandomSampler(N, 8, replacement=True), contract=every)
    assert codes(drawn) == ["coverage/not once"]
    assert codes(check_sampler(Plain(), contract=every)) == ["live/lost"]

    class Seedless(Plain):
        def __init__(self):
            super().__init__()
            del self.seed

        def order(self):
            return np.random.default_rng([7, self.epoch]).permutation(self.n)

    assert codes(check_sampler(Seedless(), contract=["seeded"])) == ["seed/none"]


def test_the_global_random_state_is_left_as_it_was():
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    wanted = np.random.random(), random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    check_sampler(GlobalNumPy())
    check_sampler(GlobalPython())
    assert (np.random.random(), random.random()) == wanted  # noqa: NPY002


@pytest.mark.parametrize("batch_size", [500, 100_000])
def test_memory_is_that_of_a_few_epochs(batch_size):
    n = 100_000
    sampler = RandomSampler(n, batch_size)
    tracemalloc.start()
    try:
        assert check_sampler(sampler).ok
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 25 * 8 * n  # twenty-five arrays of n numbers; they were ninety and more
