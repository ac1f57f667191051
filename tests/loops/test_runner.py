"""One runner: a session and a script are the same run, and nothing that was drawn is lost."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from batchlab import (
    CompiledSteps,
    History,
    Loader,
    PrioritizedSampler,
    RandomSampler,
    Session,
    ShardedSampler,
    eager_loop,
    train,
)
from batchlab.backend import keras
from batchlab.loops.runner import Runner
from tests.loops.models import FeedbackSampler, N, assert_same_weights, data, loader, model

OPTIONS: dict[str, Any] = {"verbose": 0, "jit_compile": False}


class Fails(FeedbackSampler):
    """Listens, and cannot draw once: at a certain place of the second epoch."""

    fails = True

    def draw(self, size):
        if self.epoch == 1 and self.position == 12 and self.fails:
            self.fails = False
            raise OSError("disk is gone")
        return super().draw(size)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FeedbackSampler(N, 4, seed=2),
        lambda: PrioritizedSampler(N, 3, seed=2),
        lambda: ShardedSampler(PrioritizedSampler(N, 3, seed=2), 1, 0),
        lambda: RandomSampler(N, 5, seed=2),
    ],
)
def test_a_session_in_odd_pieces_is_the_run_of_train(make):
    x, y = data("dense")
    trained, lived = model("dense", "adam"), model("dense", "adam")
    source = Loader(x, y, sampler=make())
    epochs = 9
    history = train(trained, source, epochs, **OPTIONS)
    session = Session(x, y, lived, {"only": make()})
    left = history.steps
    for steps in (1, 7, 30, left - 38):
        session.run(steps)
    assert session.history.steps == history.steps > 3 * 16
    assert_same_weights(trained, lived)
    for name, expected in history.arrays().items():
        np.testing.assert_array_equal(session.history.arrays()[name], expected, err_msg=name)


@pytest.mark.parametrize("lag", [1, 3, 5])
def test_losses_are_handed_back_at_multiples_of_the_lag_counted_over_all_epochs(lag):
    sampler = FeedbackSampler(N, 4)
    train(model("dense"), loader(sampler=sampler), 2, lag=lag, **OPTIONS)
    told = np.cumsum([len(indices) // 4 for indices in sampler.told])
    assert told.tolist() == sorted({*range(lag, 15, lag), 7, 14})


def test_a_wrapper_hears_of_every_loss():
    sampler = FeedbackSampler(N, 4)
    train(model("dense"), loader(sampler=ShardedSampler(sampler, 1, 0)), 2, **OPTIONS)
    assert sum(map(len, sampler.told)) == 2 * N


def test_two_samplers_in_turn_each_hear_of_what_they_drew():
    samplers = [FeedbackSampler(N, 4, seed=seed) for seed in range(2)]
    source = loader(sampler=samplers[0])
    history = History(N)
    runner = Runner(CompiledSteps(model("dense"), source, jit_compile=False), history, "test", lag=5)
    for turn, steps in enumerate((2, 1, 2, 3)):
        source.sampler = samplers[turn % 2]
        runner.run(steps)
    drawn = [np.concatenate(part).tolist() for part in (history.indices[:2], history.indices[2:3])]
    assert samplers[0].told == [drawn[0] + np.concatenate(history.indices[3:5]).tolist()]
    assert samplers[1].told == [drawn[1]]
    runner.hand_back()
    assert samplers[1].told == [drawn[1], np.concatenate(history.indices[5:]).tolist()]


class Empty:
    n = N

    def __len__(self):
        return 2

    def __iter__(self):
        return iter(())


class Nothing(Empty):
    def __iter__(self):
        return iter([None])


class Endless(Empty):
    def __iter__(self):
        while True:
            yield np.arange(4)


def test_a_sampler_that_gives_nothing_is_no_success():
    with pytest.raises(ValueError, match="train: Empty gave an epoch with no batch"):
        train(model("dense"), loader(sampler=Empty()), **OPTIONS)
    with pytest.raises(TypeError, match="Nothing: indices must be an array"):
        train(model("dense"), loader(sampler=Nothing()), **OPTIONS)
    with pytest.raises(ValueError, match="Session: Empty gave an epoch with no batch"):
        Session(*data("dense"), model("dense"), {"empty": Empty()}).run(1)


def test_an_endless_sampler_gives_as_many_batches_as_its_length():
    assert train(model("dense"), loader(sampler=Endless()), 2, **OPTIONS).steps == 4
    assert eager_loop(model("dense"), loader(sampler=Endless()), 2).steps == 4
    assert len(list(loader(sampler=Endless()))) == 2


def test_a_growing_batch_size_does_not_end_an_epoch_early():
    class Grow(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 9:
                sampler.batch_size = 9

    sampler = RandomSampler(N, 2)
    history = train(model("dense"), loader(sampler=sampler), callbacks=[Grow()], **OPTIONS)
    assert [len(batch) for batch in history.indices] == [2] * 10 + [8]


@pytest.mark.parametrize("steps", [10, 11])
def test_an_epoch_that_was_left_after_a_change_of_the_batch_size_goes_on(steps):
    class Leave(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.params["epochs"] == 2 and batch == 9:
                sampler.batch_size = 9
            if self.params["epochs"] == 2 and batch == steps - 1:
                os.kill(os.getpid(), signal.SIGINT)

    sampler, net = RandomSampler(N, 2), model("dense")
    with pytest.raises(KeyboardInterrupt):
        train(net, loader(sampler=sampler), 2, callbacks=[Leave()], **OPTIONS)
    assert net.history.steps == steps
    history = train(net, loader(sampler=sampler), 3, history=net.history, **OPTIONS)
    assert [len(batch) for batch in history.indices] == [2] * 10 + [8] + [9, 9, 9, 1] * 2
    assert history.visits.tolist() == [3] * N


@pytest.mark.parametrize("streamed", [False, True])
def test_batches_drawn_before_a_failing_draw_are_trained_on_and_heard_of(streamed):
    options = {**OPTIONS, "resident_limit": 1 if streamed else 2**31}
    sampler = Fails(N, 4, seed=2)
    net = model("dense", "adam")
    with pytest.raises(OSError, match="disk is gone"):
        train(net, loader(sampler=sampler), 2, **options)
    assert net.history.steps == 7 + 3 == int(net.optimizer.iterations.numpy())
    assert np.concatenate(sampler.told).tolist() == np.concatenate(net.history.indices).tolist()
    history = train(net, loader(sampler=sampler), 2, history=net.history, **options)
    assert history.steps == 14
    assert history.visits.sum() == 2 * N


def test_a_session_goes_on_after_a_failing_draw_as_if_nothing_had_happened():
    x, y = data("dense")
    ends = []
    for sampler in (Fails(N, 4, seed=2), FeedbackSampler(N, 4, seed=2)):
        session = Session(x, y, model("dense"), {"only": sampler})
        if isinstance(sampler, Fails):
            with pytest.raises(OSError, match="disk is gone"):
                session.run(20)
            assert session.history.steps == 10
        session.run(20 - session.history.steps)
        ends.append(session)
    for one, two in zip(ends[0].history.indices, ends[1].history.indices, strict=True):
        np.testing.assert_array_equal(one, two)
    assert_same_weights(ends[0].model, ends[1].model)


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end"])
def test_a_failing_batch_callback_loses_no_batch_and_no_update(hook):
    class Failing(keras.callbacks.Callback):
        pass

    def fail(self, batch, logs=None):
        if batch == 4:
            raise RuntimeError("no network")

    setattr(Failing, hook, fail)
    sampler = FeedbackSampler(N, 4, seed=2)
    net = model("dense")
    with pytest.raises(RuntimeError, match="no network"):
        train(net, loader(sampler=sampler), callbacks=[Failing()], **OPTIONS)
    assert net.history.steps == 5
    assert sampler.position == 20
    assert np.concatenate(sampler.told).tolist() == np.concatenate(net.history.indices).tolist()


def test_ctrl_c_before_the_first_draw_of_an_epoch_skips_nothing():
    class Press(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    sampler = RandomSampler(N, 4, seed=3)
    net = model("dense")
    with pytest.raises(KeyboardInterrupt):
        train(net, loader(sampler=sampler), 3, callbacks=[Press()], **OPTIONS)
    history = train(net, loader(sampler=sampler), 3, history=net.history, **OPTIONS)
    expected = RandomSampler(N, 4, seed=3)
    drawn = [batch for _ in range(3) for batch in expected]
    np.testing.assert_array_equal(np.concatenate(history.indices), np.concatenate(drawn))


def test_a_session_names_the_step_of_a_nan_and_the_strategy_never_hears_of_it():
    sampler = FeedbackSampler(N, 4, seed=2)
    session = Session(*data("dense"), model("tanh"), {"only": sampler})
    session.run(3)
    first = session.model.weights[0]
    first.assign(np.full(first.shape, np.nan))
    with pytest.raises(FloatingPointError, match="Session: the loss became nan at step 3, for sam"):
        session.run(20)
    assert session.history.steps == 3
    session.chances_at(2)
    session._runner.hand_back()
    told = np.concatenate(session.sampler.told)
    np.testing.assert_array_equal(told, np.concatenate(session.history.indices))
    assert np.isfinite(session.sampler.losses).all()


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


def test_a_train_step_of_ones_own_is_ignored_nowhere():
    net = OwnStep([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    net.compile("sgd", "sparse_categorical_crossentropy")
    for owner, begin in {
        "train": lambda: train(net, loader()),
        "eager_loop": lambda: eager_loop(net, loader()),
        "CompiledSteps": lambda: CompiledSteps(net, loader()),
        "Session": lambda: Session(*data("dense"), net, batch_size=4),
    }.items():
        with pytest.raises(TypeError, match=f"{owner}: OwnStep has a train_step of its own"):
            begin()
