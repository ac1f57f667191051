"""Bad input: the error names the parameter, what came and where; nothing changes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from batchlab.samplers import (
    ClassBalancedSampler,
    CurriculumSampler,
    MixtureSampler,
    MPerClassSampler,
    PrioritizedSampler,
    RandomSampler,
    RankSampler,
    Schedule,
    SequentialSampler,
    ShardedSampler,
    StratifiedSampler,
    WeightedSampler,
)
from tests.samplers.strategies import LABELS

NAN, INF = float("nan"), float("inf")
ONE = SequentialSampler(4, 2)

BUILD = [
    (lambda: WeightedSampler([1, NAN, NAN], 1), ValueError, r"weights\[1\] is NaN .*2 of 3"),
    (lambda: WeightedSampler([1, INF], 1), ValueError, r"weights\[1\] is infinite"),
    (lambda: WeightedSampler([1, 2, -3], 1), ValueError, r"weights\[2\] is negative \(-3.0"),
    (lambda: WeightedSampler([0.0, 0.0], 1), ValueError, "weights are all zero"),
    (lambda: WeightedSampler([], 1), ValueError, r"weights .* shape \(0,\)"),
    (lambda: WeightedSampler([[1.0]], 1), ValueError, r"weights .* shape \(1, 1\)"),
    (lambda: WeightedSampler(["a"], 1), TypeError, "weights must be numbers"),
    (lambda: WeightedSampler([1, 2], 1, num_samples=0), ValueError, "num_samples must be 1"),
    (
        lambda: WeightedSampler([1, 0, 2], 1, replacement=False, num_samples=3),
        ValueError,
        "num_samples=3 draws from 2 samples",
    ),
    (
        lambda: WeightedSampler([1, 0, 2], 3, replacement=False),
        ValueError,
        "batch_size .* 2 samples",
    ),
    (lambda: RandomSampler(0, 1), ValueError, "n must be from 1"),
    (lambda: RandomSampler(2.0, 1), TypeError, r"n must be a whole number, got 2.0 .*Write 2"),
    (lambda: RandomSampler(10, 11), ValueError, "batch_size must not be larger than the 10"),
    (lambda: RandomSampler(10, 0), ValueError, "batch_size must be 1 or more, got 0"),
    (lambda: RandomSampler(10, True), TypeError, "batch_size must be a whole number, got True"),
    (lambda: RandomSampler(10, 2, replacement=1), TypeError, "replacement must be True or False"),
    (lambda: RandomSampler(10, 2, seed=-1), ValueError, "seed must be 0 or more, got -1"),
    (lambda: ClassBalancedSampler([0.5, 1.0], 1), TypeError, "labels must name classes"),
    (lambda: ClassBalancedSampler(["a", None], 1), TypeError, r"labels\[1\] is None"),
    (
        lambda: ClassBalancedSampler([0, 1], 1, 1.5),
        ValueError,
        "balance must be from 0 to 1, got 1.5",
    ),
    (lambda: ClassBalancedSampler([0, 1], 1, scheme="no"), ValueError, "scheme must be one of"),
    (lambda: StratifiedSampler([0, 1], 1, {0: 0.5, 7: 0.5}), ValueError, "ratios name 7"),
    (lambda: StratifiedSampler([0, 1], 1, {0: 0.5, 1: 0.6}), ValueError, "add up to 1, got 1.1"),
    (
        lambda: StratifiedSampler([0, 1], 1, {0: 1.5, 1: -0.5}),
        ValueError,
        r"ratios\[0\] must be from",
    ),
    (lambda: StratifiedSampler([0, 1], 1, {0: NAN, 1: 0.5}), ValueError, r"ratios\[0\]"),
    (lambda: StratifiedSampler([0, 1], 1, [0.5, 0.5]), TypeError, "ratios must be a dict"),
    (lambda: StratifiedSampler([0, 1], 1, "even"), ValueError, "ratios must be .*'even'"),
    (lambda: MPerClassSampler(LABELS, 7, 7), ValueError, "m must not be larger .* class 2 has 6"),
    (lambda: MPerClassSampler(LABELS, 2, 3), ValueError, "batch_size must be a multiple of m"),
    (lambda: MPerClassSampler(LABELS, 2, 8), ValueError, "at most m \\* classes = 6"),
    (lambda: CurriculumSampler([1, NAN], 1), ValueError, r"difficulty\[1\] is NaN"),
    (lambda: CurriculumSampler([1, 2], 1, "slow"), ValueError, "pacing must be one of"),
    (lambda: CurriculumSampler([1, 2], 1, "custom"), ValueError, "needs its function"),
    (lambda: CurriculumSampler([1, 2], 1, start=0), ValueError, "start must be from"),
    (lambda: list(CurriculumSampler([1, 2], 1, lambda t: 2.0)), ValueError, "share above 0 .* 2.0"),
    (lambda: PrioritizedSampler(3, 1, alpha=-1), ValueError, "alpha must be from 0"),
    (
        lambda: PrioritizedSampler(3, 1, beta=Schedule(0, 2, 1)),
        ValueError,
        "beta must be from 0 to 1",
    ),
    (lambda: RankSampler(3, 1, pressure=0.5), ValueError, "pressure must be 1 or more"),
    (lambda: MixtureSampler({}), TypeError, "samplers must be a dict"),
    (
        lambda: MixtureSampler({name: RandomSampler(2**62, 1) for name in "abc"}, batch_size=1),
        ValueError,
        "samplers have 13835058055282163712 samples together",
    ),
    (lambda: MixtureSampler({"a": [0, 1]}), TypeError, "'a': list"),
    (lambda: MixtureSampler({"a": ONE, "b": ONE}), ValueError, "used twice"),
    (lambda: MixtureSampler({"a": ONE}, {"b": 1.0}, 2), ValueError, "ratios name 'b'"),
    (lambda: ShardedSampler(ONE, 2, 2), ValueError, "shard must be from 0 to 1, got 2"),
    (lambda: ShardedSampler(ONE, 0, 0), ValueError, "num_shards must be 1 or more"),
    (
        lambda: ShardedSampler(RandomSampler(9, 3), 2, 0),
        ValueError,
        "multiple of num_shards=2, got 3",
    ),
    (
        lambda: ShardedSampler([[0]], 1, 0),
        TypeError,
        "sampler must be a batchlab sampler, got list",
    ),
    (lambda: Schedule(0, 1, 0), ValueError, "epochs must be above 0"),
    (lambda: Schedule(0, NAN, 1), ValueError, "end must be a finite number"),
    (lambda: Schedule(0, 1, 1, "zigzag"), ValueError, "shape must be one of"),
]


@pytest.mark.parametrize(("build", "error", "message"), BUILD)
def test_building(build, error, message):
    with pytest.raises(error, match=message):
        build()


def weighted():
    return WeightedSampler(np.arange(1.0, 7.0), 2, replacement=False)


def prioritized():
    return PrioritizedSampler(6, 2)


def mixture():
    return MixtureSampler({"a": RandomSampler(4, 1), "b": PrioritizedSampler(6, 1)}, batch_size=5)


def put(name, value):
    return lambda sampler: setattr(sampler, name, value)


def tell(indices, losses):
    return lambda sampler: sampler.update(indices, losses)


CHANGE = [
    (weighted, put("weights", [1.0, 2.0]), ValueError, "each of the 6 samples, got 2"),
    (weighted, put("weights", [1, 1, 1, 1, 1, NAN]), ValueError, r"weights\[5\] is NaN"),
    (weighted, put("weights", np.zeros(6)), ValueError, "all zero"),
    (weighted, put("batch_size", 7), ValueError, "batch_size must not be larger"),
    (weighted, put("batch_size", 2.5), TypeError, "batch_size must be a whole number"),
    (weighted, put("replacement", "yes"), TypeError, "replacement must be True or False"),
    (weighted, put("replacement", Schedule(0, 1, 1)), TypeError, "cannot follow a schedule"),
    (weighted, put("batch_size", Schedule(1, 99, 1)), ValueError, "got 99"),
    (prioritized, put("alpha", NAN), ValueError, "alpha must be from 0 to 3, got nan"),
    (prioritized, tell([0, 1], [1.0, NAN]), ValueError, r"losses\[1\] is NaN"),
    (prioritized, tell([0, 1], [INF, 1.0]), ValueError, r"losses\[0\] is infinite"),
    (prioritized, tell([0, 1], [1.0]), ValueError, "each of the 2 samples, got 1"),
    (prioritized, tell([0, 6], [1.0, 1.0]), IndexError, "index 6 at position 1"),
    (prioritized, tell([0, -1], [1.0, 1.0]), IndexError, "index -1 at position 1"),
    (prioritized, tell([0.0, 1.0], [1.0, 1.0]), TypeError, "whole numbers"),
    (prioritized, tell([0, 1], ["a", "b"]), TypeError, "losses must be numbers"),
    (mixture, put("ratios", {"a": 0.5}), ValueError, "add up to 1, got 0.5"),
    (mixture, put("ratio_a", 1.5), ValueError, "ratio_a must be from 0 to 1, got 1.5"),
    (mixture, tell([0, 9], [1.0, NAN]), ValueError, r"losses\[1\] is NaN"),
    (mixture, tell([0, 10], [1.0, 1.0]), IndexError, "index 10"),
]


@pytest.mark.parametrize(("make", "change", "error", "message"), CHANGE)
def test_changing_is_refused_whole(make, change, error, message):
    sampler = make()
    epoch = iter(sampler)
    next(epoch)
    before = json.dumps(sampler.state_dict())
    with pytest.raises(error, match=message):
        change(sampler)
    assert json.dumps(sampler.state_dict()) == before
    untouched = make()
    whole = [batch.tolist() for batch in untouched]
    assert [batch.tolist() for batch in epoch] == whole[1:]


def test_a_mixture_state_with_one_bad_source_is_refused_whole():
    sampler = mixture()
    next(iter(sampler))
    before = json.dumps(sampler.state_dict())
    state = json.loads(before)
    state["samplers"]["a"]["drawn"] = 3
    state["samplers"]["b"]["losses"]["zlib"] = "!"
    with pytest.raises(ValueError, match="damaged array"):
        sampler.load_state_dict(state)
    assert json.dumps(sampler.state_dict()) == before


@pytest.mark.parametrize("state", [None, [], {}, {"sampler": "WeightedSampler"}])
def test_what_is_no_state_is_refused(state):
    for sampler in (weighted(), ShardedSampler(weighted(), 1, 0)):
        with pytest.raises(ValueError, match="cannot load this state"):
            sampler.load_state_dict(state)
