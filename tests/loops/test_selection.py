"""Pools: scoring in the graph, choosing, and what it costs."""

from __future__ import annotations

import logging.handlers

import numpy as np
import pytest

from batchlab import (
    CompiledSteps,
    Loader,
    PoolSelection,
    RandomSampler,
    Schedule,
    sample_losses,
    train,
)
from batchlab.backend import keras, tf
from tests.loops.models import N, assert_same_weights, data, loader, model


def run(selection, jit_compile=False, kind="dense", **options):
    net = model(kind, keras.optimizers.SGD(0.0))  # so that every score is that of the first weights
    history = train(
        net, loader(kind), 1, verbose=0, selection=selection, jit_compile=jit_compile, **options
    )
    pools = list(loader(kind).sampler)
    return net, history, pools


def test_top_losses_are_kept_and_the_cost_is_counted():
    net, history, pools = run(PoolSelection(keep=3, pool=12))
    losses = sample_losses(net, loader())
    for kept, pool in zip(history.indices, pools):
        count = 3 if len(pool) == 12 else 1  # the last pool has 4 samples
        best = pool[np.argsort(-losses[pool])[:count]]
        assert sorted(kept) == sorted(best)
    assert history.scored == N
    assert sum(map(len, history.indices)) == 7


def test_one_step_on_the_kept_samples_is_one_step_on_them_alone():
    chosen, alone = model("dense", "adam"), model("dense", "adam")
    one_pool = RandomSampler(N, N)
    history = train(
        chosen,
        loader(sampler=one_pool),
        verbose=0,
        selection=PoolSelection(5, N),
        jit_compile=False,
    )
    train(
        alone, loader(sampler=[history.indices[0].astype(np.int64)]), verbose=0, jit_compile=False
    )
    assert_same_weights(chosen, alone, 1e-6)


def test_reducible_loss_is_loss_less_reference():
    losses = sample_losses(run(None)[0], loader())
    reference = losses - np.arange(N)  # so the reducible loss of sample i is i
    selection = PoolSelection(4, 12, "reducible_loss", reference_losses=reference)
    _, history, pools = run(selection)
    assert sorted(history.indices[0]) == sorted(pools[0])[-4:]


def test_gradient_norm_of_softmax_is_the_distance_from_the_target():
    net, history, pools = run(PoolSelection(4, 12, "gradient_norm"))
    x, y = data("dense")
    error = net.predict(x, verbose=0) - np.eye(3)[y]
    norms = np.linalg.norm(error, axis=1)
    best = pools[0][np.argsort(-norms[pools[0]])[:4]]
    assert sorted(history.indices[0]) == sorted(best)


@pytest.mark.parametrize("draw", ["percentile", "score"])
def test_draws_prefer_high_scores_but_not_always(draw):
    net = model("dense", keras.optimizers.SGD(0.0))
    selection = PoolSelection(7, N, draw=draw, beta=2.0)
    sampler = RandomSampler(N, N)
    history = train(
        net, loader(sampler=sampler), 200, verbose=0, selection=selection, jit_compile=False
    )
    losses = sample_losses(net, loader())
    by_rank = history.visits[np.argsort(losses)]
    assert all(len(set(kept)) == 7 for kept in history.indices)  # without replacement
    assert by_rank[N // 2 :].sum() > 1.5 * by_rank[: N // 2].sum()
    assert (history.visits > 0).sum() > N // 2


def test_the_choice_is_the_same_with_xla_and_whatever_the_steps_per_call():
    selection = PoolSelection(3, 12, draw="percentile")
    _, graph, _ = run(selection)
    _, single, _ = run(selection, steps_per_call=1)
    _, xla, _ = run(selection, jit_compile=True)
    for one, two, three in zip(graph.indices, single.indices, xla.indices):
        assert one.tolist() == two.tolist() == three.tolist()


def test_every_setting_is_live_and_beta_compiles_nothing_again():
    net = model("dense", keras.optimizers.SGD(0.0))  # so that scores stay as they are
    pool = np.arange(N)
    selection = PoolSelection(7, N, draw="percentile", beta=0.0)
    steps = CompiledSteps(net, loader(sampler=[pool]), selection=selection, jit_compile=False)
    hardest = np.sort(sample_losses(net, loader()))[::-1]

    def kept():
        return np.sort(steps([pool])[0])[::-1]

    assert kept().sum() < 0.9 * hardest[:7].sum()
    selection.beta = 1e4  # ranks decide
    np.testing.assert_allclose(kept(), hardest[:7], rtol=1e-5)
    assert steps.program.compiled == 1
    selection.keep = 3
    np.testing.assert_allclose(kept(), hardest[:3], rtol=1e-5)
    selection.draw, selection.beta = "top", 0.0
    np.testing.assert_allclose(kept(), hardest[:3], rtol=1e-5)
    selection.score = "gradient_norm"
    assert len(kept()) == 3
    made = steps.program.compiled
    selection.keep, selection.draw, selection.score = 7, "percentile", "loss"
    assert len(kept()) == 7
    assert steps.program.compiled == made  # what was compiled once is found again


def test_a_live_value_that_does_not_fit_is_refused_and_the_old_one_stays():
    selection = PoolSelection(3, 12)
    for name, value, message in [
        ("keep", 13, "keep must be from 1 to 12, the pool, got 13"),
        ("keep", 1.5, "keep must be a whole number"),
        ("score", "reducible_loss", "need each other"),
        ("beta", Schedule(0, 1, 1), "beta cannot follow a schedule"),
    ]:
        before = repr(selection)
        with pytest.raises((TypeError, ValueError), match=f"^PoolSelection: .*{message}"):
            setattr(selection, name, value)
        assert repr(selection) == before


def test_weights_of_the_kept_samples_are_used():
    weights = np.linspace(0.1, 3, N)
    x, y = data("dense")
    source = Loader(x, y, sample_weight=weights, sampler=RandomSampler(N, N))
    chosen = model("dense")
    history = train(chosen, source, verbose=0, selection=PoolSelection(5, N), jit_compile=False)
    alone = model("dense")
    rows = [history.indices[0].astype(np.int64)]
    train(alone, Loader(x, y, sample_weight=weights, sampler=rows), verbose=0, jit_compile=False)
    assert_same_weights(chosen, alone, 1e-6)


def test_sample_losses_are_those_of_evaluate():
    net = model("two_outputs")
    losses = sample_losses(net, loader("two_outputs"), batch_size=10)
    x, y = data("two_outputs")
    total = net.evaluate(x, y, batch_size=N, verbose=0, return_dict=True)["loss"]
    assert losses.shape == (N,)
    assert losses.mean() == pytest.approx(total, rel=1e-5)


def test_sample_losses_of_many_models_bring_no_warning_of_tensorflow():
    messages = logging.handlers.BufferingHandler(capacity=100)
    tf.get_logger().addHandler(messages)
    for _ in range(7):
        sample_losses(model("dense"), loader())
    tf.get_logger().removeHandler(messages)
    assert [record.getMessage() for record in messages.buffer] == []


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("keep must be from 1 to 12, the pool, got 13", {"keep": 13}),
        ("pool must be 1 or more", {"pool": 0}),
        ("score must be one of", {"score": "entropy"}),
        ("draw must be one of", {"draw": "best"}),
        ("beta", {"beta": -1.0}),
        ("need each other", {"score": "reducible_loss"}),
        ("need each other", {"reference_losses": np.ones(N)}),
        (
            r"reference_losses\[2\] is NaN",
            {"score": "reducible_loss", "reference_losses": [0, 1, np.nan]},
        ),
    ],
)
def test_bad_parameters_are_named(message, arguments):
    with pytest.raises(ValueError, match=message):
        PoolSelection(**{"keep": 3, "pool": 12, **arguments})


def test_a_loader_without_pools_is_refused():
    with pytest.raises(ValueError, match=r"pool is 20, but the sampler draws 12.*batch_size=20"):
        run(PoolSelection(3, 20))
    reference = PoolSelection(3, 12, "reducible_loss", reference_losses=np.ones(5))
    with pytest.raises(ValueError, match="got 5 for 28 samples"):
        run(reference)
