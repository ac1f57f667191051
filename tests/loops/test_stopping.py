"""NaN, Ctrl-C: training stops, and what it says and leaves behind is right."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from batchlab import Loader, PrioritizedSampler, RandomSampler, Sampler, train
from batchlab.backend import keras
from tests.loops.models import FeedbackSampler, N, assert_same_weights, data, loader, model


def spoilt(sampler=None):
    """A loader one of whose samples has no finite loss, and the step in which that sample comes."""
    x, y = data("dense")
    x = x.copy()
    source = Loader(x, y, sampler=sampler or RandomSampler(N, 4, seed=3))
    batches = list(RandomSampler(N, 4, seed=3))
    bad = batches[4][2]
    x[bad] = np.nan
    return source, batches, bad


def test_a_nan_is_named_by_step_and_sample_and_good_weights_come_back():
    source, batches, bad = spoilt()
    net = model("tanh", "adam")
    with pytest.raises(FloatingPointError, match=rf"nan at step 4, for samples \[{bad}\]"):
        train(net, source, verbose=0, jit_compile=False, restore_on_nan=True)
    good = model("tanh", "adam")
    x, y = data("dense")
    train(good, Loader(x, y, sampler=batches[:4]), verbose=0, jit_compile=False)
    assert_same_weights(net, good)
    assert int(net.optimizer.iterations.numpy()) == 4
    assert net.history.steps == 4
    assert np.isfinite(net.history.step_losses).all()
    source.sampler.continue_epoch()
    np.testing.assert_array_equal(next(iter(source.sampler)), batches[4])  # nothing is skipped


def test_a_sampler_that_listens_goes_back_to_a_nan_with_all_it_heard():
    def trained(sampler, **options):
        net, source = model("tanh"), spoilt(sampler)[0]
        with pytest.raises(FloatingPointError):
            train(net, source, verbose=0, jit_compile=False, lag=2, restore_on_nan=True, **options)
        return net.history, sampler

    history, sampler = trained(PrioritizedSampler(N, 4))
    assert sampler.position == 4 * (history.steps % len(sampler))
    again, other = trained(PrioritizedSampler(N, 4), steps_per_call=1)
    assert again.steps == history.steps
    np.testing.assert_array_equal(sampler.probabilities, other.probabilities)
    sampler.continue_epoch()
    other.continue_epoch()
    np.testing.assert_array_equal(next(iter(sampler)), next(iter(other)))


def test_without_restoring_the_message_says_so():
    net = model("tanh")
    with pytest.raises(FloatingPointError, match="The weights are spoilt"):
        train(net, spoilt()[0], verbose=0, jit_compile=False)
    assert net.history.steps == 4


def test_a_sampler_never_hears_of_a_nan():
    sampler = FeedbackSampler(N, 4)
    with pytest.raises(FloatingPointError):
        train(model("tanh"), spoilt(sampler)[0], verbose=0, jit_compile=False)
    assert np.isfinite(sampler.losses).all()


class InterruptAt(Sampler):
    """Presses Ctrl-C while a certain batch is drawn."""

    def draw(self, size):
        if self.position == 8 and self.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return np.arange(self.position, self.position + size)


@pytest.mark.parametrize("memory_mapped", [False, True])
def test_ctrl_c_stops_between_calls_and_the_record_is_whole(memory_mapped, tmp_path):
    x, y = data("dense")
    if memory_mapped:
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    net = model("dense")
    handler = signal.getsignal(signal.SIGINT)
    source = Loader(x, y, sampler=InterruptAt(N, 4))
    with pytest.raises(KeyboardInterrupt):
        train(net, source, 3, verbose=0, jit_compile=False, steps_per_call=2)
    assert signal.getsignal(signal.SIGINT) is handler
    history = net.history
    assert history.epoch == [0]
    assert int(net.optimizer.iterations.numpy()) == history.steps == 7 + 4
    assert source.sampler.state_dict()["drawn"] == 16  # what was drawn was trained on

    history = train(net, source, 3, verbose=0, jit_compile=False, history=history)
    uninterrupted = model("dense")
    train(uninterrupted, loader(sampler=[*source.sampler]), 3, verbose=0, jit_compile=False)
    assert history.epoch == [0, 1, 2]
    assert_same_weights(net, uninterrupted)


def test_train_works_in_a_thread_where_signals_cannot_be_caught():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        history = pool.submit(
            train, model("dense"), loader(), verbose=0, jit_compile=False
        ).result()
    assert history.steps == 3


def test_stop_training_is_reset_at_the_start():
    net = model("dense", keras.optimizers.SGD(0.1))
    net.stop_training = True
    assert train(net, loader(), 2, verbose=0, jit_compile=False).epoch == [0, 1]


def test_a_nan_in_the_first_step_of_a_call_is_named_too():
    x, y = data("tanh")
    source = Loader(np.full_like(x, np.nan), y, sampler=RandomSampler(N, 12, seed=3))
    with pytest.raises(FloatingPointError, match=r"nan at step 0, .* In the data x\["):
        train(model("tanh"), source, verbose=0, jit_compile=False)
