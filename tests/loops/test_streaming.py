"""Data that stay on the host: memory-mapped, or larger than the limit."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from batchlab import CompiledSteps, Loader, PoolSelection, RandomSampler, train
from tests.loops.models import N, assert_same_weights, data, loader, model


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
