"""From indices to arrays: one loader for ``for`` loops, ``model.fit`` and ``tf.data``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras, tf
from batchlab.validation import check_indices, read_array


class Loader(keras.utils.PyDataset):
    """Turn the index batches of a sampler into array batches.

    One loader serves every loop, with the same batches in the same order::

        for x, y in loader: ...                    # your own loop
        model.fit(loader, shuffle=False)           # Keras; without shuffle=False it reorders them
        loader.as_dataset()                        # a tf.data.Dataset
        train(model, loader, epochs=5)             # the compiled loop

    Each of these starts the sampler's next epoch. ``model.fit`` fetches a few batches ahead, so
    that a sampler's live change or feedback acts that much later there.

    Parameters
    ----------
    x : ndarray, or tuple or dict of ndarrays, each of shape (n, ...)
        The inputs, in memory or memory-mapped. Arrays are not copied; a list is taken as rows.
    y : ndarray, or tuple or dict of ndarrays, each of shape (n, ...)
        The targets.
    sample_weight : array_like of float, shape (n,), optional
        A factor for each sample's loss.
    sampler : iterable of int arrays
        Any sampler of `batchlab`, or your own: an iterable of index arrays with a length.

    Raises
    ------
    ValueError
        If there is no data, or arrays differ in length.
    TypeError
        If the data cannot be trained on (strings, objects), or the sampler is none.
    IndexError
        While iterating, if the sampler gives an index that is not in the data.

    Examples
    --------
    >>> from batchlab.samplers import SequentialSampler
    >>> x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    >>> loader = Loader(x, y, sampler=SequentialSampler(n=3, batch_size=2))
    >>> for x_batch, y_batch in loader:
    ...     print(x_batch.shape, y_batch)
    (2, 2) [0 1]
    (1, 2) [0]
    """

    def __init__(self, x: Any, y: Any, *, sample_weight: Any = None, sampler: Any) -> None:
        super().__init__()  # one thread: batches are drawn in order
        self.x, self.n = _check_arrays(x, "x")
        self.y, n_targets = _check_arrays(y, "y")
        if self.n != n_targets:
            raise ValueError(
                f"Loader: x and y must have one row per sample each, got {self.n} in x and "
                f"{n_targets} in y."
            )
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = _check_sample_weight(sample_weight, self.n)
        self.sampler = _check_sampler(sampler, self.n)
        self._fit_epoch: Iterator[NDArray[np.int64]] | None = None
        self._fit_batches: list[NDArray[np.int64]] = []
        self._inside_fit_epoch = False

    @classmethod
    def from_sources(cls, sources: Mapping[str, tuple[Any, Any]], *, sampler: Any) -> Loader:
        """Load batches from several data sets, which are neither copied nor joined.

        Parameters
        ----------
        sources : dict from str to tuple
            ``(x, y)`` of every source, as for :class:`Loader`: alike but for the number of samples.
            They may be memory-mapped; only the rows of a batch are read.
        sampler : MixtureSampler
            One with the same sources. Any other sampler over all samples will do: its indices count
            through the sources in the order of the dict.

        Raises
        ------
        TypeError, ValueError
            If the sources do not fit each other or the sampler.

        Examples
        --------
        >>> from batchlab.samplers import MixtureSampler, SequentialSampler
        >>> sources = {"a": (np.zeros(4), np.arange(4)), "b": (np.ones(2), np.arange(2))}
        >>> samplers = {"a": SequentialSampler(4, 1), "b": SequentialSampler(2, 1)}
        >>> sampler = MixtureSampler(samplers, {"a": 0.5, "b": 0.5}, batch_size=4)
        >>> x, y = next(iter(Loader.from_sources(sources, sampler=sampler)))
        >>> int(x.sum()), sorted(y.tolist())
        (2, [0, 0, 1, 1])
        """
        if not isinstance(sources, Mapping) or not sources:
            raise TypeError(f"Loader: sources must be a dict from name to (x, y), got {sources!r}.")
        parts = []
        for name, pair in sources.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(f"Loader: source {name!r} must be a tuple (x, y).")
            own = getattr(sampler, "samplers", {}).get(name)
            part = cls(*pair, sampler=own or range(0))  # checks the source, and its own sampler
            parts.append((part.x, part.y))
        expected = list(getattr(sampler, "samplers", sources))
        if expected != list(sources):
            raise ValueError(
                f"Loader: the sources are {list(sources)}, but the sampler draws from {expected}. "
                "Use the same names in the same order."
            )
        return cls(*_laid_end_to_end(parts, list(sources)), sampler=sampler)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.sampler)

    def index_batches(self) -> Iterator[NDArray[np.int64]]:
        """The next epoch of the sampler, every batch checked against the data; int64 (batch,)."""
        name = type(self.sampler).__name__
        return (check_indices(batch, self.n, name) for batch in iter(self.sampler))

    def gather(self, indices: NDArray[np.int64]) -> tuple[Any, ...]:
        """The arrays of a batch: ``(x, y)``, or ``(x, y, weights)`` where samples have weights."""
        weights = self.weights(indices)
        return self.rows(indices) if weights is None else (*self.rows(indices), weights)

    def rows(self, indices: NDArray[np.int64]) -> tuple[Any, Any]:
        """The samples ``(x, y)`` of `indices`, (batch,), without weights."""
        return keras.tree.map_structure(lambda array: array[indices], (self.x, self.y))

    def weights(self, indices: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Sample weights times the sampler's importance weights, float32, if any.

        `indices` is a batch, (batch,), or several drawn with the same settings, (steps, batch).
        """
        factors = [] if self.sample_weight is None else [self.sample_weight[indices]]
        own = self._importance_weights(indices) if self.weighs else None
        if own is not None:
            factors.append(np.reshape(own, indices.shape))
        if len(factors) < 2:
            return np.asarray(factors[0], np.float32) if factors else None
        return np.prod(factors, axis=0, dtype=np.float32)

    def _importance_weights(self, indices: NDArray[np.int64]) -> Any:
        """The sampler's own, as :meth:`weights` asks for them; others' samplers know one batch."""
        weigh = self.sampler.importance_weights
        if indices.ndim == 1 or hasattr(self.sampler, "weighs"):
            return weigh(indices)
        rows = [weigh(row) for row in indices]
        return None if rows[0] is None else rows

    @property
    def listens(self) -> bool:
        """Whether the sampler's draws depend on losses; ask again after a change of settings."""
        return listens(self.sampler)

    @property
    def weighs(self) -> bool:
        """Whether the sampler gives importance weights."""
        return getattr(self.sampler, "weighs", hasattr(self.sampler, "importance_weights"))

    def update(self, indices: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Hand the losses of samples, both of shape (batch,), to the sampler, if it listens."""
        if self.listens:
            self.sampler.update(indices, losses)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return map(self.gather, self.index_batches())

    def as_dataset(self) -> tf.data.Dataset:
        """A ``tf.data.Dataset`` of the batches; every pass over it is the sampler's next epoch.

        It has the present number of batches: make it anew after a change of the batch size.
        """

        def spec(array: Any) -> tf.TensorSpec:
            return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

        sample = self.gather(np.zeros(1, dtype=np.int64))
        signature = keras.tree.map_structure(spec, sample)
        dataset = tf.data.Dataset.from_generator(lambda: iter(self), output_signature=signature)
        # Without a length model.fit warns of lost data after each epoch, and really starts too many.
        return dataset.apply(tf.data.experimental.assert_cardinality(len(self))).prefetch(1)

    # -- keras.utils.PyDataset: model.fit asks for batches by number -------------------------------
    # Before the first epoch Keras fetches batches to learn their shapes, then calls on_epoch_end.
    # So a batch is drawn when first asked for and kept until an epoch that was begun has ended.

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        if self._fit_epoch is None:
            self._fit_epoch = self.index_batches()
        missing = number + 1 - len(self._fit_batches)
        self._fit_batches.extend(itertools.islice(self._fit_epoch, max(missing, 0)))
        if number >= len(self._fit_batches):
            raise IndexError(
                f"Loader: batch {number} was asked for, but the sampler's epoch had only "
                f"{len(self._fit_batches)}. During model.fit keep the number of batches as it was."
            )
        return self.gather(self._fit_batches[number])

    def on_epoch_begin(self) -> None:
        self._inside_fit_epoch = True

    def on_epoch_end(self) -> None:
        if self._inside_fit_epoch:
            self._fit_epoch, self._fit_batches, self._inside_fit_epoch = None, [], False

    def __repr__(self) -> str:
        return f"Loader(n={self.n}, sampler={self.sampler!r})"


def listens(sampler: Any) -> bool:
    """Whether feedback can change what a sampler draws; others' samplers need only an `update`."""
    return getattr(sampler, "listens", hasattr(sampler, "update"))


class _EndToEnd:
    """Arrays of several sources that read as one, without being joined."""

    def __init__(self, arrays: list[Any]) -> None:
        lengths = np.array([len(array) for array in arrays])
        self.arrays = arrays
        self.starts = np.cumsum(lengths) - lengths
        self.shape = (int(lengths.sum()), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype
        self.ndim = len(self.shape)

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        source = np.searchsorted(self.starts, indices, side="right") - 1
        for number in np.unique(source):
            places = np.flatnonzero(source == number)
            rows[places] = self.arrays[number][indices[places] - self.starts[number]]
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.concatenate(self.arrays).astype(dtype or self.dtype, copy=False)


def _laid_end_to_end(parts: list[Any], names: list[str]) -> Any:
    """The ``(x, y)`` of all sources as one, each leaf an `_EndToEnd`."""

    def join(*leaves: Any) -> _EndToEnd:
        for name, leaf in zip(names, leaves):
            if (leaf.shape[1:], leaf.dtype) != (leaves[0].shape[1:], leaves[0].dtype):
                raise ValueError(
                    f"Loader: samples of source {name!r} have shape {leaf.shape[1:]} and dtype "
                    f"{leaf.dtype}, those of {names[0]!r} {leaves[0].shape[1:]} and "
                    f"{leaves[0].dtype}. Make them alike."
                )
        return _EndToEnd(list(leaves))

    for name, part in zip(names, parts):
        if keras.tree.map_structure(lambda _: 0, part) != keras.tree.map_structure(
            lambda _: 0, parts[0]
        ):
            raise ValueError(f"Loader: source {name!r} is not built like {names[0]!r}.")
    return keras.tree.map_structure(join, *parts)


def _check_arrays(data: Any, name: str) -> tuple[Any, int]:
    """`data` with every leaf an array that can be trained on, and its number of samples."""
    arrays = _as_arrays(data, name)
    leaves = keras.tree.flatten(arrays)
    shapes = [leaf.shape for leaf in leaves]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"Loader: {name} must have one row per sample and at least one sample, got "
            f"{type(data).__name__} with shapes {shapes}."
        )
    for leaf in leaves:
        _check_numbers(leaf, name)
    return arrays, lengths.pop()


def _as_arrays(data: Any, name: str) -> Any:
    """Arrays in the same dicts and tuples; a list is rows, not several inputs."""
    if isinstance(data, _EndToEnd):
        return data
    if isinstance(data, dict):
        return {key: _as_arrays(value, f"{name}[{key!r}]") for key, value in data.items()}
    if isinstance(data, tuple):
        return tuple(_as_arrays(value, f"{name}[{key}]") for key, value in enumerate(data))
    if np.ma.is_masked(data):
        raise TypeError(
            f"Loader: {name} is masked, and the mask would be lost. Fill it, {name}.filled(value), "
            "or leave those samples out."
        )
    try:
        return np.asanyarray(data)
    except ValueError as error:  # rows of different lengths
        raise ValueError(
            f"Loader: {name} must be an array, but its rows differ in shape. Pad them to one "
            "length, or pass several inputs as a tuple or dict of arrays."
        ) from error


def _check_numbers(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind not in "biuf":
        mend = (
            f"Number the classes, e.g. np.unique({name}, return_inverse=True)[1]."
            if array.dtype.kind in "USO"
            else "Convert it to float32 first."
        )
        raise TypeError(f"Loader: {name} must hold numbers, got dtype {array.dtype}. {mend}")


def _check_sample_weight(sample_weight: Any, n: int) -> NDArray[np.float32]:
    weights = read_array(sample_weight, "Loader", "sample_weight")
    if weights.shape != (n,):
        raise ValueError(f"Loader: sample_weight must have shape ({n},), got {weights.shape}.")
    _check_numbers(weights, "sample_weight")
    wrong = ~np.isfinite(weights)
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"Loader: sample_weight must be finite, but sample_weight[{first}] is {weights[first]}."
        )
    return weights.astype(np.float32)


def _check_sampler(sampler: Any, n: int) -> Any:
    ready = hasattr(sampler, "__iter__") and hasattr(sampler, "__len__")
    if not ready or isinstance(sampler, (type, str, Mapping)) or getattr(sampler, "ndim", 1) == 0:
        came = sampler.__name__ if isinstance(sampler, type) else type(sampler).__name__
        raise TypeError(
            "Loader: sampler must be an iterable of index arrays with a length, got "
            f"{came}. For shuffled batches: RandomSampler({n}, batch_size=32)."
        )
    own = getattr(sampler, "n", n)
    if own != n:
        raise ValueError(
            f"Loader: the data has {n} samples, but the sampler was made for {own}. "
            f"Build it with n={n}, or from the labels of the same data."
        )
    return sampler
