"""From indices to arrays: one loader for ``for`` loops, ``model.fit`` and ``tf.data``."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import builds_a_model, keras, need_tensorflow, tf
from batchlab.parameters import Parameter
from batchlab.samplers import foreign
from batchlab.samplers.base import Sampler
from batchlab.samplers.draws.stream import generator_of
from batchlab.samplers.wrapper import Wrapper
from batchlab.sources import (
    Rows,
    check_data,
    check_sample_weight,
    checked,
    in_memory,
    is_text,
    laid_end_to_end,
    read,
    stacked,
)
from batchlab.validation import check_indices

Load = Callable[[Any, np.random.Generator], Any]
Key = tuple[tuple[int, ...], tuple[int, ...]]  # what the random numbers of a batch come from

_DRAWING = threading.Lock()  # model.fit may ask for batches in several threads
_LOADING = 1  # sets the numbers that `load` gets apart from those of the samplers
_PROBES = 16  # samples that are loaded to learn which axes of a batch have no fixed length


class Loader(keras.utils.PyDataset):
    """Turn the index batches of a sampler into array batches.

    One loader serves every loop, with the same batches in the same order::

        for x, y in loader: ...                    # your own loop
        model.fit(loader, shuffle=False)           # Keras; without shuffle=False it reorders them
        loader.as_dataset()                        # a tf.data.Dataset
        train(model, loader, epochs=5)             # the compiled loop

    Each of these starts the sampler's next epoch. ``model.fit`` fetches a few batches ahead, so
    that a sampler's live change or feedback acts that much later there.

    A subclass may change what a batch is in a :meth:`rows` or :meth:`gather` of its own; every loop
    then takes its batches from there.

    Parameters
    ----------
    x : array_like or anything with rows, or tuple or dict of these; n samples each
        The inputs: numbers, or strings for a layer such as ``TextVectorization``.

        - Arrays in memory or memory-mapped, shape (n, ...), are not copied; a list is taken as rows.
        - Arrays on disk (h5py, Zarr) and sparse matrices: only the rows of a batch are read.
        - Anything else with ``__len__`` and ``__getitem__`` of one index, or ``__getitems__`` of a
          list of indices (data sets of PyTorch and Hugging Face): rows are stacked to arrays; those
          that are dicts or tuples become dicts or tuples of arrays.
    y : ndarray, or tuple or dict of ndarrays, each of shape (n, ...), optional
        The targets. Without them a batch is ``(x,)``.
    sample_weight : array_like of float, shape (n,), optional
        A factor for each sample's loss. Where a sample has several losses, one per token or pixel,
        use :func:`train`: ``model.fit`` lines weights up with the last axis, or refuses them.
    sampler : iterable of int arrays
        Any sampler of `batchlab`, or your own: an iterable of index arrays with a length.
    load : callable, optional
        ``load(rows, rng)`` makes the arrays of a batch, each of shape (batch, ...): it decodes,
        augments, pads. `rows` is what `x` holds of the samples: arrays of arrays, lists of rows of
        anything else, lists too. Without `y`, it may return a tuple ``(x, y)``.

        `rng` is a ``numpy.random.Generator`` of this batch alone. It follows from the sampler's
        seed, the epoch and the number of samples drawn in it (for a sampler that is not one of
        `batchlab`: the number of batches drawn before), and from nothing else: with random numbers
        from there only, batches are the same in every loop, with any number of threads, and after
        :func:`resume`.
    workers : int, default 1
        Threads that read rows, and in :func:`train` and ``model.fit`` make several batches at a
        time. The order is always that of the sampler. With more than one, `load` and the source
        are called from several threads at once.

    Raises
    ------
    ValueError
        If there is no data, or arrays differ in length; while iterating, if `load` does not give
        one row per sample.
    TypeError
        If the data cannot be trained on (objects, strings as targets), or the sampler is none.
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

    Sentences of different lengths, padded to multiples of 4, so that there are few shapes:

    >>> def pad(rows, rng):
    ...     return keras.utils.pad_sequences(rows, -(-max(map(len, rows)) // 4) * 4, padding="post")
    >>> loader = Loader([[5], [1, 2, 3, 4, 5], [7, 8]], y, sampler=loader.sampler, load=pad)
    >>> [x_batch.shape for x_batch, _ in loader]
    [(2, 8), (1, 4)]
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sampler: Any,
        load: Load | None = None,
        workers: int = 1,
    ) -> None:
        # Keras's own name for the threads of model.fit.
        super().__init__(workers=Parameter(1, low=1, name="workers").check(workers, "Loader"))
        if load is not None and not callable(load):
            raise TypeError(
                f"Loader: load must be a function load(rows, rng), got {type(load).__name__}."
            )
        self.load = load
        self.x, self.n = check_data(x, "x", loaded=load is not None)
        self.y = None
        if y is not None:
            self.y, n_targets = check_data(y, "y")
            if self.n != n_targets:
                raise ValueError(
                    f"Loader: x and y must have one row per sample each, got {self.n} in x and "
                    f"{n_targets} in y."
                )
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = check_sample_weight(sample_weight, self.n)
        self.sampler = foreign.checked(sampler, self.n, "Loader")
        self._has_rows = any(isinstance(leaf, Rows) for leaf in keras.tree.flatten(self.x))
        self.drawn = 0  # batches, of a sampler that does not count them itself
        self._key: Key = ((0,), (0,))  # of the batch drawn last
        self._fit_epoch: Iterator[NDArray[np.int64]] | None = None
        self._fit_batches: list[Draw] = []
        self._inside_fit_epoch = False

    @classmethod
    def from_sources(
        cls,
        sources: Mapping[str, tuple[Any, Any]],
        *,
        sampler: Any,
        load: Load | None = None,
        workers: int = 1,
    ) -> Loader:
        """Load batches from several data sets, which are neither copied nor joined.

        Parameters
        ----------
        sources : dict from str to tuple
            ``(x, y)`` of every source, as for :class:`Loader`: alike but for the number of samples.
            Only the rows of a batch are read of what is not in memory.
        sampler : MixtureSampler
            One with the same sources. Any other sampler over all samples will do: its indices count
            through the sources in the order of the dict.
        load, workers
            As for :class:`Loader`; `load` gets rows of all sources.

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
            # Checks the source, and its own sampler.
            part = cls(*pair, sampler=own or range(0), load=load)
            parts.append((part.x, part.y))
        expected = list(getattr(sampler, "samplers", sources))
        if expected != list(sources):
            raise ValueError(
                f"Loader: the sources are {list(sources)}, but the sampler draws from {expected}. "
                "Use the same names in the same order."
            )
        x, y = laid_end_to_end(parts, list(sources))
        return cls(x, y, sampler=sampler, load=load, workers=workers)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.sampler)

    def index_batches(self) -> Iterator[NDArray[np.int64]]:
        """The next epoch of the sampler, every batch checked against the data; int64 (batch,)."""
        name, makes_batches = type(self.sampler).__name__, self.makes_batches
        longest = 0  # an endless iterator with a length gives as many batches as model.fit takes
        for count, batch in enumerate(self.sampler, start=1):
            indices = check_indices(batch, self.n, name)
            if makes_batches:
                (self._key,) = self.keys(indices[np.newaxis])
            yield indices
            longest = max(longest, len(self.sampler))
            if count >= longest:
                return

    def gather(self, indices: NDArray[np.int64]) -> tuple[Any, ...]:
        """The arrays of a batch: ``(x, y)``, or ``(x, y, weights)`` where samples have weights.

        Without targets it is ``(x,)``, or ``(x, None, weights)``. What is random in it is that of
        the batch drawn last.
        """
        return _with_weights(self.rows(indices), self.weights(indices))

    def rows(self, indices: NDArray[np.int64]) -> tuple[Any, ...]:
        """The samples ``(x, y)`` of `indices`, (batch,), without weights; or ``(x,)``."""
        return self._rows(indices, self._key, self.workers)

    def _rows(self, indices: NDArray[np.int64], key: Key, threads: int) -> tuple[Any, ...]:
        x = read(self.x, indices, threads)
        if self.load is not None:
            seed, place = key
            x = checked(self.load(x, generator_of(seed, *place)), indices, "load")
        elif self._has_rows:
            x = checked(stacked(x, indices, "x"), indices, "x")
        if self.y is not None:
            return x, read(self.y, indices, 1)
        pair = isinstance(x, tuple) and len(x) == 2 and (self._has_rows or self.load is not None)
        return x if pair else (x,)

    # -- for the loops: batches that are drawn now and made later ----------------------------------

    @property
    def in_memory(self) -> bool:
        """Whether every batch is rows of arrays in memory and nothing else."""
        return not self.makes_batches and all(map(in_memory, keras.tree.flatten((self.x, self.y))))

    @property
    def makes_batches(self) -> bool:
        """Whether a batch is more than rows of arrays: batch by batch, something is done to it."""
        return self.load is not None or self.own_batches

    @property
    def own_batches(self) -> bool:
        """Whether a subclass, or someone on this loader, has a `rows` or `gather` of their own."""
        return any(
            getattr(getattr(self, name), "__func__", None) is not getattr(Loader, name)
            for name in ("rows", "gather")
        )

    def keys(self, matrix: NDArray[np.int64]) -> list[Key]:
        """What the random numbers of batches come from, of the (steps, batch) drawn just now."""
        sampler, steps = self.sampler, len(matrix)
        if isinstance(sampler, (Sampler, Wrapper)):
            places = sampler.position - sampler.batch_size * np.arange(steps)[::-1]
            shard = getattr(sampler, "shard", 0)  # who share a batch must not share numbers
            return [
                ((sampler.seed,), (_LOADING, sampler.epoch, place, shard))
                for place in places.tolist()
            ]
        self.drawn += steps
        return [((0,), (_LOADING, number)) for number in range(self.drawn - steps, self.drawn)]

    def draw(self, indices: NDArray[np.int64], key: Key) -> Draw:
        """A batch to be made later, with the weights that the sampler gives it now."""
        return Draw(indices, key, None if self.own_batches else self.weights(indices))

    def make(self, draw: Draw) -> tuple[Any, ...]:
        """The arrays of a batch, as :meth:`gather` gives them.

        It may be called in any thread, unless there are `own_batches`.
        """
        if self.own_batches:
            self._key = draw.key
            return self.gather(draw.indices)
        return _with_weights(self._rows(draw.indices, draw.key, 1), draw.weights)

    @property
    def specs(self) -> tuple[Any, ...]:
        """The ``tf.TensorSpec`` of batches, in their structure.

        Where batches are made by a function, axes that differ in length between up to 16 samples
        are left open.
        """
        count = min(self.n, _PROBES) if self.makes_batches else 1
        probes = [self.gather(np.array([i * self.n // count])) for i in range(count)]

        def spec(*leaves: Any) -> tf.TensorSpec | None:
            if leaves[0] is None:  # weights without targets
                return None
            lengths = [set(axis) for axis in zip(*(leaf.shape[1:] for leaf in leaves))]
            axes = [axis.pop() if len(axis) == 1 else None for axis in lengths]
            return tf.TensorSpec(
                (None, *axes), tf.string if is_text(leaves[0]) else leaves[0].dtype
            )

        return keras.tree.map_structure(spec, *probes)

    # -- weights and feedback ----------------------------------------------------------------------

    def weights(self, indices: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Sample weights times the sampler's importance weights, float32, if any.

        `indices` is a batch, (batch,), or several drawn with the same settings, (steps, batch).
        """
        factors = [] if self.sample_weight is None else [self.sample_weight[indices]]
        own = foreign.weights_of(self.sampler, indices) if self.weighs else None
        if own is not None:
            factors.append(np.reshape(own, indices.shape))
        if len(factors) < 2:
            return np.asarray(factors[0], np.float32) if factors else None
        return np.prod(factors, axis=0, dtype=np.float32)

    @property
    def listens(self) -> bool:
        """Whether the sampler's draws depend on losses; ask again after a change of settings."""
        return foreign.listens(self.sampler)

    @property
    def weighs(self) -> bool:
        """Whether the sampler gives importance weights."""
        return foreign.weighs(self.sampler)

    def update(self, indices: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Hand the losses of samples, both of shape (batch,), to the sampler, if it listens."""
        if self.listens:
            self.sampler.update(indices, losses)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return map(self.gather, self.index_batches())

    def as_dataset(self) -> tf.data.Dataset:
        """A ``tf.data.Dataset`` of the batches; every pass over it is the sampler's next epoch.

        It has the present number of batches: make it anew after a change of the batch size. For
        batches of varying shape see `specs`.
        """
        need_tensorflow("Loader.as_dataset")
        specs = self.specs
        if None in specs:
            raise ValueError(
                "Loader: a tf.data.Dataset has no place for weights without targets. Iterate over "
                "the loader itself."
            )
        dataset = tf.data.Dataset.from_generator(lambda: iter(self), output_signature=specs)
        # Without a length model.fit warns of lost data after each epoch, and really starts too many.
        return dataset.apply(tf.data.experimental.assert_cardinality(len(self))).prefetch(1)

    # -- keras.utils.PyDataset: model.fit asks for batches by number -------------------------------
    # Before the first epoch Keras fetches batches to learn their shapes, then calls on_epoch_end; on
    # several devices, and on JAX and PyTorch, it even begins an epoch to build the model.
    # So a batch is drawn when first asked for and kept until an epoch of training has ended.

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        with _DRAWING:
            if self._fit_epoch is None:
                self._fit_epoch = self.index_batches()
            missing = number + 1 - len(self._fit_batches)
            for indices in itertools.islice(self._fit_epoch, max(missing, 0)):
                self._fit_batches.append(self.draw(indices, self._key))
            if number >= len(self._fit_batches):
                raise IndexError(
                    f"Loader: batch {number} was asked for, but the sampler's epoch had only "
                    f"{len(self._fit_batches)}. During model.fit keep the number of batches as it "
                    "was."
                )
            draw = self._fit_batches[number]
            batch = self.make(draw) if self.own_batches else ()
        return keras.tree.map_structure(_for_keras, batch or self.make(draw))

    def on_epoch_begin(self) -> None:
        if self._inside_fit_epoch:  # one that was stopped
            self.on_epoch_end()
        self._inside_fit_epoch = not builds_a_model()

    def on_epoch_end(self) -> None:
        if self._inside_fit_epoch:
            self._fit_epoch, self._fit_batches, self._inside_fit_epoch = None, [], False

    def __repr__(self) -> str:
        return f"Loader(n={self.n}, sampler={self.sampler!r})"


class Draw(NamedTuple):
    """A batch that was drawn: what is needed to make it at any later time."""

    indices: NDArray[np.int64]
    key: Key
    weights: NDArray[np.float32] | None


def _for_keras(leaf: Any) -> Any:
    """Keras takes strings as tensors only."""
    return tf.constant(leaf) if isinstance(leaf, np.ndarray) and is_text(leaf) else leaf


def _with_weights(rows: tuple[Any, ...], weights: Any) -> tuple[Any, ...]:
    if weights is None:
        return rows
    return (*rows, weights) if len(rows) == 2 else (*rows, None, weights)
