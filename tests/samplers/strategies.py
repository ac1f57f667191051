"""One sampler of every strategy, for the tests that all of them must pass."""

from __future__ import annotations

import numpy as np

from batchlab.samplers import (
    ClassBalancedSampler,
    CurriculumSampler,
    HandPickedSampler,
    MixtureSampler,
    MPerClassSampler,
    Parameter,
    PrioritizedSampler,
    RandomSampler,
    RankSampler,
    Sampler,
    Schedule,
    SequentialSampler,
    ShardedSampler,
    StratifiedSampler,
    WeightedSampler,
)

N = 60
LABELS = np.repeat([0, 1, 2], [36, 18, 6])
WEIGHTS = np.linspace(0.0, 3.0, N)
DIFFICULTY = np.sin(np.arange(N))


class RecentSampler(Sampler):
    """A user's own strategy, as in the documentation."""

    power = Parameter(2.0, "how strongly to prefer the end", low=1, high=8)

    def draw(self, size):
        return (self.n * self.uniforms(size) ** (1 / self.power)).astype(int)


class KeyedSampler(RandomSampler):
    """The order that huge data sets get, for small ones."""

    stored_order_limit = 0


def mixture(**options):
    sources = {
        "a": RandomSampler(30, 1, seed=1),
        "b": WeightedSampler(np.arange(1.0, 11.0), 1, replacement=False),
        "c": PrioritizedSampler(20, 1),
    }
    return MixtureSampler(sources, {"a": 0.5, "b": 0.3, "c": 0.2}, **options)


STRATEGIES = {
    "sequential": lambda **o: SequentialSampler(N, **o),
    "random": lambda **o: RandomSampler(N, **o),
    "random with replacement": lambda **o: RandomSampler(N, replacement=True, **o),
    "keyed": lambda **o: KeyedSampler(N, **o),
    "weighted": lambda **o: WeightedSampler(WEIGHTS, **o),
    "weighted without replacement": lambda **o: WeightedSampler(WEIGHTS, replacement=False, **o),
    "class-balanced": lambda **o: ClassBalancedSampler(LABELS, **o),
    "class-balanced scheduled": lambda **o: ClassBalancedSampler(
        LABELS, balance=Schedule(0, 1, epochs=2), **o
    ),
    "stratified": lambda **o: StratifiedSampler(LABELS, **o),
    "stratified equal": lambda **o: StratifiedSampler(LABELS, ratios="equal", **o),
    "m per class": lambda **o: MPerClassSampler(np.arange(N) % 24, 2, **o),
    "curriculum": lambda **o: CurriculumSampler(DIFFICULTY, pacing_epochs=2, **o),
    "self-paced": lambda **o: CurriculumSampler(np.zeros(N), self_paced=True, **o),
    "prioritized": lambda **o: PrioritizedSampler(N, beta=Schedule(0.4, 1, epochs=3), **o),
    "rank": lambda **o: RankSampler(N, **o),
    "mixture": mixture,
    "mixture expected": lambda **o: mixture(exact=False, **o),
    "sharded": lambda **o: ShardedSampler(PrioritizedSampler(N, **o), num_shards=2, shard=1),
    "hand-picked without a pick": lambda **o: HandPickedSampler(RandomSampler(N, **o)),
    "hand-picked": lambda **o: HandPickedSampler(
        PrioritizedSampler(N, **o), exclude=[3, 40], pin=[5], boost={7: 5.0, 8: 0.2}, correct=True
    ),
    "user's own": lambda **o: RecentSampler(N, **o),
}


def lists(sampler):
    """The batches of one epoch, as lists."""
    return [batch.tolist() for batch in sampler]


def losses_of(indices, step=0):
    """Losses that depend on the sample and the step, without a random generator."""
    return (1.5 + np.sin(np.asarray(indices) * 7.0 + step)).astype(np.float32)
