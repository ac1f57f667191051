"""What is done for many draws at once gives what would come one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from batchlab.samplers import CurriculumSampler, ratios
from batchlab.samplers.draws.permutation import swap_in_turn
from batchlab.samplers.draws.stream import generator_of
from batchlab.samplers.draws.words import first_words

few = settings(max_examples=60, deadline=None)
parts = st.integers(0, 2**63 - 1) | st.sampled_from([0, 1, 2**32 - 1, 2**32])


@few
@given(
    seed=st.lists(parts, min_size=1, max_size=6).map(tuple),
    key=st.lists(parts, max_size=3).map(tuple),
    most=st.sampled_from([1, 2**20, 2**32 - 1, 2**32]),
    count=st.integers(1, 12),
)
def test_words_are_those_of_generators_seeded_one_by_one(seed, key, most, count):
    for k in (3, 50):
        places = np.linspace(0, most, k).astype(np.int64)
        generators = [generator_of(seed, *key, place) for place in places.tolist()]
        expected = [each.bit_generator.random_raw(count) for each in generators]
        np.testing.assert_array_equal(first_words(seed, key, places, count), expected)


@few
@given(
    n=st.integers(1, 300) | st.integers(60_000, 140_000),
    swaps=st.integers(0, 400),
    seed=st.integers(0, 2**32),
)
def test_swaps_at_once_are_those_made_in_turn(n, swaps, seed):
    generator = np.random.default_rng(seed)
    cards = generator.permutation(n)
    # Few places, so that many are swapped again, some of them with themselves
    places, others = generator.choice(n, size=min(n, 100))[
        generator.integers(0, min(n, 100), (2, swaps))
    ]
    expected, dealt = cards.copy(), []
    for place, other in zip(places, others):
        expected[[place, other]] = expected[[other, place]]
        dealt.append(expected[place])
    np.testing.assert_array_equal(swap_in_turn(cards, places, others), dealt)
    np.testing.assert_array_equal(cards, expected)


@few
@given(
    weights=st.lists(st.integers(0, 8), min_size=1, max_size=50).filter(any),
    size=st.integers(1, 70),
    batches=st.integers(1, 30),
)
def test_shares_are_handed_out_alike_however_they_are_counted(weights, size, batches):
    shares = np.array(weights) / sum(weights)
    credit, rows = np.zeros(shares.size), []
    for _ in range(batches):
        counts, credit = ratios.apportion(size, shares, credit)
        rows.append(counts)
    for few_groups in (0, shares.size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ratios, "_FEW", few_groups)
            counts, owed = ratios.apportion_all(batches, size, shares, np.zeros(shares.size))
        np.testing.assert_array_equal(counts, rows)
        np.testing.assert_array_equal(owed, credit)


def of_a_curriculum(pacing, most):
    """The batches of three epochs, drawn many at a time, where it stands then, and how many came."""
    sampler = CurriculumSampler(np.arange(3000) % 97, 8, pacing, pacing_epochs=2)
    batches, counts = [], []
    try:
        for _ in range(3):
            for batch in sampler:
                ahead = sampler.batches_ahead(most)
                batches.extend([batch.tolist(), *ahead.tolist()])
                counts.append(len(ahead))
    except OSError:
        pass
    return batches, sampler.state_dict(), counts


@pytest.mark.parametrize("pacing", ["linear", "root", "step", "exponential"])
def test_a_curriculum_deals_on_where_more_is_opened(pacing):
    expected, state, _ = of_a_curriculum(pacing, 0)
    batches, state_after, counts = of_a_curriculum(pacing, 90)
    assert batches == expected
    assert state_after == state
    assert counts[:4] == [90, 90, 90, 90]


def falling(progress):
    return 0.3 + 0.2 * np.sin(5 * progress)


def failing(progress):
    if progress > 0.5:
        raise OSError("no answer")
    return 0.2 + progress


@pytest.mark.parametrize("pacing", [falling, failing])
def test_a_curriculum_deals_up_to_where_less_is_open_or_pacing_fails(pacing):
    expected, state, _ = of_a_curriculum(pacing, 0)
    batches, state_after, counts = of_a_curriculum(pacing, 400)
    assert batches == expected
    assert state_after == state
    assert 90 < max(counts) < 374
