"""Save a run and go on with it, to the bit: model, optimizer, metrics, sampler and history."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras
from batchlab.files import check_path, check_writable, made_folder, whole_file
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.distributed import check_strategy, is_chief
from batchlab.loops.ready import build, check_own_step, check_ready
from batchlab.parameters import shown

_FILE = "checkpoint.npz"
_MANIFEST = "manifest.json"  # in it
_FORMAT = {"format": "batchlab checkpoint", "version": 2}
_DIGEST = 64  # bytes of a SHA-256 in hexadecimal
_OLD_FILE = "checkpoint.json"  # of version 1


def save(
    path: str | os.PathLike[str],
    model: keras.Model,
    loader: Loader,
    history: History,
    *,
    sampler_state: dict[str, Any] | None = None,
) -> None:
    """Write everything that training goes on from into the directory `path`.

    It is one file, ``checkpoint.npz``: the arrays and a ``manifest.json``, no pickle, and last the
    SHA-256 of all before it. The old checkpoint is valid until the new one is: a process that is
    killed while it saves, or finds the disk full, leaves the old one. Two runs may save to one
    directory: both go on, and the last one that saved is the checkpoint.

    The state of a sampler that listens holds numbers for every sample, as compressed text: for a
    million samples it takes about 0.2 s and 5 to 7 MB, in proportion for more.

    Parameters
    ----------
    path : path
        Directory; made if it does not exist.
    model : keras.Model
        Compiled. Its weights, optimizer, metrics and random seeds are saved, not its architecture.
    loader : Loader
        Its sampler's state is saved; its data are not.
    history : History
        The run so far.
    sampler_state : dict, optional
        The sampler's ``state_dict()``, where it has gone on since.

    Raises
    ------
    TypeError, ValueError
        If model, loader or history are none, or do not belong together; if the sampler has no
        ``state_dict``, or a state that is not plain JSON.
    OSError
        If the directory cannot be written to.
    """
    for name, value, kind in (
        ("model", model, keras.Model),
        ("loader", loader, Loader),
        ("history", history, History),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"save: {name} must be a {kind.__name__}, got {shown(value)}.")
    if history.n != loader.n:
        raise ValueError(
            f"save: history is of {history.n} samples, and the loader has {loader.n}. Pass the one "
            "that train returned for this loader."
        )
    _check_sampler(loader.sampler)
    arrays = {f"variable_{i}": _value(v) for i, v in enumerate(_variables(model))}
    arrays.update({f"history_{name}": array for name, array in history.arrays().items()})
    state = loader.sampler.state_dict() if sampler_state is None else sampler_state
    manifest = {
        **_FORMAT,
        "variables": _signature(model),
        "sampler": state,
        "history": history.state_dict(),
    }
    content = json.dumps(manifest, default=_plain)
    with whole_file(made_folder(path, "checkpoint") / _FILE, "checkpoint") as file:
        _write(file, content, arrays)


def resume(
    path: str | os.PathLike[str],
    model: keras.Model,
    loader: Loader,
    step: Callable[..., Any] | None = None,
) -> History:
    """Put a model and a sampler back to where :func:`save` found them.

    Go on with ``train(model, loader, epochs, history=history)``: the weights end as if training had
    never stopped. Callbacks keep their own state and begin anew.

    Parameters
    ----------
    path : path
        Directory of the checkpoint.
    model : keras.Model
        Built and compiled as it was then.
    loader : Loader
        With the same data, and a sampler that was built as it was then.
    step : callable, optional
        The training step of your own that it was trained with, if any: see :func:`train`.

    Returns
    -------
    History
        The run so far.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    ValueError
        If it is damaged, or of another model, sampler or number of samples. Model and sampler are
        left as they were.
    """
    check_ready(model, 1, "resume", step)
    check_own_step(model, loader, "resume", step)
    check_strategy(model, step=step)
    _check_sampler(loader.sampler)
    with _opened(path) as file:
        where = f"{_FILE} in {os.fspath(path)}"
        with _called_damaged(where):
            archive, manifest = _unpacked(file)
            variables, state = list(manifest["variables"]), manifest["sampler"]
            recorded, n = manifest["history"], manifest["history"]["n"]
        if n != loader.n:
            raise ValueError(
                f"resume: the checkpoint was made with {n} samples, and the loader has {loader.n}. "
                "Build the loader with the same data."
            )
        build(model, loader, step)
        _check_same_variables(variables, _signature(model))
        with _called_damaged(where):
            values = _values(archive, model)
            history = _history(archive, recorded)
    loader.sampler.load_state_dict(state)
    loader.drawn = history.steps
    for variable, value in zip(_variables(model), values):
        variable.assign(value)
    return history


class Checkpoints:
    """When to save during training; nothing happens without a `path`."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        every: int | None,
        model: keras.Model,
        loader: Loader,
        history: History,
    ) -> None:
        if every is not None and path is None:
            raise ValueError("train: checkpoint_every needs a directory, given as checkpoint=path.")
        if path is not None:
            _check_sampler(loader.sampler)
            check_writable(made_folder(path, "train: checkpoint") / _FILE, "train: checkpoint")
        self.path, self.every = path, every
        self.model, self.loader, self.history = model, loader, history

    def due(self, before: int, after: int) -> bool:
        """Whether to save between these numbers of steps."""
        return self.every is not None and before // self.every != after // self.every

    def save(self, sampler_state: dict[str, Any] | None = None) -> None:
        """Save, if there is a path."""
        if self.path is None:
            return
        if is_chief(self.model):
            save(self.path, self.model, self.loader, self.history, sampler_state=sampler_state)
        else:  # to read a metric all workers must
            for variable in _variables(self.model):
                _value(variable)


def _check_sampler(sampler: Any) -> None:
    if not (hasattr(sampler, "state_dict") and hasattr(sampler, "load_state_dict")):
        raise TypeError(
            f"checkpoint: {type(sampler).__name__} has no state_dict and load_state_dict, so its "
            "batches could not be continued. Derive it from batchlab.Sampler, or add both."
        )


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables, *model.metrics_variables]


def _value(variable: Any) -> NDArray[Any]:
    return np.asarray(variable.numpy())


def _signature(model: keras.Model) -> list[list[Any]]:
    """Name, shape and dtype of every variable; Keras numbers layers anew for every model."""
    return [[re.sub(r"_\d+(?=_|$)", "", v.name), list(v.shape), v.dtype] for v in _variables(model)]


def _check_same_variables(saved: list[list[Any]], own: list[list[Any]]) -> None:
    for position, (theirs, ours) in enumerate(zip(saved, own)):
        if theirs != ours:
            raise ValueError(
                f"resume: the checkpoint is of another model or optimizer: its variable {position} "
                f"is {theirs}, here it is {ours}. Build and compile the model as it was."
            )
    if len(saved) != len(own):
        raise ValueError(
            f"resume: the checkpoint is of another model, optimizer or set of metrics: it has "
            f"{len(saved)} variables, here there are {len(own)}. Build and compile it as it was."
        )


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(
        f"checkpoint: a {type(value).__name__} in the sampler's state or the history is not plain "
        "JSON. Let state_dict() give numbers, strings, lists and dicts."
    )


# -- the file ------------------------------------------------------------------------------------


def _write(file: BinaryIO, manifest: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An ``.npz`` file, not compressed, with the digest in the place of the archive's comment."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = bytes(_DIGEST)  # the last bytes of the file
        archive.writestr(zipfile.ZipInfo(_MANIFEST), manifest)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, (1, 0), allow_pickle=False)
    digest = _digest(file)
    file.seek(-_DIGEST, os.SEEK_END)
    file.write(digest)


def _digest(file: BinaryIO) -> bytes:
    """SHA-256 of all but the digest itself."""
    left = file.seek(0, os.SEEK_END) - _DIGEST
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(max(min(left, 2**20), 0)):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    check_path(path, "resume")
    try:
        return open(Path(path) / _FILE, "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        if (Path(path) / _OLD_FILE).exists():
            raise ValueError(
                f"resume: the checkpoint in {os.fspath(path)} is of version 1 ({_OLD_FILE}), and "
                f"this batchlab reads version {_FORMAT['version']}. Go on with the batchlab that "
                "saved it, or start anew."
            ) from error
        raise FileNotFoundError(f"resume: there is no {_FILE} in {os.fspath(path)}.") from error


@contextmanager
def _called_damaged(where: str) -> Iterator[None]:
    """Whatever a damaged file makes go wrong says so."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"resume: {where} is damaged, or no checkpoint of version {_FORMAT['version']} "
            f"({type(error).__name__}: {error}). Use an older copy of it, or start anew."
        ) from error


def _unpacked(file: BinaryIO) -> tuple[zipfile.ZipFile, dict[str, Any]]:
    """The archive and its manifest, found to be what was saved."""
    own = _digest(file)
    if file.read() != own:
        raise ValueError("it is not the file that was saved: its SHA-256 is another one")
    archive = zipfile.ZipFile(file)
    # As it was saved, nothing is larger in memory than in the file.
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise ValueError("it is compressed")
    manifest = json.loads(archive.read(_MANIFEST))
    if any(manifest[key] != value for key, value in _FORMAT.items()):
        raise ValueError(f"it says {manifest['format']!r}, version {manifest['version']!r}")
    return archive, manifest


def _values(archive: zipfile.ZipFile, model: keras.Model) -> list[NDArray[Any]]:
    """A value for each of the model's variables, of its shape and dtype."""
    own = [(value.dtype, value.shape) for value in map(_value, _variables(model))]
    for i, (dtype, shape) in enumerate(own):
        _check_header(archive, f"variable_{i}", dtype, shape)
    # A view, because .npz files do not know bfloat16 by name.
    return [_array(archive, f"variable_{i}").view(dtype) for i, (dtype, _) in enumerate(own)]


def _history(archive: zipfile.ZipFile, state: dict[str, Any]) -> History:
    blank = History(state["n"], state["keep"]).arrays()
    shapes = {"visits": (state["n"],), "step_losses": (state["steps"],)}
    for name, array in blank.items():
        _check_header(archive, f"history_{name}", array.dtype, shapes.get(name))
    arrays = {name: _array(archive, f"history_{name}") for name in blank}
    kept = arrays["ends"][-1] if arrays["ends"].size else 0
    if not kept == arrays["indices"].size == arrays["losses"].size:
        raise ValueError("the parts of its history do not fit together")
    return History.restore(state, arrays)


def _check_header(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None
) -> None:
    """Refuse an array of another dtype, shape (None: one-dimensional) or size, without reading it."""
    with archive.open(f"{name}.npy") as member:
        np.lib.format.read_magic(member)
        found, _, stored = np.lib.format.read_array_header_1_0(member)
        size = archive.getinfo(member.name).file_size - member.tell()
    wanted = (size // dtype.itemsize,) if shape is None else shape
    if (found, stored, size) != (wanted, np.dtype(dtype.str), math.prod(wanted) * dtype.itemsize):
        raise ValueError(f"{name} is {stored} {found} in {size} bytes, not {dtype} {wanted}")


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)
