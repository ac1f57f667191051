"""Data that stay on the host: memory-mapped, or larger than the limit."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest

from batchlab import (
    Adversarial,
    CompiledSteps,
    Loader,
    PoolSelection,
    RandomSampler,
    SequentialSampler,
    eager_loop,
    resume,
    sample_losses,
    train,
)
from batchlab.backend import keras
from tests.loops.models import FeedbackSampler, N, assert_same_weights, data, loader, model

LOOPS = {
    "fit": lambda net, source: net.fit(source, epochs=2, shuffle=False, verbose=0),
    "dataset": lambda net, source: net.fit(source.as_dataset(), epochs=2, verbose=0),
    "eager": lambda net, source: eager_loop(net, source, 2),
    "train": lambda net, source: train(net, source, 2, verbose=0, jit_compile=False),
    "one step a call": lambda net, source: train(
        net, source, 2, verbose=0, jit_compile=False, steps_per_call=1
    ),
    "XLA": lambda net, source: train(net, source, 2, verbose=0, jit_compile=True),
}


class OwnSampler:
    """Not one of ours: its batches in order, and where it is."""

    def __init__(self, *batches):
        self.batches, self.next = batches, 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.next %= len(self.batches)
        while self.next < len(self.batches):
            self.next += 1
            yield self.batches[self.next - 1]

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def own_sampler():
    return OwnSampler(*np.array_split(np.random.default_rng(3).permutation(N), 5))


def noisy(rows, rng):
    return rows + rng.normal(0, 0.5, rows.shape).astype(np.float32)


@pytest.mark.parametrize("kind", ["dense", "two_inputs"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_streamed_data_give_the_same_weights(kind, jit_compile):
    if jit_compile and kind == "two_inputs":
        pytest.skip("one kind shows it")
    resident, streamed = model(kind), model(kind)
    options = {"verbose": 0, "jit_compile": jit_compile}
    train(resident, loader(kind), 2, **options)
    train(streamed, loader(kind), 2, resident_limit=10, **options)
    assert_same_weights(resident, streamed, 1e-6)


def test_memory_mapped_arrays_are_gathered_ahead_in_another_thread(tmp_path):
    x, y = data("dense")
    np.save(tmp_path / "x.npy", x)
    threads = []

    class Watched(Loader):
        def rows(self, indices):
            threads.append(threading.current_thread().name)
            return super().rows(indices)

    mapped = Watched(
        np.load(tmp_path / "x.npy", mmap_mode="r"), y, sampler=RandomSampler(N, 12, seed=3)
    )
    streamed, resident = model("dense"), model("dense")
    train(streamed, mapped, 2, verbose=0, jit_compile=False, steps_per_call=1)
    assert sum(name.startswith("batchlab-prefetch") for name in threads) == 6
    train(resident, loader(), 2, verbose=0, jit_compile=False)
    assert_same_weights(streamed, resident)


def test_an_error_in_the_other_thread_reaches_the_caller():
    class Failing(RandomSampler):
        def draw(self, size):
            raise RuntimeError("disk is gone")

    with pytest.raises(RuntimeError, match="disk is gone"):
        train(
            model("dense"),
            loader(sampler=Failing(N, 4)),
            verbose=0,
            jit_compile=False,
            resident_limit=1,
        )


def test_pools_of_streamed_data():
    histories = [
        train(
            model("dense"),
            loader(),
            verbose=0,
            jit_compile=False,
            selection=PoolSelection(3, 12),
            resident_limit=limit,
        )
        for limit in (1, 2**31)
    ]
    for one, two in zip(histories[0].indices, histories[1].indices):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("memory_mapped", [False, True])
def test_several_sources_are_resident_unless_one_is_memory_mapped(memory_mapped, tmp_path):
    x, y = data("dense")
    first = x[:10]
    if memory_mapped:
        np.save(tmp_path / "x.npy", first)
        first = np.load(tmp_path / "x.npy", mmap_mode="r")
    sources = {"a": (first, y[:10]), "b": (x[10:], y[10:])}
    joined = Loader.from_sources(sources, sampler=RandomSampler(N, 12, seed=3))
    assert CompiledSteps(model("dense"), joined).streamed == memory_mapped
    nets = [model("dense"), model("dense")]
    for net, source in zip(nets, (joined, loader())):
        train(net, source, 2, verbose=0, jit_compile=False)
    assert_same_weights(*nets)


# -- batches of one's own ------------------------------------------------------------------------


class OwnRows(Loader):
    def rows(self, indices):
        x, y = super().rows(indices)
        return x[:, ::-1] * np.float32(indices.mean()), y


class OwnGather(Loader):
    def gather(self, indices):
        x, y = self.rows(indices)
        return x * 2, y, np.arange(1, len(indices) + 1, dtype=np.float32)


@pytest.mark.parametrize("kind", [OwnRows, OwnGather])
@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_every_loop_takes_the_batches_of_a_loader_of_ones_own(kind, loop):
    x, y = data("dense")
    expected, net, plain = model("dense"), model("dense"), model("dense")
    for batch in [*(own := kind(x, y, sampler=RandomSampler(N, 12, seed=3))), *own]:
        expected.train_on_batch(*batch)
    LOOPS[loop](net, kind(x, y, sampler=RandomSampler(N, 12, seed=3)))
    assert_same_weights(net, expected, 1e-5)
    LOOPS["train"](plain, loader())
    with pytest.raises(AssertionError):
        assert_same_weights(plain, expected, 1e-3)


class Disk:
    """An array that is not in memory: whoever reads more than a batch of it is found out."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, indices):
        assert np.all(np.diff(indices) > 0)
        assert len(indices) <= 24
        return self.array[indices]

    def __array__(self, *arguments, **options):
        raise MemoryError("read whole")


class FetchedRows:
    """Rows one by one."""

    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        assert isinstance(index, int)
        return self.array[index]


@pytest.mark.parametrize("kind", [Disk, FetchedRows])
@pytest.mark.parametrize("loop", ["fit", "eager", "one step a call", "XLA"])
def test_what_is_not_in_memory_is_read_batch_by_batch(kind, loop):
    x, y = data("dense")
    net, expected = model("dense"), model("dense")
    # With replacement: samples come twice in a batch.
    LOOPS[loop](net, Loader(kind(x), y, sampler=FeedbackSampler(N, 12)))
    LOOPS[loop](expected, Loader(x, y, sampler=FeedbackSampler(N, 12)))
    assert_same_weights(net, expected)


# -- load(rows, rng) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "workers"), [(lambda: RandomSampler(N, 5, seed=3), 3), (own_sampler, 1)]
)
@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_augmented_batches_are_the_same_in_every_loop(make, workers, loop):
    x, y = data("dense")
    net, expected = model("dense"), model("dense")
    source = Loader(x, y, sampler=make(), load=noisy)
    for batch in [*source, *source]:
        expected.train_on_batch(*batch)
    LOOPS[loop](net, Loader(x, y, sampler=make(), load=noisy, workers=workers))
    assert_same_weights(net, expected, 1e-5)


@pytest.mark.parametrize("make", [lambda: RandomSampler(N, 3, seed=3), own_sampler])
def test_augmented_batches_go_on_after_a_resume(make, tmp_path):
    x, y = data("dense")

    def source():
        return Loader(x, y, sampler=make(), load=noisy)

    options = {"verbose": 0, "jit_compile": False}
    whole, first, second = model("dense"), model("dense"), model("dense")
    train(whole, source(), 3, **options)

    class Stop(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps > len(source()) + 2:
                raise InterruptedError

    saved = {"checkpoint": tmp_path, "checkpoint_every": 1}
    with pytest.raises(InterruptedError):
        train(first, source(), 3, callbacks=[Stop()], **saved, **options)
    rest = source()
    history = resume(tmp_path, second, rest)
    assert 0 < history.epoch_steps < len(rest)
    train(second, rest, 3, history=history, **options)
    assert_same_weights(second, whole)


def test_weights_are_those_of_the_draw():
    x, y = data("dense")
    nets = [model("dense"), model("dense")]
    for net, load in zip(nets, (None, lambda rows, rng: rows)):
        source = Loader(x, y, sampler=FeedbackSampler(N, 5), load=load, workers=2)
        train(net, source, 2, lag=3, verbose=0, jit_compile=False)
    assert_same_weights(*nets, 1e-6)


def test_a_step_does_not_wait_for_the_next_block():
    """It is made while the step runs, in threads."""
    names = set()

    def load(rows, rng):
        names.add(threading.current_thread().name)
        return rows

    x, y = data("dense")
    source = Loader(x, y, sampler=RandomSampler(N, 4), load=load, workers=2)
    train(model("dense"), source, verbose=0, jit_compile=False)
    assert any(name.startswith("batchlab-load") for name in names)


def padded(multiple):
    def load(rows, rng):
        longest = -(-max(map(len, rows)) // multiple) * multiple
        return np.stack([np.pad(row, (0, longest - len(row))) for row in rows])

    return load


def sentences(lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(1, 11, length) for length in lengths]


def text_model():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((None,), dtype="int64"),
            layers.Embedding(11, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1),
        ]
    )
    net.compile("sgd", "mse")
    return net


@pytest.mark.parametrize("loop", ["dataset", "eager", "train", "XLA"])
def test_batches_of_different_lengths(loop):
    lengths = np.random.default_rng(1).integers(1, 15, 40)
    net, expected = text_model(), text_model()
    source = Loader(sentences(lengths), np.ones(40), sampler=RandomSampler(40, 4), load=padded(4))
    shapes = {x.shape for x, _ in source}
    assert 1 < len(shapes) <= 4
    source.sampler.load_state_dict(RandomSampler(40, 4).state_dict())
    for batch in [*source, *source]:
        expected.train_on_batch(*batch)
    source.sampler.load_state_dict(RandomSampler(40, 4).state_dict())
    LOOPS[loop](net, source)
    assert_same_weights(net, expected, 1e-5)


def test_compiling_has_an_end():
    source = Loader(
        sentences(range(1, 101)), np.ones(100), sampler=SequentialSampler(100, 2), load=padded(1)
    )
    with pytest.raises(
        ValueError, match=r"more than 32 shapes, the last \(66,\).* Pad to multiples"
    ):
        train(text_model(), source, verbose=0, jit_compile=False, steps_per_call=100)


def test_pools_adversaries_and_losses_of_what_is_loaded():
    x, y = data("dense")
    x = x.clip(0.1, 0.9)
    for options in ({"selection": PoolSelection(3, 12)}, {"adversarial": Adversarial(0.1)}):
        nets = [model("dense"), model("dense")]
        for net, load in zip(nets, (None, lambda rows, rng: rows)):
            source = Loader(x, y, sampler=RandomSampler(N, 12), load=load)
            train(net, source, verbose=0, jit_compile=False, **options)
        assert_same_weights(*nets, 1e-6)
    losses = [
        sample_losses(nets[0], Loader(x, y, sampler=RandomSampler(N, 12), load=load))
        for load in (None, lambda rows, rng: rows)
    ]
    np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize("loop", [partial(train, verbose=0), eager_loop, sample_losses])
def test_without_targets_training_says_so(loop):
    source = Loader(data("dense")[0], sampler=RandomSampler(N, 12))
    with pytest.raises(ValueError, match=r"no targets.* Loader\(x, x, sampler="):
        loop(model("dense"), source)


# -- what model.fit takes, and train does not ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weight": {0: 1.0}}, "sample_weight=.*ClassBalancedSampler"),
        ({"validation_split": 0.2}, r"validation_data=\(x_val, y_val\)"),
        ({"batch_size": 32}, "a sampler with this batch_size"),
        ({"epoch": 32}, "epoch is no parameter of train.$"),
    ],
)
def test_arguments_of_fit_are_answered(options, message):
    with pytest.raises(TypeError, match=message):
        train(model("dense"), loader(), **options)


def test_arrays_in_the_place_of_a_loader_are_answered():
    with pytest.raises(TypeError, match=r"Build one with Loader\(x, y, sampler="):
        train(model("dense"), *data("dense"))
