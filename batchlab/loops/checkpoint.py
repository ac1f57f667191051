"""Save a run and go on with it, to the bit: model, optimizer, metrics, sampler and history."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.step import build, check_own_step, check_ready

_MANIFEST = "checkpoint.json"
_FORMAT = {"format": "batchlab checkpoint", "version": 1}


def save(
    path: str | os.PathLike[str],
    model: keras.Model,
    loader: Loader,
    history: History,
    *,
    sampler_state: dict[str, Any] | None = None,
) -> None:
    """Write everything that training goes on from into the directory `path`.

    It holds ``checkpoint.json`` and one ``.npz`` file, no pickle. The old checkpoint is valid until
    the new one is: a process that is killed while it saves leaves one of the two.

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
    TypeError
        If the sampler has no ``state_dict``.
    """
    _check_sampler(loader.sampler)
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {f"variable_{i}": v.numpy() for i, v in enumerate(_variables(model))}
    arrays.update({f"history_{name}": array for name, array in history.arrays().items()})
    data = directory / f"arrays-{history.steps}-{len(history.epoch)}-{os.getpid()}.npz"
    with open(data, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        _to_disk(file)
    manifest = {
        **_FORMAT,
        "arrays": data.name,
        "sha256": _sha256(data),
        "variables": _signature(model),
        "sampler": loader.sampler.state_dict() if sampler_state is None else sampler_state,
        "history": history.state_dict(),
    }
    new = directory / f"{_MANIFEST}.new"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(manifest, file, default=lambda number: number.item())
        _to_disk(file)
    os.replace(new, directory / _MANIFEST)  # the one moment in which the checkpoint changes
    for old in directory.glob("arrays-*.npz"):
        if old != data:
            old.unlink()


def resume(path: str | os.PathLike[str], model: keras.Model, loader: Loader) -> History:
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
    check_ready(model, 1, "resume")
    check_own_step(model, loader, "resume")
    _check_sampler(loader.sampler)
    manifest, arrays = _read(Path(path))
    build(model, loader)
    _check_same_variables(manifest["variables"], _signature(model))
    if manifest["history"]["n"] != loader.n:
        raise ValueError(
            f"resume: the checkpoint was made with {manifest['history']['n']} samples, and the "
            f"loader has {loader.n}. Build the loader with the same data."
        )
    recorded = {
        name.removeprefix("history_"): array
        for name, array in arrays.items()
        if name.startswith("history_")
    }
    history = History.restore(manifest["history"], recorded)
    loader.sampler.load_state_dict(manifest["sampler"])
    for i, variable in enumerate(_variables(model)):
        variable.assign(arrays[f"variable_{i}"])
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
        self.path, self.every = path, every
        self.model, self.loader, self.history = model, loader, history

    def due(self, before: int, after: int) -> bool:
        """Whether to save between these numbers of steps."""
        return self.every is not None and before // self.every != after // self.every

    def save(self, sampler_state: dict[str, Any] | None = None) -> None:
        """Save, if there is a path."""
        if self.path is not None:
            save(self.path, self.model, self.loader, self.history, sampler_state=sampler_state)


def _check_sampler(sampler: Any) -> None:
    if not (hasattr(sampler, "state_dict") and hasattr(sampler, "load_state_dict")):
        raise TypeError(
            f"checkpoint: {type(sampler).__name__} has no state_dict and load_state_dict, so its "
            "batches could not be continued. Derive it from batchlab.Sampler, or add both."
        )


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables, *model.metrics_variables]


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


def _read(directory: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Manifest and arrays, found to be whole."""
    if not (directory / _MANIFEST).is_file():
        raise FileNotFoundError(f"resume: there is no {_MANIFEST} in {directory}.")
    try:
        manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"resume: {_MANIFEST} in {directory} is damaged: {error}.") from error
    if not isinstance(manifest, dict) or any(manifest.get(k) != v for k, v in _FORMAT.items()):
        raise ValueError(
            f"resume: {_MANIFEST} in {directory} is no {_FORMAT['format']} of version "
            f"{_FORMAT['version']}."
        )
    data = directory / manifest["arrays"]
    if not data.is_file() or _sha256(data) != manifest["sha256"]:
        raise ValueError(
            f"resume: {manifest['arrays']} in {directory} is missing or damaged: it is not the "
            "file that was saved. Use an older copy of the checkpoint, or start anew."
        )
    with np.load(data, allow_pickle=False) as arrays:
        return manifest, dict(arrays)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
