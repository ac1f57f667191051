"""One loader, the same batches for every loop; and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batchlab import (
    ClassBalancedSampler,
    Loader,
    PrioritizedSampler,
    RandomSampler,
    SequentialSampler,
    ShardedSampler,
    train,
)
from batchlab.backend import keras, tf

N = 10
X = np.arange(2.0 * N, dtype=np.float32).reshape(N, 2)
Y = np.arange(N) % 2


class OwnSampler:
    """What a reader might write: a list of batches, again in every epoch."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class ImportanceSampler(SequentialSampler):
    def importance_weights(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        return (1 / (1 + indices)).astype(np.float32)


class Spy(keras.Model):
    """A model that notes the first feature of every batch it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.seen: list[list[int]] = []

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        self.seen.append((data[0][:, 0].numpy() / 2).astype(int).tolist())
        return super().train_step(data)


def spy() -> Spy:
    model = Spy()
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def rows(batches: Any) -> list[list[int]]:
    """The sample numbers of array batches."""
    return [(np.asarray(batch[0])[:, 0] / 2).astype(int).tolist() for batch in batches]


def expected(epochs: int) -> list[list[int]]:
    sampler = RandomSampler(N, 3, seed=1)
    return [batch.tolist() for _ in range(epochs) for batch in sampler]


def loader() -> Loader:
    return Loader(X, Y, sampler=RandomSampler(N, 3, seed=1))


# -- the same batches in the same order ----------------------------------------------------------


def test_for_loop() -> None:
    own = loader()
    assert [row for _ in range(3) for row in rows(own)] == expected(3)


@pytest.mark.parametrize("kind", [Loader.__iter__, Loader.as_dataset])
def test_targets_belong_to_their_inputs(kind: Any) -> None:
    for x, y in kind(loader()):
        np.testing.assert_array_equal(y, (np.asarray(x)[:, 0] / 2).astype(int) % 2)


def test_dataset() -> None:
    dataset = loader().as_dataset()
    assert [row for _ in range(3) for row in rows(dataset)] == expected(3)


def test_model_fit() -> None:
    """Keras fetches batches before the first epoch; none may be lost by that."""
    model = spy()
    model.fit(loader(), epochs=3, shuffle=False, verbose=0)
    assert model.seen == expected(3)


def test_model_fit_on_the_dataset() -> None:
    model = spy()
    model.fit(loader().as_dataset(), epochs=3, verbose=0)
    assert model.seen == expected(3)


def test_model_fit_twice_goes_on() -> None:
    own, model = loader(), spy()
    for _ in range(3):
        model.fit(own, shuffle=False, verbose=0)
    assert model.seen == expected(3)


def test_model_fit_after_a_for_loop() -> None:
    own, model = loader(), spy()
    first = rows(own)
    model.fit(own, shuffle=False, verbose=0)
    assert first + model.seen == expected(2)


class StopInTheMiddle(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            raise KeyboardInterrupt


def test_model_fit_stopped_in_the_middle_then_fitted_again() -> None:
    """The interrupted epoch is over: the next fit trains on whole epochs, the next ones."""
    own, model = loader(), spy()
    with pytest.raises(KeyboardInterrupt):
        model.fit(own, epochs=2, shuffle=False, verbose=0, callbacks=[StopInTheMiddle()])
    assert model.seen == expected(1)[:2]
    model.seen.clear()
    model.fit(own, epochs=2, shuffle=False, verbose=0)
    assert model.seen == expected(3)[len(own) :]


def test_length_and_representation() -> None:
    assert len(loader()) == 4
    assert repr(loader()).startswith("Loader(n=10, sampler=RandomSampler(n=10, batch_size=3")


# -- shapes of data ------------------------------------------------------------------------------


def test_dict_and_tuple_of_inputs() -> None:
    data = Loader({"a": X, "b": X + 1}, (Y, Y + 1), sampler=SequentialSampler(N, 4))
    for batches in (data, data.as_dataset()):
        x, (first, second) = next(iter(batches))
        assert set(x) == {"a", "b"}
        np.testing.assert_array_equal(x["b"], X[:4] + 1)
        np.testing.assert_array_equal(np.asarray(second) - np.asarray(first), np.ones(4))


def test_dict_of_inputs_trains() -> None:
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "b": b}, keras.layers.Dense(1)(keras.layers.Add()([a, b])))
    model.compile("sgd", "mse")
    data = Loader({"a": X, "b": X}, Y, sampler=SequentialSampler(N, 4))
    assert np.isfinite(model.fit(data, shuffle=False, verbose=0).history["loss"]).all()


def test_memory_mapped_arrays_stay_on_disk(tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = Loader(mapped, Y, sampler=SequentialSampler(N, 4))
    assert isinstance(data.x, np.memmap)
    np.testing.assert_array_equal(next(iter(data))[0], X[:4])


def test_plain_lists_of_rows_are_arrays() -> None:
    data = Loader(X.tolist(), Y.tolist(), sampler=SequentialSampler(N, 4))
    x, y = next(iter(data))
    np.testing.assert_array_equal(x, X[:4])
    np.testing.assert_array_equal(y, Y[:4])


def test_tensors_are_arrays() -> None:
    data = Loader(tf.constant(X), tf.constant(Y), sampler=SequentialSampler(N, 4))
    np.testing.assert_array_equal(next(iter(data))[0], X[:4])


# -- weights and feedback ------------------------------------------------------------------------


def test_no_weights() -> None:
    assert loader().weights(np.arange(3)) is None


def test_sample_weights_times_importance_weights() -> None:
    own = Loader(X, Y, sample_weight=np.arange(N), sampler=ImportanceSampler(N, 4))
    for batches in (own, own.as_dataset()):
        weights = next(iter(batches))[2]
        assert np.asarray(weights).dtype == np.float32
        np.testing.assert_allclose(weights, [0, 1 / 2, 2 / 3, 3 / 4], rtol=1e-6)


def test_importance_weights_scale_the_loss_of_model_fit() -> None:
    losses = []
    for sampler in (SequentialSampler(N, N), ImportanceSampler(N, N)):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, trainable=False)])
        model.set_weights([np.zeros((2, 1)), np.ones(1)])
        model.compile("sgd", "mse")
        data = Loader(X, np.zeros(N), sampler=sampler)
        losses += model.fit(data, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(losses, [1, np.mean(1 / np.arange(1, N + 1))], rtol=1e-5)


def test_a_loader_knows_whether_its_sampler_listens_and_weighs():
    class Foreign(OwnSampler):
        def update(self, indices, losses):
            pass

    def answers(sampler):
        loader = Loader(X, Y, sampler=sampler)
        return loader.listens, loader.weighs

    assert answers(OwnSampler([0])) == (False, False)
    assert answers(Foreign([0])) == (True, False)
    assert answers(RandomSampler(N, 1)) == (False, False)
    assert answers(ImportanceSampler(N, 1)) == (False, True)
    assert answers(ShardedSampler(PrioritizedSampler(N, 2), 2, 0)) == (True, True)


def test_update_reaches_a_sampler_that_listens() -> None:
    class Listening(SequentialSampler):
        def update(self, indices: Any, losses: Any) -> None:
            self.heard = (indices, losses)

    sampler = Listening(N, 4)
    Loader(X, Y, sampler=sampler).update(np.arange(2), np.ones(2))
    np.testing.assert_array_equal(sampler.heard[0], [0, 1])
    Loader(X, Y, sampler=OwnSampler([0])).update(np.arange(2), np.ones(2))  # nobody listens


# -- a sampler of one's own ----------------------------------------------------------------------


def test_own_sampler_of_lists() -> None:
    own = Loader(X, Y, sampler=OwnSampler([0, 1], [9]))
    assert rows(own) == rows(own.as_dataset()) == [[0, 1], [9]]


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([0, 10], IndexError, "OwnSampler: index 10 at position 1 of the batch is out of range"),
        ([0, 1, -1], IndexError, "index -1 at position 2"),
        ([0.0, 1.0], TypeError, "whole numbers"),
        ([True, False], TypeError, "dtype bool"),
        ([], TypeError, "not empty"),
        ([[0, 1]], TypeError, r"shape \(1, 2\)"),
        (3, TypeError, r"shape \(\)"),
        (["a"], TypeError, "whole numbers"),
    ],
)
def test_bad_batch_of_an_own_sampler(batch: Any, error: type, message: str) -> None:
    batches = iter(Loader(X, Y, sampler=OwnSampler([0, 1], batch)))
    next(batches)
    with pytest.raises(error, match=message):
        next(batches)


def test_fewer_batches_than_promised_are_an_error_in_fit() -> None:
    class Short(OwnSampler):
        def __len__(self) -> int:
            return 3

    with pytest.raises(IndexError, match=r"batch 1 was asked for, but .* had only 1"):
        Loader(X, Y, sampler=Short([0, 1]))[1]


# -- load(rows, rng) -----------------------------------------------------------------------------


def drawn_numbers(sampler: Any, epochs: int = 1) -> list[float]:
    """The first random number that every batch gets."""
    numbers = Loader(X, Y, sampler=sampler, load=lambda rows, rng: rows[:, 0] * 0 + rng.random())
    return [float(x[0]) for _ in range(epochs) for x, _ in numbers]


def test_every_batch_has_random_numbers_of_its_own() -> None:
    samplers = [RandomSampler(N, 3, seed=0), RandomSampler(N, 3, seed=1), OwnSampler([0], [1])]
    samplers += [ShardedSampler(RandomSampler(N, 4, seed=2), 2, shard) for shard in range(2)]
    numbers = [number for sampler in samplers for number in drawn_numbers(sampler, 2)]
    assert len(set(numbers)) == len(numbers) == 8 + 8 + 4 + 6 + 6


def test_random_numbers_follow_seed_epoch_and_place() -> None:
    whole = drawn_numbers(RandomSampler(N, 3, seed=1), 2)
    assert whole == drawn_numbers(RandomSampler(N, 3, seed=1), 2)
    sampler = RandomSampler(N, 3, seed=1)
    batches = iter(sampler)
    for _ in range(3):
        next(batches)
    continued = RandomSampler(N, 3, seed=1)
    continued.load_state_dict(sampler.state_dict())
    assert drawn_numbers(continued, 2) == whole[3:]


def test_load_gets_arrays_of_arrays_and_lists_of_anything_else() -> None:
    seen = []

    def load(rows: Any, rng: Any) -> Any:
        seen.append(rows)
        return X[: len(rows["a"])]

    mixed = Loader({"a": X, "b": ["one"] * N}, Y, sampler=SequentialSampler(N, 4), load=load)
    next(iter(mixed))
    np.testing.assert_array_equal(seen[0]["a"], X[:4])
    assert seen[0]["b"] == ["one"] * 4


def test_load_may_make_inputs_and_targets_together() -> None:
    both = Loader(X, sampler=SequentialSampler(N, 4), load=lambda rows, rng: (rows, rows[:, 0]))
    for batches in (both, both.as_dataset()):
        x, y = next(iter(batches))
        np.testing.assert_array_equal(np.asarray(x)[:, 0], y)


def test_without_targets() -> None:
    alone = Loader(X, sampler=SequentialSampler(N, 4))
    for batches in (alone, alone.as_dataset()):
        (x,) = next(iter(batches))
        np.testing.assert_array_equal(x, X[:4])
    weighed = Loader(X, sampler=ImportanceSampler(N, 4))
    x, y, weights = next(iter(weighed))
    assert y is None
    assert weights.shape == (4,)
    with pytest.raises(ValueError, match="no place for weights without targets"):
        weighed.as_dataset()


@pytest.mark.parametrize(
    ("load", "error", "message"),
    [
        ("flip", TypeError, r"load must be a function load\(rows, rng\), got str"),
        (
            lambda rows, rng: rows[:3],
            ValueError,
            r"load must give .* 4 samples, got shapes \[\(3, 2",
        ),
        (lambda rows, rng: 1, ValueError, r"got shapes \[\(\)\] for samples \[0, 1, 2, 3\]"),
        (lambda rows, rng: {}, ValueError, r"got shapes \[\]"),
        (lambda rows, rng: rows.astype(object), TypeError, "numbers or strings, got dtype object"),
    ],
)
def test_bad_load(load: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        next(iter(Loader(X, Y, sampler=SequentialSampler(N, 4), load=load)))


@pytest.mark.parametrize("workers", [0, 1.5, "two"])
def test_bad_workers(workers: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="Loader: workers"):
        Loader(X, Y, sampler=SequentialSampler(N, 4), workers=workers)


def test_strings_go_through_for_layers_that_take_them() -> None:
    words = np.array(["a b", "b", "c a", "c", "a"] * 2)
    vectors = keras.layers.TextVectorization(output_mode="multi_hot")
    vectors.adapt(words)
    weights = []
    for x in (words, words.astype(object), words.tolist()):
        for loop in ("fit", "dataset", "train"):
            keras.utils.set_random_seed(1)
            inputs = keras.Input((), dtype="string")
            model = keras.Model(inputs, keras.layers.Dense(1)(vectors(inputs)))
            model.compile("sgd", "mse")
            text = Loader(x, Y, sampler=RandomSampler(N, 4))
            if loop == "train":
                train(model, text, verbose=0, jit_compile=True)
            else:
                model.fit(text if loop == "fit" else text.as_dataset(), shuffle=False, verbose=0)
            weights.append(model.get_weights()[0])
    for other in weights[1:]:
        np.testing.assert_allclose(other, weights[0], atol=1e-6)


# -- what a loader refuses -----------------------------------------------------------------------

RAGGED = [[1.0, 2.0], [3.0]]
STRINGS = np.array(["cat", "dog"] * 5)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X, Y[:9], ValueError, "got 10 in x and 9 in y"),
        (X[:0], Y[:0], ValueError, "at least one sample"),
        (np.float32(1), Y, ValueError, r"shapes \[\(\)\]"),
        ({"a": X, "b": X[:9]}, Y, ValueError, r"x must .* with shapes \[\(10, 2\), \(9, 2\)\]"),
        (X, (Y, Y[:9]), ValueError, r"y must .* with shapes \[\(10,\), \(9,\)\]"),
        ({}, Y, ValueError, "x must"),
        ((), Y, ValueError, "x must"),
        (X, STRINGS, TypeError, r"y must hold numbers.*np.unique\(y, return_inverse=True\)"),
        (np.array(["cat", None] * 5), Y, TypeError, "x must hold numbers, got dtype object"),
        (X.astype(object), Y, TypeError, "x must hold numbers, got dtype object"),
        (X, np.arange(N).astype("datetime64[D]"), TypeError, "Convert it to float32"),
        (X.astype(complex), Y, TypeError, "complex128"),
        (None, Y, ValueError, "x must .* got NoneType"),
        (RAGGED, Y, ValueError, r"x must .* but its rows differ in shape"),
        ({"a": RAGGED}, Y, ValueError, r"x\['a'\] must be an array"),
        ([X, X + 1], Y, ValueError, "got 2 in x and 10 in y"),
        (tf.data.Dataset.range(N), Y, TypeError, "x must .* got _RangeDataset"),
    ],
)
def test_bad_data(x: Any, y: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Loader(x, y, sampler=SequentialSampler(N, 4))


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(9), ValueError, r"shape \(10,\), got \(9,\)"),
        (np.ones((N, 1)), ValueError, r"got \(10, 1\)"),
        (1.0, ValueError, r"got \(\)"),
        ([1] * 9 + [np.nan], ValueError, r"sample_weight\[9\] is nan"),
        ([np.inf] + [1] * 9, ValueError, r"sample_weight\[0\] is inf"),
        (["a"] * N, TypeError, "sample_weight must hold numbers, got dtype <U1"),
        ([None] * N, TypeError, r"sample_weight\[0\] is None"),
    ],
)
def test_bad_sample_weight(weights: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Loader(X, Y, sample_weight=weights, sampler=SequentialSampler(N, 4))


@pytest.mark.parametrize(
    ("sampler", "error", "message"),
    [
        (None, TypeError, r"got NoneType.*RandomSampler\(10, batch_size=32\)"),
        (32, TypeError, "got int"),
        ((batch for batch in [[0]]), TypeError, "with a length, got generator"),
        (SequentialSampler(9, 4), ValueError, "10 samples, but the sampler was made for 9"),
        (ClassBalancedSampler([0, 1, 1], 2), ValueError, "made for 3"),
        (RandomSampler, TypeError, "got RandomSampler"),
        ("random", TypeError, "got str"),
    ],
)
def test_bad_sampler(sampler: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Loader(X, Y, sampler=sampler)


def test_refused_data_leaves_the_sampler_where_it_was() -> None:
    sampler = RandomSampler(N, 3, seed=1)
    state = sampler.state_dict()
    with pytest.raises(ValueError, match="Loader"):
        Loader(X, Y[:9], sampler=sampler)
    assert sampler.state_dict() == state
