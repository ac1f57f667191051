"""Priorities inside the compiled function: the batches are those that the sampler would draw."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from batchlab import Loader, PrioritizedSampler, Schedule, resume, train
from batchlab.backend import keras
from batchlab.loops import checkpoint, priorities
from batchlab.loops.compiled import CompiledSteps
from batchlab.samplers.draws.sumtree import SumTree
from tests.loops.models import assert_same_weights

N = 300  # two levels of the tree
OPTIONS = {"verbose": 0, "lag": 1, "jit_compile": True}


def make(n=N, size=32, weighed=False, **settings):
    rng = np.random.default_rng(3)
    x, y = rng.random((n, 3), dtype=np.float32), rng.integers(0, 3, n)
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
    net.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    weights = np.linspace(0.5, 2, n) if weighed else None
    sampler = PrioritizedSampler(n, size, **settings)
    return net, Loader(x, y, sampler=sampler, sample_weight=weights)


def run(epochs=3, between=lambda sampler: None, options=OPTIONS, **how):
    net, source = make(**how)
    history = train(net, source, 1, **options)
    between(source.sampler)
    return net, source.sampler, train(net, source, epochs, history=history, **options)


def changed(sampler):
    sampler.alpha = 2.0
    sampler.update([5, 6], [50.0, 80.0])


@pytest.fixture
def inside(monkeypatch):
    """The sampler's own tree is asked for nothing; `outside` undoes it."""

    def refused(*_):
        raise AssertionError("drawn on the host")

    monkeypatch.setattr(SumTree, "find", refused)
    return monkeypatch


def outside(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(CompiledSteps, "prioritizes", lambda *_: False)


def assert_same_run(ours, theirs):
    (net, sampler, history), (other, its, expected) = ours, theirs
    assert len(history.indices) == len(expected.indices)
    for batch, its_batch in zip(history.indices, expected.indices):
        np.testing.assert_array_equal(batch, its_batch)
    for batch, its_batch in zip(history.losses, expected.losses):
        np.testing.assert_allclose(batch, its_batch, rtol=1e-5)
    assert_same_weights(net, other, 1e-5)
    for name, values in expected.history.items():
        np.testing.assert_allclose(history.history[name], values, rtol=1e-5)
    assert sampler.beta == its.beta
    state, its_state = sampler.state_dict(), its.state_dict()
    np.testing.assert_allclose(sampler.losses, its.losses, rtol=1e-5)
    np.testing.assert_allclose(state.pop("hardest"), its_state.pop("hardest"), rtol=1e-5)
    assert state.pop("losses") and its_state.pop("losses")
    assert state == its_state  # when each loss was reported, too


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"beta": Schedule(0.4, 1.0, epochs=2), "weighed": True},
        {"n": 40, "size": 20, "alpha": 1.0},
        {"between": changed},
    ],
)
def test_a_batch_is_the_one_that_the_sampler_would_draw(how, inside):
    ours = run(**how)
    outside(inside)
    assert_same_run(ours, run(**how))


def test_calls_do_not_decide_on_the_batches(inside):
    whole = run()
    assert_same_run(run(options={**OPTIONS, "steps_per_call": 4}), whole)


def test_several_epochs_are_one_call_after_the_first(inside):
    calls, called = [], CompiledSteps.run
    inside.setattr(CompiledSteps, "run", lambda *given: calls.append(1) or called(*given))
    net, source = make()
    history = train(net, source, 1, **OPTIONS)
    calls.clear()
    train(net, source, 9, history=history, **{**OPTIONS, "steps_per_call": 40})
    assert len(calls) == 2  # of four epochs each
    assert history.steps == 90 and source.sampler.epoch == 8


def test_a_sample_without_a_loss_is_waited_for(monkeypatch):
    how = {"n": 300, "size": 32, "drop_last": True, "epochs": 12}
    ours = run(**how)
    assert not np.isnan(ours[1].losses).any()  # so that the last epochs were drawn inside
    outside(monkeypatch)
    assert_same_run(ours, run(**how))


class Stop(Exception):
    pass


@pytest.mark.parametrize("save", [2, 4])  # in the first epoch, and where it is drawn inside
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not(save, tmp_path, monkeypatch):
    saves, real = itertools.count(1), checkpoint.save

    def failing(*args, **kwargs):
        real(*args, **kwargs)
        if next(saves) == save:
            raise Stop

    net, source = make()
    expected = train(net, source, 3, **OPTIONS)
    monkeypatch.setattr(checkpoint, "save", failing)
    stopped, source = make()
    with pytest.raises(Stop):
        train(stopped, source, 3, checkpoint=tmp_path, checkpoint_every=4, **OPTIONS)
    again, source = make()
    history = resume(tmp_path, again, source)
    assert 0 < history.steps < expected.steps
    history = train(again, source, 3, history=history, **OPTIONS)
    np.testing.assert_array_equal(np.concatenate(history.indices), np.concatenate(expected.indices))
    assert_same_weights(again, net, 1e-6)


def test_a_loss_that_is_not_finite_ends_it_and_the_losses_before_it_were_heard():
    net, source = make()
    history = train(net, source, 1, **OPTIONS)
    before = source.sampler.losses
    source.x[7] = np.nan
    with pytest.raises(FloatingPointError, match=r"samples \[7\]"):
        train(net, source, 9, history=history, **OPTIONS)
    steps = history.steps - 10
    assert steps > 0
    heard = np.unique(np.concatenate(history.indices[-steps:]))
    assert 7 not in heard and np.isfinite(source.sampler.losses).all()
    assert (source.sampler.losses != before).sum() >= len(heard) / 2


@pytest.mark.parametrize("n", [1, 16, 17, 300, 5000])
def test_numbers_find_the_samples_of_their_share(n):
    rng = np.random.default_rng(n)
    losses, numbers = rng.exponential(size=n).astype(np.float32), rng.random(200)
    constants = priorities.tf.constant([1.0, 1e-12], "float64")
    levels = priorities._grown(priorities.tf.constant(losses), constants)
    ends = np.cumsum(losses.astype(float) + 1e-12)
    expected = np.searchsorted(ends, numbers * ends[-1], side="right")
    np.testing.assert_array_equal(priorities._find(levels, numbers), expected)
    # The sums of a tree that was changed are those of one that was grown so.
    changed = rng.integers(0, n, 30)
    values = rng.exponential(size=30).astype(np.float32)
    losses[changed] = values
    where = [np.flatnonzero(changed == sample)[-1] for sample in changed]
    weights = priorities._powers(priorities.tf.constant(values[where]), constants)
    put = priorities._put(levels, priorities.tf.constant(changed, "int32"), weights)
    for level, grown in zip(put, priorities._grown(priorities.tf.constant(losses), constants)):
        np.testing.assert_array_equal(level, grown)
