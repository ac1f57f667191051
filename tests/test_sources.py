"""What samples are read from: one source or several, in memory or not."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from batchlab.backend import keras, tf
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


# -- anything with rows --------------------------------------------------------------------------

X, Y = arrays(30, 0)


class Rows:
    """One row at a time."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if not isinstance(index, int):
            raise TypeError("one row at a time")
        return self.rows[index]


class ManyRows(Rows):
    """As data sets of PyTorch and Hugging Face are asked."""

    def __getitems__(self, indices):
        assert isinstance(indices, list)
        return [self.rows[index] for index in indices]


def test_rows_of_several_sources():
    sources = {"big": (Rows(X), Y), "small": (Rows(arrays(6, 30)[0]), arrays(6, 30)[1])}
    x, y = next(iter(Loader.from_sources(sources, sampler=mixture())))
    assert x[:, 0].tolist() == y.tolist()


@pytest.mark.parametrize("kind", [Rows, ManyRows])
@pytest.mark.parametrize("workers", [1, 3])
def test_rows_are_stacked_in_the_order_of_the_draw(kind, workers):
    loader = Loader(kind(X), Y, sampler=RandomSampler(30, 7), workers=workers)
    for x, y in loader:
        assert x[:, 0].tolist() == y.tolist()


def test_rows_are_read_in_threads():
    both = threading.Barrier(2)

    class Slow(Rows):
        def __getitem__(self, index):
            both.wait(60)  # for another thread, which must be reading, too
            return super().__getitem__(index)

    loader = Loader(Slow(X), Y, sampler=SequentialSampler(30, 8), workers=2)
    assert next(iter(loader))[0].tolist() == X[:8].tolist()


def test_rows_that_are_dicts_and_tuples():
    dicts = Rows([{"image": np.full((2, 2), i), "size": i} for i in range(30)])
    x, _ = next(iter(Loader(dicts, Y, sampler=SequentialSampler(30, 4))))
    assert x["image"].shape == (4, 2, 2)
    assert x["size"].tolist() == [0, 1, 2, 3]
    pairs = Rows(list(zip(X, Y)))
    x, y = next(iter(Loader(pairs, sampler=SequentialSampler(30, 4))))
    assert x[:, 0].tolist() == y.tolist()


def test_rows_beside_arrays():
    loader = Loader({"read": Rows(X), "here": X}, Y, sampler=RandomSampler(30, 4))
    for x, _ in (*loader, *loader.as_dataset()):
        np.testing.assert_array_equal(x["read"], x["here"])


def test_rows_that_differ_in_shape_are_named():
    ragged = Rows([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match=r"sample 0 is \(1,\), that of sample 1 \(2,\).* load="):
        list(Loader(ragged, [0, 1], sampler=SequentialSampler(2, 2)))


def test_too_few_rows_at_once():
    class Short(ManyRows):
        def __getitems__(self, indices):
            return super().__getitems__(indices)[1:]

    with pytest.raises(ValueError, match="Short.__getitems__ must .* the 4 indices, got 3"):
        next(iter(Loader(Short(X), Y, sampler=SequentialSampler(30, 4))))


# -- files and libraries -------------------------------------------------------------------------


def hdf5(path):
    file = pytest.importorskip("h5py").File(path / "data.h5", "w")
    return file.create_dataset("x", data=X), file.create_dataset("y", data=Y)


def zarr(path):
    open_array = pytest.importorskip("zarr").open_array  # which 2 has as well as 3
    stored = [
        open_array(str(path / f"{name}.zarr"), mode="w", shape=a.shape, dtype=a.dtype)
        for name, a in zip("xy", (X, Y))
    ]
    for array, values in zip(stored, (X, Y)):
        array[:] = values
    return stored


def memmap(path):
    np.save(path / "x.npy", X)
    return np.load(path / "x.npy", mmap_mode="r"), Y


@pytest.mark.parametrize("kind", [hdf5, zarr, memmap])
@pytest.mark.parametrize("batch", [[5, 3, 29, 3], [0]])
def test_arrays_on_disk_give_rows_in_the_order_of_the_indices(kind, batch, tmp_path):
    x, y = kind(tmp_path)
    x_batch, y_batch = next(iter(Loader(x, y, sampler=[batch])))
    assert type(x_batch) is np.ndarray
    assert x_batch.tolist() == X[batch].tolist()
    assert y_batch.tolist() == batch


def test_rows_of_a_sparse_matrix():
    sparse = pytest.importorskip("scipy.sparse")
    for matrix in (sparse.csr_array(X), sparse.coo_matrix(X)):
        x, _ = next(iter(Loader(matrix, Y, sampler=[[5, 3, 3]])))
        assert x.tolist() == X[[5, 3, 3]].tolist()


def test_hugging_face():
    rows = pytest.importorskip("datasets").Dataset.from_dict({"x": X.tolist(), "y": Y.tolist()})
    x, _ = next(iter(Loader(rows, Y, sampler=[[5, 3]])))
    assert x["y"].tolist() == [5, 3]


def test_frames_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": Y, "c": Y > 3}, index=range(100, 130))
    x, y = next(iter(Loader(frame, frame["b"], sampler=[[5, 3]])))
    assert x.tolist() == [[5, 5, 1], [3, 3, 0]]
    assert y.tolist() == [5, 3]
    frame["town"] = "Bern"
    with pytest.raises(TypeError, match=r"column 'town' of x holds no plain numbers.*x=dict\(x\)"):
        Loader(frame, Y, sampler=[[5, 3]])
    x, _ = next(iter(Loader(dict(frame), Y, sampler=[[5, 3]])))
    assert x["town"].tolist() == ["Bern", "Bern"]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, number):
        return X, Y


RAGGED = tf.ragged.constant([[1], [1, 2]])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (tf.data.Dataset.from_tensor_slices((X, Y)), TypeError, r"as_numpy_iterator\(\)"),
        (Batches(), TypeError, r"map\(np.concatenate, zip\("),
        (iter(X), TypeError, r"x = list\(x\)"),
        (RAGGED, ValueError, r"x.to_tensor\(\), .* load="),
        ({"a": RAGGED}, ValueError, r"x\['a'\] is ragged"),
    ],
)
def test_what_has_no_rows_is_refused_with_the_mend(x, error, message):
    with pytest.raises(error, match=message):
        Loader(x, Y, sampler=SequentialSampler(30, 4))


def test_the_mends_work():
    dataset, data = tf.data.Dataset.from_tensor_slices((X, Y)), Batches()
    for x, y in (
        map(np.array, zip(*dataset.as_numpy_iterator())),
        map(np.concatenate, zip(*(data[i] for i in range(len(data))))),
    ):
        assert next(iter(Loader(x, y, sampler=[[5, 3]])))[0].tolist() == X[[5, 3]].tolist()


def test_ragged_rows_are_padded_by_load():
    def pad(rows, rng):
        return keras.utils.pad_sequences([row.numpy() for row in rows], padding="post")

    x, _ = next(iter(Loader(RAGGED, [0, 1], sampler=[[1, 0]], load=pad)))
    assert x.tolist() == [[1, 2], [1, 0]]


@pytest.mark.parametrize("y", [Rows(Y), RAGGED])
def test_targets_are_arrays(y):
    with pytest.raises((TypeError, ValueError), match="y (must be an array|is ragged)"):
        Loader(X, y, sampler=SequentialSampler(30, 4))
