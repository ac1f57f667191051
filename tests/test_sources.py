"""One loader over several sources."""

from __future__ import annotations

import numpy as np
import pytest

from batchlab.loaders import Loader
from batchlab.samplers import (
    MixtureSampler,
    RandomSampler,
    SequentialSampler,
    ShardedSampler,
)


def mixture(**options):
    samplers = {"big": RandomSampler(30, 1), "small": RandomSampler(6, 1, seed=1)}
    return MixtureSampler(samplers, {"big": 0.5, "small": 0.5}, batch_size=8, **options)


def arrays(n, start):
    x = np.arange(start, start + n, dtype=np.float32)[:, None] * [1.0, -1.0]
    return x.astype(np.float32), np.arange(start, start + n)


def test_batches_keep_the_order_of_the_indices():
    loader = Loader.from_sources({"big": arrays(30, 0), "small": arrays(6, 30)}, sampler=mixture())
    for (x, y), indices in zip(loader, mixture()):
        assert y.tolist() == indices.tolist()
        assert x.tolist() == [[i, -i] for i in indices]
        assert x.dtype == np.float32


def test_only_the_rows_of_a_batch_are_read(tmp_path):
    class Counting(np.memmap):
        read = 0

        def __getitem__(self, key):
            rows = super().__getitem__(key)
            if isinstance(key, np.ndarray):
                Counting.read += len(key)
            return np.asarray(rows)

    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (30, 2))
    big[:] = arrays(30, 0)[0]
    sources = {"big": (big.view(Counting), arrays(30, 0)[1]), "small": arrays(6, 30)}
    loader = Loader.from_sources(sources, sampler=mixture())
    x, y = next(iter(loader))
    assert x[:, 0].tolist() == y.tolist()
    assert Counting.read == 4
    assert np.shares_memory(loader.x.arrays[0], big)


def test_trees_of_arrays_and_other_samplers_work():
    def tree(n, start):
        return {"image": np.full((n, 2, 2), start, np.float32)}, np.arange(n)

    sources = {"big": tree(30, 0), "small": tree(6, 7)}
    loader = Loader.from_sources(sources, sampler=SequentialSampler(36, 12))
    x, _ = list(loader)[-1]
    assert x["image"][:, 0, 0].tolist() == [0] * 6 + [7] * 6
    assert np.asarray(loader.y).tolist() == [*range(30), *range(6)]
    sharded = Loader.from_sources(sources, sampler=ShardedSampler(mixture(), 2, 0))
    assert all(len(y) in (4, 2) for _, y in sharded)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda s: s.update(small=arrays(7, 30)),
            ValueError,
            "7 samples, but the sampler was made for 6",
        ),
        (lambda s: s.pop("small"), ValueError, "the sampler draws from"),
        (
            lambda s: s.update(small=(np.zeros((6, 3), np.float32), np.arange(6))),
            ValueError,
            "'small'",
        ),
        (lambda s: s.update(small=(np.zeros((6, 2)), np.arange(6))), ValueError, "float64"),
        (
            lambda s: s.update(small=({"x": arrays(6, 0)[0]}, np.arange(6))),
            ValueError,
            "not built like",
        ),
        (lambda s: s.update(small=np.zeros((6, 2))), TypeError, "'small' must be a tuple"),
        (lambda s: s.clear(), TypeError, "sources must be a dict"),
    ],
)
def test_sources_that_do_not_fit_are_refused(change, error, message):
    sources = {"big": arrays(30, 0), "small": arrays(6, 30)}
    change(sources)
    with pytest.raises(error, match=message):
        Loader.from_sources(sources, sampler=mixture())
