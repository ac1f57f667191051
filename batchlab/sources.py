"""What samples are read from: arrays in memory, arrays on disk, and anything else that has rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras
from batchlab.parameters import shown
from batchlab.validation import read_array


class LazyArray:
    """An array that is not in memory, of h5py, Zarr or Dask, or a sparse one: rows as asked for.

    They are read in ascending order and each of them once, as h5py demands and as is fastest, and
    given back in the order of the indices.

    Parameters
    ----------
    array : object
        With ``shape``, ``dtype`` and rows.
    """

    def __init__(self, array: Any) -> None:
        self.array = getattr(array, "oindex", array)  # Zarr's own name for whole rows
        self.shape, self.ndim = tuple(array.shape), len(array.shape)
        self.dtype = np.dtype(array.dtype)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        unique, places = np.unique(indices, return_inverse=True)
        rows = self.array[unique]
        return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)[places]


class Rows:
    """Anything with a length and rows that are fetched one by one, or by ``__getitems__`` at once.

    Parameters
    ----------
    source : object
        With ``__len__``, and ``__getitem__`` of one index or ``__getitems__`` of a list of them.
    """

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: NDArray[np.int64], threads: int) -> list[Any]:
        """The rows as they come, one for each of `indices`, in their order."""
        numbers = indices.tolist()
        if not hasattr(self.source, "__getitems__"):
            return in_threads(self.source.__getitem__, numbers, threads)
        rows = list(self.source.__getitems__(numbers))
        if len(rows) != len(numbers):
            raise ValueError(
                f"Loader: {type(self.source).__name__}.__getitems__ must return a list of rows, one "
                f"for each of the {len(numbers)} indices, got {len(rows)}."
            )
        return rows


class EndToEnd:
    """Arrays of several sources that read as one, without being joined."""

    def __init__(self, arrays: list[Any]) -> None:
        lengths = np.array([len(array) for array in arrays])
        self.arrays = arrays
        self.starts = np.cumsum(lengths) - lengths
        self.shape = (int(lengths.sum()), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        source = np.searchsorted(self.starts, indices, side="right") - 1
        for number in np.unique(source):
            places = np.flatnonzero(source == number)
            rows[places] = read(self.arrays[number], indices[places] - self.starts[number], 1)
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.concatenate(self.arrays).astype(dtype or self.dtype, copy=False)


class _OneAfterTheOther:
    """Rows of several sources."""

    def __init__(self, sources: list[Any]) -> None:
        lengths = np.array([len(source) for source in sources])
        self.sources, self.ends = sources, lengths.cumsum()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Any:
        number = int(np.searchsorted(self.ends, index, side="right"))
        source = self.sources[number]
        return source[index - int(self.ends[number]) + len(source)]


def laid_end_to_end(parts: list[Any], names: list[str]) -> Any:
    """The ``(x, y)`` of all sources as one."""

    def join(*leaves: Any) -> Any:
        kinds = [getattr(leaf, "shape", (0, "rows"))[1:] for leaf in leaves]
        dtypes = [getattr(leaf, "dtype", None) for leaf in leaves]
        for name, kind, dtype in zip(names, kinds, dtypes):
            if (kind, dtype) != (kinds[0], dtypes[0]):
                raise ValueError(
                    f"Loader: samples of source {name!r} have shape {kind} and dtype {dtype}, "
                    f"those of {names[0]!r} {kinds[0]} and {dtypes[0]}. Make them alike."
                )
        if isinstance(leaves[0], Rows):
            return Rows(_OneAfterTheOther([leaf.source for leaf in leaves]))
        return EndToEnd(list(leaves))

    shapes = [keras.tree.map_structure(lambda _: 0, part) for part in parts]
    for name, shape in zip(names, shapes):
        if shape != shapes[0]:
            raise ValueError(f"Loader: source {name!r} is not built like {names[0]!r}.")
    return keras.tree.map_structure(join, *parts)


def in_memory(leaf: Any) -> bool:
    """Whether a leaf of a loader's data is an array in memory, or several of them."""
    leaves = getattr(leaf, "arrays", [leaf])
    return all(isinstance(a, np.ndarray) and not isinstance(a, np.memmap) for a in leaves)


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """``list(map(function, items))``, several at a time."""
    if threads < 2 or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads, thread_name_prefix="batchlab-rows") as pool:
        return list(pool.map(function, items))


# -- what came, as one of these ------------------------------------------------------------------


def as_sources(data: Any, name: str, rows: bool = False) -> Any:
    """`data` in the same dicts and tuples, every leaf an array, a `LazyArray` or `Rows`.

    With `rows`, a list is kept as it is, to be given to a function row by row.
    """
    if isinstance(data, (LazyArray, Rows, EndToEnd)):
        return data
    if isinstance(data, dict):
        return {key: as_sources(value, f"{name}[{key!r}]", rows) for key, value in data.items()}
    if isinstance(data, tuple):
        return tuple(as_sources(value, f"{name}[{key}]", rows) for key, value in enumerate(data))
    _refuse_batches(data, name)
    if hasattr(data, "row_splits"):
        if not rows:
            raise ValueError(
                f"Loader: {name} is ragged. Pad it, {name}.to_tensor(), or give the loader a "
                "function that pads every batch: load=..."
            )
        return Rows(list(data))
    if hasattr(data, "iloc") and data.ndim == 2:
        return _frame(data, name)
    if hasattr(data, "tocsr"):
        return LazyArray(data.tocsr())
    if rows and isinstance(data, list):
        return Rows(data)
    if _is_array(data):
        return _in_memory(data, name)
    return LazyArray(data) if hasattr(data, "shape") and hasattr(data, "dtype") else Rows(data)


def _is_array(data: Any) -> bool:
    """Whether `data` is in memory already, or no data at all, which its shape will tell."""
    if keras.ops.is_tensor(data) or hasattr(data, "iloc") or hasattr(data, "__dlpack__"):
        return True
    if isinstance(data, (np.ndarray, np.generic, list, range, str, bytes)):
        return True
    sized = hasattr(data, "__len__") or hasattr(data, "shape")
    return not (sized and (hasattr(data, "__getitem__") or hasattr(data, "__getitems__")))


def _refuse_batches(data: Any, name: str) -> None:
    """Refuse what has batches, or an order of its own, where rows are chosen one by one."""
    came = type(data).__name__
    if hasattr(data, "element_spec"):
        mend = (
            "x, y = map(np.array, zip(*dataset.as_numpy_iterator())), before .batch() and .repeat()"
        )
    elif isinstance(data, keras.utils.PyDataset):
        mend = "x, y = map(np.concatenate, zip(*(data[i] for i in range(len(data)))))"
    elif hasattr(data, "batch_sampler") and hasattr(data, "dataset"):
        mend = "Loader(data.dataset, ...)"
    elif hasattr(data, "__next__"):
        mend = f"{name} = list({name})"
    else:
        return
    raise TypeError(
        f"Loader: {name} must have rows that can be chosen by their number, got {came}, which has "
        f"an order of its own. If it fits in memory: {mend}. Else pass what it is made from."
    )


def _frame(frame: Any, name: str) -> NDArray[Any]:
    """The columns of a pandas frame side by side."""
    columns = [np.asarray(frame.iloc[:, place]) for place in range(frame.shape[1])]
    for label, column in zip(frame.columns, columns):
        if column.dtype.kind not in "biuf":
            raise TypeError(
                f"Loader: column {label!r} of {name} holds no plain numbers but {column.dtype}. "
                f"Fill its gaps and number its classes, leave it out, or pass the columns one by "
                f"one, {name}=dict({name}), to a model that takes strings."
            )
    return np.column_stack(columns) if columns else np.empty((len(frame), 0))


def _in_memory(data: Any, name: str) -> NDArray[Any]:
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
            "length, in a function load=... batch by batch, or pass several inputs as a tuple or "
            "dict of arrays."
        ) from error


def check_data(data: Any, name: str, loaded: bool = False) -> tuple[Any, int]:
    """What samples are read from, found to be something to train on, and how many they are."""
    sources = as_sources(data, name, rows=loaded)
    if name == "y":
        sources = keras.tree.map_structure(_target, sources)
    leaves = keras.tree.flatten(sources)
    shapes = [(len(leaf),) if isinstance(leaf, Rows) else leaf.shape for leaf in leaves]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"Loader: {name} must have one row per sample and at least one sample, got "
            f"{type(data).__name__} with shapes {shapes}."
        )
    for leaf in leaves:
        if not loaded and not isinstance(leaf, Rows):
            _check_numbers(leaf, name, text=name == "x")
    return sources, lengths.pop()


def _target(leaf: Any) -> Any:
    """Targets are arrays; labels on disk are read, as samplers want them in memory, too."""
    if isinstance(leaf, Rows):
        raise TypeError(
            f"Loader: y must be an array, got {type(leaf.source).__name__}. Read the targets into "
            "one; or leave y out, and return (x, y) from load."
        )
    return leaf[np.arange(len(leaf))] if isinstance(leaf, LazyArray) and leaf.ndim == 1 else leaf


def _check_numbers(array: Any, name: str, text: bool = False) -> None:
    if array.dtype.kind in "biuf" or (text and is_text(array)):
        return
    mend = "Convert it to float32 first."
    if array.dtype.kind in "USTO":
        mend = f"Number the classes, e.g. np.unique({name}, return_inverse=True)[1]."
    raise TypeError(f"Loader: {name} must hold numbers, got dtype {array.dtype}. {mend}")


def check_sample_weight(sample_weight: Any, n: int) -> NDArray[np.float32]:
    """A factor for each of `n` samples, found to be one."""
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


# -- rows to arrays ------------------------------------------------------------------------------


def read(data: Any, indices: NDArray[np.int64], threads: int) -> Any:
    """The rows of `indices` in the structure of `data`: arrays, and lists of what `Rows` gave."""
    if isinstance(data, dict):
        return {key: read(value, indices, threads) for key, value in data.items()}
    if isinstance(data, tuple):
        return tuple(read(value, indices, threads) for value in data)
    if isinstance(data, Rows):
        return data.read(indices, threads)
    if isinstance(data, np.memmap):  # in ascending order, as files are read fastest
        order = np.argsort(indices, kind="stable")
        rows = np.empty((len(indices), *data.shape[1:]), data.dtype)
        rows[order] = data[indices[order]]
        return rows
    return data[indices]


def stacked(rows: Any, indices: NDArray[np.int64], name: str) -> Any:
    """Rows as arrays, (batch, ...); rows that are dicts or tuples become dicts or tuples of them."""
    if isinstance(rows, np.ndarray):
        return rows
    if isinstance(rows, dict):
        return {key: stacked(value, indices, f"{name}[{key!r}]") for key, value in rows.items()}
    if isinstance(rows, tuple):
        return tuple(stacked(value, indices, f"{name}[{key}]") for key, value in enumerate(rows))
    first = rows[0]
    if isinstance(first, Mapping):
        columns = {key: [row[key] for row in rows] for key in first}
        return stacked(columns, indices, name)
    if isinstance(first, tuple):
        return stacked(tuple(list(column) for column in zip(*rows)), indices, name)
    arrays = [np.asarray(row) for row in rows]
    for index, array in zip(indices, arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"Loader: the rows of {name} differ in shape: that of sample {indices[0]} is "
                f"{arrays[0].shape}, that of sample {index} {array.shape}. Pad or crop them in a "
                "function of your own, load=..."
            )
    return np.stack(arrays)


def checked(batch: Any, indices: NDArray[np.int64], name: str) -> Any:
    """What a function of the user's, or a source, made of a batch: arrays, one row a sample."""
    arrays = keras.tree.map_structure(np.asarray, batch)
    leaves = keras.tree.flatten(arrays)
    shapes = [leaf.shape for leaf in leaves]
    if not leaves or any(shape[:1] != (len(indices),) for shape in shapes):
        raise ValueError(
            f"Loader: {name} must give arrays with one row for each of the {len(indices)} samples, "
            f"got shapes {shapes} for samples {shown(indices[:10].tolist())}."
        )
    for leaf in leaves:
        if not (leaf.dtype.kind in "biufUST" or is_text(leaf)):
            raise TypeError(
                f"Loader: {name} must give numbers or strings, got dtype {leaf.dtype} for samples "
                f"{shown(indices[:10].tolist())}. Convert it there."
            )
    return arrays


def is_text(array: NDArray[Any]) -> bool:
    """Whether an array holds strings for a layer such as ``TextVectorization``."""
    if array.dtype.kind == "O":
        return all(isinstance(value, (str, bytes)) for value in array.flat)
    return array.dtype.kind in "UST"
