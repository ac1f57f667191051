"""Losses that go back to the sampler, and importance weights that come from it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from batchlab import eager_loop, train
from tests.loops.models import FeedbackSampler, N, assert_same_weights, loader, model


def run(lag, **options):
    sampler = FeedbackSampler(N, 4, seed=2)
    net = model("dense")
    history = train(
        net, loader(sampler=sampler), 2, verbose=0, lag=lag, jit_compile=False, **options
    )
    return net, sampler, history


def test_lag_one_is_the_eager_loop():
    sampler = FeedbackSampler(N, 4, seed=2)
    eager = model("dense")
    by_eager = eager_loop(eager, loader(sampler=sampler), 2)
    net, _, history = run(1)
    for ours, theirs in zip(history.indices, by_eager.indices):
        np.testing.assert_array_equal(ours, theirs)
    assert_same_weights(net, eager, 2e-5)


@pytest.mark.parametrize("lag", [1, 3, 16])
def test_every_loss_comes_back_in_order_before_more_than_lag_batches_are_drawn(lag):
    class Counting(FeedbackSampler):
        most, drawn = 0, 0

        def draw(self, size):
            self.drawn += 1
            self.most = max(self.most, self.drawn - sum(map(len, self.told)) // 4)
            return super().draw(size)

    sampler = Counting(N, 4)
    history = train(
        model("dense"), loader(sampler=sampler), 2, verbose=0, lag=lag, jit_compile=False
    )
    assert list(itertools.chain(*sampler.told)) == np.concatenate(history.indices).tolist()
    assert sampler.most == min(lag, 7)  # an epoch is 7 batches, and nothing is drawn beyond it


def test_steps_per_call_do_not_change_what_a_listening_sampler_draws():
    one, _, _ = run(5, steps_per_call=1)
    many, _, _ = run(5)
    assert_same_weights(one, many)


def test_importance_weights_and_sample_weights_multiply():
    trained, eager = model("dense"), model("dense")
    weights = np.linspace(0.5, 2, N)
    for net, loop in ((trained, train), (eager, eager_loop)):
        sampler = FeedbackSampler(N, 4, seed=2)
        sampler.losses = np.linspace(1, 3, N)
        options = {"verbose": 0, "lag": 1, "jit_compile": False} if loop is train else {}
        loop(net, loader(sampler=sampler, sample_weight=weights), 1, **options)
    unweighted, _, _ = run(1)
    assert_same_weights(trained, eager, 2e-5)
    assert np.abs(trained.get_weights()[0] - unweighted.get_weights()[0]).max() > 1e-3
