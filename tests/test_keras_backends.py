"""What Keras builds before it trains must not cost an epoch; and what works without TensorFlow."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

PROGRAM = """
import contextlib, json, sys
import numpy as np
import batchlab
from batchlab.backend import keras, tf

scope, told = contextlib.nullcontext, {"epochs": {}, "errors": {}}
if keras.backend.backend() == "tensorflow":
    cpus = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)
    scope = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope

x = np.random.default_rng(7).random((48, 4), dtype=np.float32)
y = np.arange(48) % 3

def net():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def loader(size):
    weights = np.linspace(1, 2, 48)
    sampler = batchlab.ClassBalancedSampler(y, batch_size=size, seed=3)
    return batchlab.Loader(x, y, sample_weight=weights, sampler=sampler)

loader(4)
told["tensorflow"] = "tensorflow" in sys.modules  # Keras itself may import it later

for size in (4, 24):  # of epochs with 2 batches Keras sees every one while it builds the model
    with scope():
        fitted = net()
    by_hand, loaders = net(), [loader(size), loader(size)]
    for epochs in (2, 1):
        fitted.fit(loaders[0], epochs=epochs, shuffle=False, verbose=0)
        for _ in range(epochs):
            for batch in loaders[1]:
                by_hand.train_on_batch(*batch)
    pairs = zip(fitted.get_weights(), by_hand.get_weights())
    differences = [float(np.abs(one - other).max()) for one, other in pairs]
    told["epochs"][size] = [loaders[0].sampler.epoch, loaders[1].sampler.epoch, max(differences)]
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(fitted, "stop_training", True)
    )
    fitted.fit(loaders[0], epochs=5, shuffle=False, verbose=0, callbacks=[stop])
    fitted.fit(loaders[0], epochs=1, shuffle=False, verbose=0)
    told["epochs"][size].append(loaders[0].sampler.epoch)
"""

WITHOUT_TENSORFLOW = """
kept = batchlab.fit_baseline(net(), x, y, sampler=batchlab.RandomSampler(48, 16, seed=1))
told["recorded"] = [batch.tolist() for batch in kept.indices]
told["drawn"] = [batch.tolist() for batch in batchlab.RandomSampler(48, 16, seed=1)]
found = batchlab.audit(net().fit, x, y, batch_size=16)
told["audited"] = found.ok or str(found)
told["checked"] = bool(batchlab.check_sampler(batchlab.RandomSampler(48, 16)).ok)
model, data = net(), loader(16)
for name, call in {
    "train": lambda: batchlab.train(model, data),
    "eager_loop": lambda: batchlab.eager_loop(model, data),
    "CompiledSteps": lambda: batchlab.CompiledSteps(model, data),
    "sample_losses": lambda: batchlab.sample_losses(model, data),
    "resume": lambda: batchlab.resume(".", model, data),
    "Session": lambda: batchlab.Session(x, y, model),
    "BatchLab": lambda: batchlab.BatchLab(x, y, model),
    "as_dataset": lambda: data.as_dataset(),
}.items():
    try:
        call()
    except RuntimeError as error:
        told["errors"][name] = str(error)
"""


def ran(backend, code):
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(json.dumps(told))"],
        cwd=REPOSITORY,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def assert_no_epoch_is_skipped(told):
    for fitted, by_hand, difference, after_a_stop in told["epochs"].values():
        assert (fitted, by_hand) == (2, 2)  # three epochs, from 0
        assert difference < 1e-6
        assert after_a_stop == 4  # one was begun, and a new one trained


def test_fit_skips_no_epoch_under_a_strategy():
    assert_no_epoch_is_skipped(ran("tensorflow", PROGRAM))


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_tensorflow(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    told = ran(backend, PROGRAM + WITHOUT_TENSORFLOW)
    assert_no_epoch_is_skipped(told)
    assert told["recorded"] == told["drawn"]
    assert told["checked"]
    assert told["audited"] is True
    assert len(told["errors"]) == 8
    for name, message in told["errors"].items():
        assert f"Keras is set to '{backend}'" in message
        assert "KERAS_BACKEND=tensorflow" in message
        assert name in message
    assert not told["tensorflow"]  # it takes seconds
