"""``model.fit``, made honest."""

from __future__ import annotations

from typing import Any

from batchlab.backend import keras
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.ready import check_ready
from batchlab.loops.targets import check_has_targets
from batchlab.samplers import RandomSampler


def fit_baseline(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    sampler: Any = None,
    batch_size: int = 32,
    epochs: int = 1,
    seed: int = 0,
    validation_data: Any = None,
    callbacks: list[Any] | None = None,
    verbose: int | str = 0,
) -> History:
    """Train with ``model.fit`` on properly reshuffled batches, and keep a record of them.

    After ``keras.utils.set_random_seed``, ``model.fit(x, y)`` repeats one permutation in every
    epoch (seen with Keras 3.15). Here every epoch has a permutation of its own, so that another
    strategy is compared with what shuffling is meant to be.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    x, y : ndarray, or tuple or dict of ndarrays, each of shape (n, ...)
        The data.
    sampler : iterable of int arrays, optional
        Chooses the batches; ``RandomSampler(n, batch_size, seed=seed)`` by default.
    batch_size : int, default 32
        Samples per batch, when `sampler` is not given.
    epochs : int, default 1
        How many epochs to train.
    seed : int, default 0
        Seed of the shuffling, when `sampler` is not given.
    validation_data, callbacks, verbose
        As in ``model.fit``.

    Returns
    -------
    History
        With the metrics of ``model.fit`` and the samples of every batch. Keras does not tell the
        loss of single samples: the record holds NaN for them.

    Raises
    ------
    TypeError, ValueError
        If the model is not compiled, there are no targets, or a parameter is of the wrong type or
        out of range.
    """
    check_ready(model, epochs, "fit_baseline")
    check_has_targets((x, y), "fit_baseline")
    if sampler is None:
        n = Loader(x, y, sampler=range(0)).n  # `x` may be a list of rows
        sampler = RandomSampler(n, batch_size, seed=seed)
    loader = _RecordingLoader(x, y, sampler=sampler)
    keras_history = model.fit(
        loader,
        epochs=epochs,
        shuffle=False,
        validation_data=validation_data,
        callbacks=callbacks,
        verbose=verbose,
    )
    for epoch in range(len(keras_history.epoch)):
        loader.history.end_epoch({k: v[epoch] for k, v in keras_history.history.items()})
    return loader.history


class _RecordingLoader(Loader):
    """A loader that notes every batch of an epoch when the epoch is over."""

    def __init__(self, x: Any, y: Any, *, sampler: Any) -> None:
        super().__init__(x, y, sampler=sampler)
        self.history = History(self.n)

    def on_epoch_end(self) -> None:
        if self._inside_fit_epoch:
            for indices, *_ in self._fit_batches:
                self.history.record(indices)
        super().on_epoch_end()
