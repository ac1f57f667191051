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
    # Collectives within a process are for GPUs: CPU devices start them in no fixed order.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(count)], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


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
    for name in OPTIMIZERS if kind in "14" else ["global_clipnorm"]:
        model = net(strategy_of(kind), OPTIMIZERS[name])
        sampler = PrioritizedSampler(N, batch_size=29, seed=3)
        loader = Loader(X, Y, sampler=sampler)
        limit = 0 if name == "clipvalue" else 2**31
        history = train(model, loader, 2, verbose=0, lag=1, resident_limit=limit)
        results[name] = told(model, history, sampler)
    return results


def sample_losses_of(model: keras.Model, x: Any, y: Any, weights: Any) -> Any:
    """A step of one's own."""
    return keras.losses.sparse_categorical_crossentropy(y, model(x, training=True))


def layers_and_steps(kind: str) -> dict[str, Any]:
    """What differs on several devices unless one takes care, in batches of 20."""
    layers, results = keras.layers, {}
    for name, inner, step in (
        (
            "synchronized BatchNormalization",
            lambda: layers.BatchNormalization(synchronized=True),
            None,
        ),
        ("BatchNormalization", layers.BatchNormalization, None),
        ("Dropout", lambda: layers.Dropout(0.4, seed=1), None),
        ("a constraint", lambda: layers.Dense(8, kernel_constraint="max_norm"), None),
        ("a step of one's own", lambda: layers.Dense(8), sample_losses_of),
    ):
        with strategy_of(kind).scope():
            keras.utils.set_random_seed(1)
            ends = layers.Dense(8, use_bias=False), layers.Dense(2, "softmax")
            model = keras.Sequential([keras.Input((20,)), ends[0], inner(), ends[1]])
            model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        sampler = RandomSampler(N, batch_size=20, seed=3)
        loader = Loader(X, Y, sample_weight=WEIGHT, sampler=sampler)
        results[name] = told(model, train(model, loader, 3, verbose=0, step=step), sampler)
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


def impossible(kind: str) -> dict[str, str]:
    """What several devices cannot do as one does: what is said, by name."""
    strategy, said = strategy_of(kind), {}
    with strategy.scope():
        masked = keras.Sequential(
            [
                keras.Input((20,)),
                keras.layers.Embedding(2, 3, mask_zero=True),
                keras.layers.Dense(2, "softmax"),
            ]
        )
        masked.compile("sgd", "sparse_categorical_crossentropy")

        class Own(keras.Sequential):
            def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
                return tf.reduce_sum(y_pred)

        own = Own([keras.Input((20,)), keras.layers.Dense(2)])
        own.compile("sgd", "mse")
        sgd = keras.optimizers.SGD
        models = {
            "run_eagerly": {"run_eagerly": True},
            "gradient_accumulation_steps": {
                "optimizer": lambda: sgd(gradient_accumulation_steps=2)
            },
            "ema_overwrite_frequency": {
                "optimizer": lambda: sgd(use_ema=True, ema_overwrite_frequency=2)
            },
            "loss scaling": {"optimizer": lambda: keras.optimizers.LossScaleOptimizer(sgd())},
            "the reduction 'sum'": {
                "loss": keras.losses.SparseCategoricalCrossentropy(reduction="sum")
            },
            "one number": {"loss": lambda y, y_pred: tf.reduce_sum(y_pred)},
        }
        models = {name: net(strategy, **options) for name, options in models.items()}
    outside = net(strategy)
    outside.compile(keras.optimizers.SGD(), "sparse_categorical_crossentropy")
    models |= {"a compute_loss": own, "a mask": masked, "outside the scope": outside}
    plain = net(strategy)
    options: dict[str, dict[str, Any]] = {
        "jit_compile=True": {"jit_compile": True},
        "selection": {"selection": batchlab.PoolSelection(pool=4, keep=2)},
        "adversarial": {"adversarial": batchlab.Adversarial(0.1)},
        "moves the weights itself": {"step": lambda *batch: (tf.zeros((12,)), tf.zeros(()))},
    }
    calls = {name: (model, {}) for name, model in models.items()}
    calls |= {name: (plain, given) for name, given in options.items()}
    for name, (model, given) in calls.items():
        x = np.ones((N, 20), int) if model is masked else X
        y = np.ones((N, 20), int) if model is masked else Y
        loader = Loader(x, y, sampler=PrioritizedSampler(N, batch_size=12, seed=3))
        try:
            train(model, loader, verbose=0, **given)
        except ValueError as error:
            said[name] = str(error)
        assert loader.sampler.epoch == 0
    for loop in (batchlab.eager_loop, batchlab.sample_losses):
        try:
            loop(plain, loader)
        except ValueError as error:
            said[loop.__name__] = str(error)
    return said


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
