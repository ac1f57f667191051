"""Properties that must hold for any sizes, weights, ratios and seeds."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings, strategies as st

from batchlab.samplers import (
    ClassBalancedSampler,
    CurriculumSampler,
    KeyedPermutation,
    MixtureSampler,
    PrioritizedSampler,
    RandomSampler,
    StratifiedSampler,
    WeightedSampler,
)
from batchlab.samplers.draws.state import decode_array, encode_array
from batchlab.samplers.ratios import apportion

seeds = st.integers(0, 2**40)
sizes = st.integers(1, 80)
weight_lists = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-9, 1e9)), min_size=1, max_size=60
).filter(any)
share_lists = st.lists(st.floats(0.01, 1), min_size=1, max_size=12)
few = settings(max_examples=60, deadline=None)


def shares_of(values):
    return np.array(values) / sum(values)


def joined(sampler):
    return np.concatenate(list(sampler))


@few
@given(n=sizes, size=sizes, seed=seeds, epochs=st.integers(1, 3), drop_last=st.booleans())
def test_random_epochs_are_permutations_cut_into_batches(n, size, seed, epochs, drop_last):
    size = min(n, size)
    sampler = RandomSampler(n, size, seed=seed, drop_last=drop_last)
    for _ in range(epochs):
        batches = list(sampler)
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        flat = np.concatenate(batches)
        assert np.unique(flat).size == flat.size == (n // size * size if drop_last else n)


@few
@given(n=st.integers(1, 3000), keys=st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=8))
def test_any_keys_make_a_bijection(n, keys):
    order = KeyedPermutation(n, np.array(keys, dtype=np.uint64))
    assert np.array_equal(np.sort(order(np.arange(n))), np.arange(n))


@few
@given(weights=weight_lists, size=sizes, seed=seeds)
def test_weight_zero_never_comes_and_the_rest_once_without_replacement(weights, size, seed):
    positive = np.flatnonzero(weights)
    drawn = joined(WeightedSampler(weights, min(size, len(weights)), seed=seed))
    assert drawn.size == len(weights)
    assert set(drawn) <= set(positive)
    size = min(size, positive.size)
    once = joined(WeightedSampler(weights, size, replacement=False, seed=seed))
    assert np.array_equal(np.sort(once), positive)


@few
@given(weights=weight_lists, factor=st.integers(-200, 200), seed=seeds)
def test_only_the_proportions_of_weights_matter(weights, factor, seed):
    scaled = np.ldexp(weights, factor)  # by a power of two: exact
    for replacement in (True, False):
        one, two = (WeightedSampler(w, 1, replacement, seed=seed) for w in (weights, scaled))
        assert np.array_equal(joined(one), joined(two))


@few
@given(values=share_lists, batches=st.lists(st.integers(1, 70), min_size=1, max_size=60))
def test_apportionment_is_exact_in_every_batch_and_fair_over_all(values, batches):
    shares = shares_of(values)
    credit, given_out = np.zeros(shares.size), np.zeros(shares.size)
    for size in batches:
        counts, credit = apportion(size, shares, credit)
        quota = size * shares
        assert counts.sum() == size
        assert (counts >= np.floor(quota + 1e-9)).all()
        assert (counts <= np.ceil(quota - 1e-9)).all()
        given_out += counts
    owed = sum(batches) * shares - given_out
    assert (abs(owed) < 1).all()
    assert np.allclose(owed, credit, atol=1e-6)


@few
@given(labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=60), size=sizes, seed=seeds)
def test_stratified_as_the_data_shows_every_sample_once(labels, size, seed):
    sampler = StratifiedSampler(np.array(labels), min(size, len(labels)), seed=seed)
    for _ in range(2):
        assert np.array_equal(np.sort(joined(sampler)), np.arange(len(labels)))


@few
@given(
    labels=st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    balance=st.floats(0, 1),
    scheme=st.sampled_from(["inverse", "square-root", "effective"]),
    seed=seeds,
)
def test_class_balanced_stays_in_range_and_adds_up(labels, balance, scheme, seed):
    sampler = ClassBalancedSampler(labels, 1, balance, scheme=scheme, seed=seed)
    assert np.isclose(sampler.probabilities.sum(), 1)
    drawn = joined(sampler)
    assert 0 <= drawn.min() <= drawn.max() < len(labels)
    sampler.balance = 1.0
    if scheme == "inverse":
        assert np.allclose(list(sampler.class_probabilities.values()), 1 / len(set(labels)))


@few
@given(
    difficulty=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    size=sizes,
    start=st.floats(0.01, 1),
    seed=seeds,
    changes=st.lists(st.floats(0.01, 1), max_size=5),
)
def test_a_curriculum_never_opens_too_much(difficulty, size, start, seed, changes):
    n = len(difficulty)
    sampler = CurriculumSampler(difficulty, min(size, n), start=start, seed=seed)
    highest = np.sort(difficulty)
    for batch in sampler:
        opened = max(1, round(sampler.open_share * n))
        assert np.take(difficulty, batch).max() <= highest[opened - 1]
        if changes:
            sampler.start = changes.pop()


@few
@given(
    n=st.integers(2, 80),
    losses=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=80),
    alpha=st.floats(0, 2),
    seed=seeds,
)
def test_priorities_follow_the_size_of_the_loss(n, losses, alpha, seed):
    sampler = PrioritizedSampler(n, n, alpha, seed=seed)
    list(sampler)
    chosen = np.arange(min(n, len(losses)))
    sampler.update(chosen, losses[:n])
    chances, sizes = sampler.probabilities, np.abs(np.float32(losses[:n]))
    assert np.isclose(chances.sum(), 1)
    order = np.argsort(sizes)
    assert (np.diff(chances[chosen][order]) >= -1e-12).all()
    assert np.unique(joined(sampler)).size <= n


@few
@given(values=share_lists, size=st.integers(1, 60), exact=st.booleans(), seed=seeds)
def test_mixtures_stay_in_their_sources(values, size, exact, seed):
    names = [f"s{number}" for number in range(len(values))]
    samplers = {name: RandomSampler(5 + number, 1) for number, name in enumerate(names)}
    ratios = dict(zip(names, shares_of(values).tolist()))
    total = sum(sampler.n for sampler in samplers.values())
    sampler = MixtureSampler(samplers, ratios, min(size, total), exact=exact, seed=seed)
    drawn = joined(sampler)
    assert drawn.size == total
    assert 0 <= drawn.min() <= drawn.max() < total
    assert np.isclose(sum(sampler.ratios.values()), 1)


@few
@given(
    n=st.integers(1, 60),
    seed=seeds,
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20),
    replacement=st.booleans(),
)
def test_any_cutting_gives_the_same_draws(n, seed, cuts, replacement):
    whole = joined(RandomSampler(n, n, replacement, seed=seed))
    sampler = RandomSampler(n, 1, replacement, seed=seed)
    parts = []
    for number, batch in enumerate(sampler):
        parts.append(batch)
        sampler.batch_size = min(n, cuts[number % len(cuts)])
        if number % 3 == 1:  # through a file now and then
            state = json.loads(json.dumps(sampler.state_dict()))
            sampler.load_state_dict(state)
            break
    parts.extend(sampler if sum(map(len, parts)) < n else [])
    assert np.array_equal(np.concatenate(parts), whole)


@few
@given(st.lists(st.floats(allow_nan=True), max_size=30))
def test_arrays_survive_json_bit_for_bit(values):
    array = np.array(values)
    again = decode_array(json.loads(json.dumps(encode_array(array))), like=array)
    assert array.tobytes() == again.tobytes()
