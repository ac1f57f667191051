"""The program that the tests of distributed training run: on one device, on several, or as a worker.

``python -m tests.loops.replicas RESULT JOB``, with JOB as JSON: see `main`. What was trained is
written to RESULT. Workers find each other by ``TF_CONFIG``.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import batchlab
from batchlab import Loader, PrioritizedSampler, RandomSampler, resume, train
from batchlab.backend import keras, tf
from tests.samplers.strategies import STRATEGIES, N

RNG = np.random.default_rng(7)
X = RNG.random((N, 20), dtype=np.float32)
Y = RNG.integers(0, 2, N)
WEIGHT = 0.5 + np.arange(N) % 3


def strategy_of(kind: str) -> Any:
    if kind == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    count = int(kind)
    if count == 1:
        return tf.distribute.get_strategy()
    # A process cannot have two groups of devices that talk by collectives.
    ops = tf.distribute.ReductionToOneDevice() if count == 4 else None
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)], cross_device_ops=ops)


def net(strategy: Any, optimizer: Any = None, **options: Any) -> keras.Model:
    with strategy.scope():
        keras.utils.set_random_seed(1)
        hidden = keras.layers.Dense(32, "tanh", kernel_regularizer="l2")
        model = keras.Sequential([keras.Input((20,)), hidden, keras.layers.Dense(2, "softmax")])
        options = {
            "loss": "sparse_categorical_crossentropy",
            "metrics": ["accuracy"],
            "weighted_metrics": ["accuracy"],
            **options,
        }
        model.compile(optimizer() if optimizer else "adam", **options)
    return model


def told(model: keras.Model, history: Any, sampler: Any) -> dict[str, Any]:
    return {
        "weights": [array.tolist() for array in model.get_weights()],
        "indices": [batch.tolist() for batch in history.indices],
        "losses": [losses.tolist() for losses in history.losses],
        "logs": history.history,
        "state": sampler.state_dict(),
    }


def every_strategy(kind: str) -> dict[str, Any]:
    """Two epochs with each sampler, on one model that is put back: it is compiled once."""
    model = net(strategy_of(kind), lambda: keras.optimizers.Adam(0.01, epsilon=1e-3))
    first, results = None, {}
    for name, make in STRATEGIES.items():
        variables = [*model.variables, *model.optimizer.variables]
        first = first or [variable.numpy() for variable in variables]
        for variable, value in zip(variables, first):
            variable.assign(value)
        sampler = make(batch_size=14, seed=3)
        loader = Loader(X, Y, sample_weight=WEIGHT, sampler=sampler)
        data = (X[:31], Y[:31], WEIGHT[:31])
        history = train(model, loader, 2, verbose=0, lag=2, validation_data=data)
        results[name] = told(model, history, sampler)
    return results


OPTIMIZERS = {
    "clipnorm": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3, clipnorm=0.02),
    "global_clipnorm": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3, global_clipnorm=0.05),
    "clipvalue": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3, clipvalue=0.003),
    "ema": lambda: keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True),
    "weight decay": lambda: keras.optimizers.AdamW(
        keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5), weight_decay=0.1, epsilon=1e-3
    ),
}


def every_optimizer(kind: str) -> dict[str, Any]:
    """With last batches of 2, fewer than there are replicas, from memory and streamed."""
    results = {}
    for name, make in OPTIMIZERS.items():
        model = net(strategy_of(kind), make)
        sampler = PrioritizedSampler(N, batch_size=29, seed=3)
        loader = Loader(X, Y, sampler=sampler)
        limit = 0 if name == "clipvalue" else 2**31
        history = train(model, loader, 2, verbose=0, lag=1, resident_limit=limit)
        results[name] = told(model, history, sampler)
    return results


def everything(kind: str) -> dict[str, Any]:
    return {"samplers": every_strategy(kind), "optimizers": every_optimizer(kind)}


def one_run(
    kind: str,
    epochs: int = 20,
    checkpoint: str | None = None,
    go_on: bool = False,
    pause: float = 0.0,
    stop_at: int | None = None,
) -> dict[str, Any]:
    """A run that is killed, interrupted or stopped, or one that goes on; with `pause` it is slow."""
    model = net(strategy_of(kind))
    sampler = PrioritizedSampler(N, batch_size=12, seed=3)
    loader = Loader(X, Y, sampler=sampler)
    history = resume(checkpoint, model, loader) if go_on else None

    def after(batch: int, logs: Any) -> None:
        time.sleep(pause)
        if stop_at is not None and model.history.steps >= stop_at:
            model.stop_training = True

    with contextlib.suppress(KeyboardInterrupt):
        train(
            model,
            loader,
            epochs,
            verbose=0,
            lag=2,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=after)],
            checkpoint=checkpoint,
            checkpoint_every=2 if checkpoint else None,
            history=history,
        )
    return told(model, model.history, sampler)


def refusals(kind: str, others: list[dict[str, Any]]) -> list[str]:
    """What is said when this worker has a setting of its own, one after the other."""
    model, said = net(strategy_of(kind)), []
    for other in others:
        n = other.get("n", N)
        make = {"random": RandomSampler, "prioritized": PrioritizedSampler}
        sampler = make[other.get("sampler", "random")](n, batch_size=12, seed=other.get("seed", 3))
        batchlab.__version__ = other.get("version", "0.1.0")
        try:
            train(model, Loader(X[:n], Y[:n], sampler=sampler), other.get("epochs", 1), verbose=0)
        except ValueError as error:
            said.append(str(error))
    return said


def main(path: str, job: str) -> None:
    """Run a job: ``{"run": name of a function here, "kinds": [...], ...}``."""
    job = json.loads(job)
    one = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(one, [tf.config.LogicalDeviceConfiguration()] * 4)
    run, kinds = globals()[job.pop("run")], job.pop("kinds")
    results = {kind: run(kind, **job) for kind in kinds}
    Path(path).write_text(json.dumps(results, default=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
