"""What each strategy promises: exact counts, stated chances, coverage."""

from __future__ import annotations

import copy
import itertools
import pickle
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from batchlab.samplers import (
    ClassBalancedSampler,
    CurriculumSampler,
    KeyedPermutation,
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
from batchlab.samplers.draws.inversion import CumulativeTable
from batchlab.samplers.draws.permutation import scale
from batchlab.samplers.draws.sumtree import SumTree
from tests.samplers.strategies import KeyedSampler, losses_of

RARE = 1e-4  # the p-value below which a chi-square test fails; seeds are fixed


def agrees(draws, chances):
    """Whether the draws follow the chances, by a chi-square test."""
    counts = np.bincount(draws, minlength=len(chances))
    assert counts[chances == 0].sum() == 0
    kept = chances > 0
    expected = chances[kept] / chances[kept].sum() * counts.sum()
    return stats.chisquare(counts[kept], expected).pvalue > RARE


def indices(sampler, epochs=1):
    return np.concatenate([batch for _ in range(epochs) for batch in sampler])


# -- random ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [RandomSampler, KeyedSampler])
def test_an_epoch_is_a_permutation(cls):
    sampler = cls(1001, 64)
    for _ in range(3):
        assert sorted(indices(sampler).tolist()) == list(range(1001))


@pytest.mark.parametrize("cls", [RandomSampler, KeyedSampler])
def test_every_order_of_four_is_as_likely(cls):
    orders = {order: number for number, order in enumerate(itertools.permutations(range(4)))}
    seen = [orders[tuple(indices(cls(4, 4, seed=seed)).tolist())] for seed in range(2400)]
    assert agrees(np.array(seen), np.full(24, 1 / 24))


def test_with_replacement_an_epoch_covers_63_percent():
    draws = indices(RandomSampler(20_000, 100, replacement=True))
    assert np.unique(draws).size / 20_000 == pytest.approx(1 - 1 / np.e, abs=0.01)
    assert agrees(draws // 200, np.full(100, 0.01))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 17, 100, 1000, 4097])
@pytest.mark.parametrize("seed", range(5))
def test_the_keyed_permutation_is_a_bijection(n, seed):
    order = KeyedPermutation(n, np.random.PCG64(seed).random_raw(8))
    assert sorted(order(np.arange(n)).tolist()) == list(range(n))


def test_the_keyed_permutation_mixes():
    n = 100_000
    order = KeyedPermutation(n, np.random.PCG64(1).random_raw(8))(np.arange(n))
    places = np.arange(n)
    assert abs(np.corrcoef(places, order)[0, 1]) < 0.02
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    for part in (places % 2, places % 7, places // 1000):  # where from against where to
        table = np.histogram2d(part, order * 20 // n, bins=[part.max() + 1, 20])[0]
        assert stats.chi2_contingency(table).pvalue > RARE
    other = KeyedPermutation(n, np.random.PCG64(2).random_raw(8))(places)
    assert (order == other).sum() < 10  # one match is expected


def test_a_thousand_million_samples_need_no_memory():
    tracemalloc.start()
    sampler = RandomSampler(10**9, 128)
    epoch = iter(sampler)
    seen = np.concatenate([next(epoch) for _ in range(200)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.unique(seen).size == seen.size
    assert seen.max() > 9e8
    assert peak < 10e6
    assert len(sampler) == 7812500


def test_scaled_words_reach_the_ends_and_not_further():
    words = np.array([0, 2**64 - 1], dtype=np.uint64)
    for high in (1, 7, 2**32, 2**53 + 1, 2**62):
        assert scale(words, high).tolist() == [0, high - 1]
    many = np.random.PCG64(0).random_raw(1000)
    assert scale(many, 3**33).tolist() == [int(word) * 3**33 >> 64 for word in many]


# -- weighted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_weighted_draws_follow_the_weights(seed):
    weights = np.array([0.0, 1, 2, 0, 3, 4, 10, 0])
    sampler = WeightedSampler(weights, 100, num_samples=20_000, seed=seed)
    assert agrees(indices(sampler), weights / 20)


@pytest.mark.parametrize("skew", [0, 1, 30])
def test_the_guide_table_finds_what_the_binary_search_finds(skew):
    generator = np.random.default_rng(skew)
    weights = generator.random(5000) ** skew * (generator.random(5000) < 0.7)
    uniforms = np.concatenate([generator.random(20_000), [0.0, 1 - 2**-53]])
    plain, guided = CumulativeTable(weights), CumulativeTable(weights)
    plain._draws_until_guide = np.inf
    guided.find(uniforms)
    found = guided.find(uniforms)
    assert guided._guide is not None
    assert plain._guide is None
    assert np.array_equal(found, plain.find(uniforms))
    assert weights[found].min() > 0


def test_extreme_weights_do_not_overflow_or_leak():
    for weights in ([1e308, 1e308, 0.0], [5e-324, 0.0, 5e-324], [1e-300, 1e300, 0.0]):
        for replacement in (True, False):
            sampler = WeightedSampler(weights, 1, replacement=replacement)
            assert weights.index(0.0) not in indices(sampler)
    assert sorted(indices(WeightedSampler([1e-300, 1e300], 1, replacement=False)).tolist()) == [
        0,
        1,
    ]


def test_tiny_weights_without_replacement_come_in_random_order():
    weights = [1e300, 1e-300, 1e-300, 1e-300]
    orders = [indices(WeightedSampler(weights, 4, False, seed=seed)) for seed in range(600)]
    assert all(order[0] == 0 for order in orders)
    assert agrees(np.array(orders)[:, 1], np.array([0, 1, 1, 1]))


def test_inclusion_without_replacement_is_not_proportional():
    p = np.array([10, 4, 3, 2, 1]) / 20
    exact = p + p * ((p / (1 - p)).sum() - p / (1 - p))
    draws = [
        indices(WeightedSampler(p, 2, replacement=False, num_samples=2, seed=seed))
        for seed in range(2000)
    ]
    observed = np.bincount(np.ravel(draws), minlength=5) / 2000
    assert observed == pytest.approx(exact, abs=4 * np.sqrt(0.25 / 2000))
    assert agrees(np.array(draws)[:, 0], p)  # the first draw does follow the weights


def test_new_weights_in_mid_epoch_act_on_what_is_left():
    sampler = WeightedSampler([1, 1, 1, 9, 9, 9], 3, replacement=False)
    epoch = iter(sampler)
    first = next(epoch)
    sampler.weights = [1.0] * 6
    assert np.flatnonzero(sampler.probabilities).size == 3
    assert sorted([*first, *next(epoch)]) == list(range(6))
    # Whatever came first, the rest is now alike: each of three is next with chance 1/3.
    pairs = [WeightedSampler([1, 9, 9], 1, replacement=False, seed=seed) for seed in range(2000)]
    second = []
    for sampler in pairs:
        epoch = iter(sampler)
        if next(epoch)[0] == 1:
            sampler.weights = [1.0, 1.0, 1.0]
            second.append(next(epoch)[0])
    assert agrees(np.array(second), np.array([0.5, 0, 0.5]))


def test_weights_that_fall_to_zero_shorten_the_epoch():
    sampler = WeightedSampler(np.ones(6), 1, replacement=False)
    epoch = iter(sampler)
    first = next(epoch)[0]
    keep = (first + 1) % 6
    sampler.weights = np.eye(6)[keep]
    assert [batch.tolist() for batch in epoch] == [[keep]]
    assert len(list(sampler)) == 1


# -- classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scheme", ["inverse", "square-root", "effective"])
def test_class_balanced_draws_follow_their_formula(balance, scheme):
    counts = np.array([500, 80, 20])
    labels = np.repeat([0, 1, 2], counts)
    weight = {
        "inverse": 1 / counts,
        "square-root": counts**-0.5,
        "effective": (1 - 0.99) / (1 - 0.99**counts),
    }[scheme]
    shares = counts * weight**balance
    shares /= shares.sum()
    sampler = ClassBalancedSampler(labels, 100, balance, scheme=scheme, effective_beta=0.99)
    assert list(sampler.class_probabilities.values()) == pytest.approx(shares.tolist())
    draws = indices(sampler, epochs=20)
    assert agrees(labels[draws], shares)
    assert agrees(draws, (shares / counts)[labels])
    assert sampler.probabilities == pytest.approx((shares / counts)[labels])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16, 30])
@pytest.mark.parametrize("counts", [(15, 15), (20, 9, 1), (1, 1, 28), (7, 5, 4, 4, 4, 3, 2, 1)])
@pytest.mark.parametrize("mode", ["data", "equal", "skewed"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_stratified_batches_hold_the_exact_mix(batch_size, counts, mode, drop_last):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    skewed = 2.0 ** -np.arange(len(counts))
    ratios = {
        "data": np.array(counts) / 30,
        "equal": np.full(len(counts), 1 / len(counts)),
        "skewed": skewed / skewed.sum(),
    }[mode]
    given = {"data": None, "equal": "equal"}.get(mode, dict(enumerate(ratios.tolist())))
    sampler = StratifiedSampler(labels, batch_size, given, drop_last=drop_last)
    total, size = np.zeros(len(counts)), 0
    for _ in range(4):
        epoch = np.zeros(30, int)
        for batch in sampler:
            held = np.bincount(labels[batch], minlength=len(counts))
            quota = ratios * batch.size
            assert (np.floor(quota + 1e-9) <= held).all()
            assert (held <= np.ceil(quota - 1e-9)).all()
            total, size = total + held, size + batch.size
            if not (mode == "data" and drop_last):
                assert (abs(total - ratios * size) < 1).all()
            np.add.at(epoch, batch, 1)
        if mode == "data":
            assert epoch.max() == 1
            assert drop_last or epoch.min() == 1
    for label in range(len(counts)):  # within a class all samples come equally often
        visits = np.bincount(indices(StratifiedSampler(labels, batch_size, given), 1), minlength=30)
        assert np.ptp(visits[labels == label]) <= 1


@pytest.mark.parametrize("batch_size", [4, 8, 12, 24])
@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("sizes", [(4, 50), (7, 7), (5, 30)])
@pytest.mark.parametrize("n_classes", [24, 30])
def test_m_per_class_counts_are_exact(batch_size, m, sizes, n_classes):
    counts = np.linspace(*sizes, n_classes).astype(int)
    labels = np.repeat(np.arange(n_classes), counts)
    sampler = MPerClassSampler(labels, m, batch_size)
    assert sum(len(batch) for batch in sampler) == labels.size // m * m
    for batch in sampler:
        held = np.bincount(labels[batch])
        assert set(held) <= {0, m}
        assert (held > 0).sum() == batch.size // m
        assert np.unique(batch).size == batch.size
        assert (labels[batch].reshape(-1, m) == labels[batch][::m, None]).all()


def test_many_classes_cost_no_more_than_those_of_the_batch():
    sampler = MPerClassSampler(np.repeat(np.arange(200_000), 2), 2, 8)
    batch = next(iter(sampler))
    tracemalloc.start()
    batches = np.stack([batch, *sampler.batches_ahead(20)]) // 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000
    assert all(np.unique(row).size == 4 for row in batches)
    chances = sampler.probabilities
    assert chances.sum() == pytest.approx(1)
    assert np.unique(chances.round(12)).size == 1  # whole decks of two, or one that is dealt


def test_m_per_class_draws_classes_alike():
    labels = np.repeat(np.arange(6), [2, 4, 8, 16, 32, 64])
    draws = labels[indices(MPerClassSampler(labels, 2, 6), epochs=50)]
    assert agrees(draws[::2], np.full(6, 1 / 6))


# -- curriculum ------------------------------------------------------------------------------------


def test_only_the_open_part_comes():
    difficulty = np.random.default_rng(0).random(200)
    rank = np.argsort(np.argsort(difficulty))
    for pacing, at_half in [("linear", 0.6), ("root", 0.2 + 0.8 * 0.5**0.5), ("step", 0.52)]:
        sampler = CurriculumSampler(difficulty, 10, pacing, pacing_epochs=2)
        for batch in sampler:
            assert rank[batch].max() < round(sampler.open_share * 200)
        assert sampler.open_share == pytest.approx(at_half)
        list(sampler)
        assert sampler.open_share == 1
        assert sorted(indices(sampler).tolist()) == list(range(200))


def test_hard_first_and_random_order_have_the_same_pacing():
    difficulty = np.arange(100.0)
    easy, hard, random = (
        CurriculumSampler(difficulty, 10, order=order, start=0.1)
        for order in ("easy-first", "hard-first", "random")
    )
    first = [np.sort(next(iter(sampler))) for sampler in (easy, hard, random)]
    assert first[0].tolist() == list(range(10))
    assert first[1].tolist() == list(range(90, 100))
    assert first[2].tolist() not in (first[0].tolist(), first[1].tolist())
    assert easy.open_share == hard.open_share == random.open_share


def test_open_samples_come_equally_often():
    sampler = CurriculumSampler(np.arange(100.0), 10, lambda epochs: 0.25)
    assert np.bincount(indices(sampler)).tolist() == [4] * 25


def test_a_batch_comes_from_all_that_is_open_not_from_the_newest():
    sampler = CurriculumSampler(np.arange(1000.0), 10, start=0.2, pacing_epochs=1)
    for _ in sampler:
        chances = sampler.probabilities
        assert np.ptp(chances[chances > 0]) == 0
        assert (chances > 0).mean() == pytest.approx(sampler.open_share, abs=1e-3)


def test_difficulty_may_change_and_ties_are_random():
    sampler = CurriculumSampler(np.zeros(100), 10, start=0.1)
    assert indices(sampler)[:10].tolist() != list(range(10))
    sampler = CurriculumSampler(np.arange(100.0), 10, lambda epochs: 0.1)
    epoch = iter(sampler)
    next(epoch)
    sampler.difficulty = -np.arange(100.0)
    assert next(epoch).min() >= 90


def test_self_paced_opens_what_was_easy():
    sampler = CurriculumSampler(np.zeros(50), 10, start=0.2, self_paced=True)
    sampler.update(np.arange(50), np.arange(50.0)[::-1])
    list(sampler)
    assert np.concatenate([b for b, _ in zip(sampler, range(1))]).min() >= 50 - 18


# -- feedback --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PrioritizedSampler, RankSampler])
def test_every_sample_comes_once_before_any_comes_again(cls):
    sampler = cls(500, 32)
    for batch in sampler:
        sampler.update(batch, losses_of(batch))
    assert sorted(indices(cls(500, 32)).tolist()) == list(range(500))
    assert sampler.statistics["never reported"] == 0
    assert np.unique(indices(sampler)).size < 500


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_prioritized_draws_follow_their_formula(alpha):
    sampler = PrioritizedSampler(50, 25, alpha, beta=0.7, epsilon=0.01)
    list(sampler)
    losses = losses_of(np.arange(50)) ** 3
    sampler.update(np.arange(50), -losses)  # the size counts, not the sign
    chances = (losses.astype(float) + 0.01) ** alpha
    chances /= chances.sum()
    assert sampler.probabilities == pytest.approx(chances)
    draws = indices(sampler, epochs=100)
    assert agrees(draws, chances)
    weights = (50 * chances) ** -0.7
    chosen = np.array([3, 4, 4, 9])
    assert sampler.importance_weights(chosen) == pytest.approx(
        weights[chosen] / weights[chosen].max(), rel=1e-5
    )


def test_importance_weights_make_the_mean_unbiased():
    sampler = PrioritizedSampler(100, 100, alpha=1.0, beta=1.0)
    losses = losses_of(np.arange(100)).astype(float)
    list(sampler)
    sampler.update(np.arange(100), losses)
    draws = indices(sampler, epochs=200)
    weights = 1 / (100 * sampler.probabilities[draws])
    assert np.mean(weights * losses[draws]) == pytest.approx(losses.mean(), rel=1e-4)


def test_unreported_samples_count_as_the_hardest():
    for cls in (PrioritizedSampler, RankSampler):
        sampler = cls(10, 10)
        list(sampler)
        sampler.update(np.arange(9), np.arange(9) / 10)
        assert sampler.probabilities[9] == sampler.probabilities.max()


def test_unreported_samples_follow_the_hardest_that_is_reported_later():
    sampler = PrioritizedSampler(1000, 10, alpha=1.0)
    list(sampler)
    sampler.update(np.arange(500), np.ones(500))
    next(iter(sampler))
    sampler.update([3, 4], [7.0, -5.0])
    chances = sampler.probabilities
    assert chances[999] == chances[3] == chances.max() > chances[4]
    again = PrioritizedSampler(1000, 10, alpha=1.0)
    again.load_state_dict(sampler.state_dict())
    np.testing.assert_array_equal(again.probabilities, chances)


@pytest.mark.parametrize("cls", [PrioritizedSampler, RankSampler])
def test_a_loss_beyond_float32_is_the_largest(cls):
    sampler = cls(10, 5)
    list(sampler)
    sampler.update(np.arange(10), [1e39, -1e300, *np.ones(8)])
    assert np.isfinite(sampler.losses).all()
    assert np.isfinite(sampler.probabilities).all()
    assert sampler.probabilities.argmax() == 0


def test_staleness_is_reported():
    sampler = PrioritizedSampler(10, 5)
    for number, batch in enumerate(sampler):
        if number == 0:
            sampler.update(batch, losses_of(batch))
    list(sampler)
    assert sampler.statistics["never reported"] == 5
    assert sampler.statistics["stale for more than an epoch"] == 5
    assert sampler.staleness[batch].tolist() == [np.inf] * 5


def test_rank_draws_fall_exponentially():
    sampler = RankSampler(40, 40, pressure=50.0, resort=1e-6)
    list(sampler)
    losses = losses_of(np.arange(40))
    sampler.update(np.arange(40), losses)
    ranks = np.argsort(np.argsort(-losses))
    chances = 50.0 ** (-ranks / 40)
    chances /= chances.sum()
    assert sampler.probabilities == pytest.approx(chances)
    assert agrees(indices(sampler, epochs=200), chances)
    sampler.pressure = 1.0
    assert agrees(indices(sampler, epochs=100), np.full(40, 1 / 40))


@pytest.mark.parametrize("n", [1, 31, 32, 33, 2048, 2049, 70_000])
def test_the_sum_tree_is_a_cumulative_sum(n):
    generator = np.random.default_rng(n)
    weights = generator.random(n) * (generator.random(n) < 0.5) + (np.arange(n) == n // 2)
    tree = SumTree(weights)
    for _ in range(5):
        chosen = generator.integers(n, size=64)
        values = generator.random(64)
        tree.set(chosen, values)
        weights[chosen] = tree.weights[chosen]
        assert np.array_equal(tree.weights, weights)
    uniforms = np.concatenate([generator.random(500), [0.0, 1 - 2**-53]])
    found = tree.find(uniforms)
    exact = np.searchsorted(np.cumsum(weights), uniforms * weights.sum(), side="right")
    assert (found != exact).sum() <= 1  # sums in another order may differ in the last digit
    assert weights[found].min() > 0


# -- mixtures and shards ---------------------------------------------------------------------------


def sources():
    return {"old": RandomSampler(40, 1), "new": RandomSampler(10, 1, seed=5)}


def test_a_mixture_holds_its_shares_exactly_and_restarts_a_short_source():
    sampler = MixtureSampler(sources(), {"old": 0.3, "new": 0.7}, batch_size=10)
    new = []
    for batch in sampler:
        assert (batch < 40).sum() == 3
        new.extend(batch[batch >= 40].tolist())
    rounds = [new[start : start + 10] for start in range(0, 30, 10)]
    assert all(sorted(each) == list(range(40, 50)) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 3  # a new permutation every time
    assert sampler.statistics["restarts"] == {"old": 0, "new": 3}


def test_sources_of_one_seed_draw_different_numbers():
    twins = {name: RandomSampler(1000, 1, replacement=True) for name in "ab"}
    nested = MixtureSampler({"c": RandomSampler(1000, 1, replacement=True)}, batch_size=1)
    sampler = MixtureSampler({**twins, "nested": nested}, batch_size=300)
    drawn = np.concatenate(list(sampler))
    own = [drawn[(drawn >= start) & (drawn < start + 1000)] - start for start in (0, 1000, 2000)]
    correlations = np.corrcoef([part[:990] for part in own])[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.1
    assert twins["a"].seed == twins["b"].seed == 0


def test_one_ratio_moves_and_the_others_make_room():
    three = {name: SequentialSampler(10, 1) for name in "abc"}
    sampler = MixtureSampler(three, {"a": 0.2, "b": 0.6, "c": 0.2}, batch_size=10)
    sampler.ratio_a = 0.6
    assert sampler.ratios == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})
    sampler.ratio_a = 1.0
    sampler.ratio_a = 0.0
    assert sampler.ratios == pytest.approx({"a": 0.0, "b": 0.5, "c": 0.5})
    batch = next(iter(sampler))
    assert np.bincount(batch // 10, minlength=3).tolist() == [0, 5, 5]


def test_a_scheduled_ratio_moves_from_batch_to_batch():
    ratios = {"old": 0.5, "new": 0.5}
    sampler = MixtureSampler(sources(), ratios, batch_size=10)
    sampler.ratio_new = Schedule(0.0, 1.0, epochs=1)
    assert [int((batch >= 40).sum()) for batch in sampler] == [0, 2, 4, 6, 8]
    assert [int((batch >= 40).sum()) for batch in sampler] == [10] * 5


def test_expected_shares_hold_on_average():
    sampler = MixtureSampler(sources(), {"old": 0.3, "new": 0.7}, batch_size=10, exact=False)
    batches = [batch for _ in range(100) for batch in sampler]
    held = np.array([(batch >= 40).sum() for batch in batches])
    assert held.std() == pytest.approx(np.sqrt(10 * 0.3 * 0.7), abs=0.2)
    assert agrees((np.concatenate(batches) >= 40).astype(int), np.array([0.3, 0.7]))


def test_feedback_reaches_the_source_it_came_from():
    learner = PrioritizedSampler(10, 1)
    sampler = MixtureSampler({"fixed": RandomSampler(40, 1), "learner": learner}, batch_size=10)
    sampler.update([3, 45, 49], [1.0, 2.0, 3.0])
    assert np.flatnonzero(~np.isnan(learner.losses)).tolist() == [5, 9]
    assert sampler.importance_weights([3, 45, 49]).tolist() == [1.0, 1.0, 1.0]
    assert MixtureSampler(sources()).importance_weights([3]) is None


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("n", [64, 61, 70])
def test_shards_are_disjoint_and_take_equal_steps(shards, n):
    def build():
        weights = np.linspace(0.1, 1, n)
        return WeightedSampler(weights, 16, replacement=False)

    parts = [list(ShardedSampler(build(), shards, shard)) for shard in range(shards)]
    lengths = {len(part) for part in parts} | {len(ShardedSampler(build(), shards, 0))}
    assert len(lengths) == 1
    for step, whole in zip(range(lengths.pop()), build()):
        together = np.concatenate([part[step] for part in parts])
        assert np.unique(together).size == together.size
        assert len({part[step].size for part in parts}) == 1
        assert set(together) <= set(whole)
        assert whole.size - together.size < shards


def test_shards_of_a_learner_stay_together_when_all_hear_all_losses():
    shards = [ShardedSampler(PrioritizedSampler(40, 8), 2, shard) for shard in range(2)]
    for _ in range(3):
        for pair in zip(*shards):
            together = np.concatenate(pair)
            for shard in shards:
                shard.update(together, losses_of(together))
    assert np.array_equal(shards[0].probabilities, shards[0].sampler.probabilities)
    assert np.array_equal(shards[0].losses, shards[1].losses)
    one, two = (np.concatenate(list(shard)) for shard in shards)
    whole = PrioritizedSampler(40, 8)
    whole.load_state_dict(shards[0].state_dict()["inside"])
    assert one.size == two.size == 20


def test_a_sharded_state_may_be_loaded_by_another_number_of_shards():
    one = ShardedSampler(RandomSampler(40, 8), 2, 0)
    epoch = iter(one)
    next(epoch)
    four = ShardedSampler(RandomSampler(40, 8), 4, 3)
    four.load_state_dict(one.state_dict())
    rest, again = list(epoch), list(four)
    assert len(rest) == len(again) == 4
    one.batch_size = 4
    assert one.sampler.batch_size == 4


def test_a_shard_sets_what_belongs_to_the_sampler_inside():
    def shard(sampler):
        return ShardedSampler(sampler, 2, 0)

    weighted = shard(WeightedSampler([1.0, 1.0, 1.0, 1.0], 4))
    weighted.weights = [0.0, 0.0, 0.0, 1.0]
    assert weighted.sampler.probabilities.tolist() == [0, 0, 0, 1]
    assert [batch.tolist() for batch in weighted] == [[3, 3]]
    stratified = shard(StratifiedSampler([0, 0, 1, 1], 4))
    stratified.ratios = {0: 1.0, 1: 0.0}
    stratified.ratio_1 = 0.5
    assert stratified.sampler.ratios == {0: 0.5, 1: 0.5}
    curriculum = shard(CurriculumSampler(np.arange(100.0), 10, lambda epochs: 0.1))
    curriculum.difficulty = -np.arange(100.0)
    assert next(iter(curriculum)).min() >= 90
    curriculum.custom_pacing = lambda epochs: 0.5
    assert curriculum.sampler.open_share == 0.5
    assert set(vars(curriculum)) == {"built_with", "num_shards", "shard", "sampler"}
    curriculum.note = "mine"
    assert not hasattr(curriculum.sampler, "note")


def test_a_shard_hears_and_weighs_as_the_sampler_inside():
    inside = PrioritizedSampler(28, 14, beta=1.0)
    sampler = ShardedSampler(inside, 2, 0)
    for batch in sampler:
        sampler.update(batch, losses_of(batch))
    assert sampler.statistics["never reported"] == 14
    batches = np.stack([next(iter(sampler)), *sampler.batches_ahead(1)])
    assert batches.shape == (2, 7)
    weights = [inside.importance_weights(batch) for batch in batches]
    np.testing.assert_array_equal(sampler.importance_weights(batches), weights)
    assert weights[0].min() < 1


def test_shards_lose_nothing_of_a_batch_size_that_is_scheduled():
    shards = [
        ShardedSampler(RandomSampler(100, Schedule(4, 8, epochs=1)), 2, shard) for shard in (0, 1)
    ]
    pairs = list(zip(*shards, strict=True))
    assert sorted(np.concatenate([*map(np.concatenate, pairs)]).tolist()) == list(range(100))
    assert {2 * first.size for first, _ in pairs} == {4, 6, 8}
    with pytest.raises(ValueError, match="batch_size must be a multiple of 2, got 5"):
        shards[0].sampler.batch_size = 5
    shards[0].batch_size = Schedule(2, 8, epochs=1)
    assert shards[0].sampler.batch_size == 8  # an epoch has passed


def test_shards_can_be_copied():
    sampler = ShardedSampler(RandomSampler(40, 8), 2, 1)
    next(iter(sampler))
    for twin in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        twin.continue_epoch()
        assert twin.position == 8
        assert len(list(twin)) == 4
    assert sampler.position == 8
