"""The tf.data view of a loader: the same batches, epoch by epoch, in model.fit too."""

from __future__ import annotations

import warnings

import numpy as np

from batchlab import Loader, RandomSampler
from batchlab.backend import keras


class Diary(keras.callbacks.Callback):
    """Notes nothing but that no epoch of the sampler was skipped."""

    def __init__(self, sampler: RandomSampler) -> None:
        super().__init__()
        self.sampler = sampler
        self.epochs: list[int] = []

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.epochs.append(self.sampler.epoch)


def test_fit_on_the_dataset_trains_every_epoch_of_the_sampler_without_warning() -> None:
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    sampler = RandomSampler(10, batch_size=4)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    diary = Diary(sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = Loader(x, x[:, 0], sampler=sampler).as_dataset()
        model.fit(dataset, epochs=3, shuffle=False, callbacks=[diary], verbose=0)
    assert len(dataset) == 3
    assert diary.epochs == [0, 1, 2]
    assert int(model.optimizer.iterations) == 9
