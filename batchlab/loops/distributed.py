"""Training on several devices and machines: every process draws the same batch and trains on a part.

A batch is a function of seed, epoch, settings and feedback, so no index has to travel: replica r of
R takes ``batch[r::R]``. The losses are gathered once a call, in the order of the batch; sampler,
history and checkpoint are those of one device.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import batchlab
from batchlab.backend import keras, tf
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.keras_private import clipped, loss_terms, masks_of
from batchlab.loops.own_step import batch_loss
from batchlab.loops.program import Program
from batchlab.loops.step import Unreduced, at, forward, specs_of, weights_for_loss
from batchlab.loops.targets import by_place
from batchlab.samplers import SequentialSampler

# Steps per call where several processes must take as many. Ctrl-C and callbacks wait for a call;
# a call costs a few milliseconds of talk between the workers.
STEPS_PER_CALL = 64
_MOST, _SHOWN = 2**15, 300  # of what workers compare: bytes in all, letters of each
_LOST = ("UnavailableError", "AbortedError", "CancelledError")
_MEANS = ("sum_over_batch_size", "mean")  # two names of one reduction


def replicas(model: keras.Model) -> int:
    """On how many devices, of all workers together, the model is trained."""
    return model.distribute_strategy.num_replicas_in_sync


def workers(model: keras.Model) -> int:
    """How many processes train the model together."""
    strategy = model.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    return max(sum(map(len, strategy.cluster_resolver.cluster_spec().as_dict().values())), 1)


def is_chief(model: keras.Model) -> bool:
    """Whether this process writes the files: the ``chief`` of the cluster, or its worker 0."""
    if workers(model) == 1:
        return True
    resolver = model.distribute_strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def check_strategy(model: keras.Model, **options: Any) -> None:
    """Refuse, by name, what several devices would do otherwise than one.

    Raises
    ------
    ValueError
        If the strategy, the optimizer, the model or one of the `options` of :func:`train` is such.
    """
    if replicas(model) == 1:
        return
    strategy, optimizer = model.distribute_strategy, model.optimizer
    known = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    own_loss = type(model).compute_loss is not keras.Model.compute_loss
    refused = {
        f"{type(strategy).__name__} is": (
            not isinstance(strategy, known),
            "Use MirroredStrategy or MultiWorkerMirroredStrategy.",
        ),
        "jit_compile=True is": (
            options.get("jit_compile"),
            "XLA cannot talk between devices: leave it out.",
        ),
        "selection is": (
            options.get("selection"),
            "The best of each part are not the best of the pool.",
        ),
        "adversarial is": (options.get("adversarial"), "Its share is one of the whole batch."),
        "run_eagerly=True is": (model.run_eagerly, "Debug it on one device."),
        "gradient_accumulation_steps of the optimizer is": (
            optimizer.gradient_accumulation_steps,
            "Use a larger batch.",
        ),
        "ema_overwrite_frequency of the optimizer is": (
            optimizer.ema_overwrite_frequency,
            "Leave it out: use_ema=True alone puts the averages in place when training ends.",
        ),
        "loss scaling of the optimizer is": (
            isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
            or optimizer.loss_scale_factor,
            "It looks at the gradients of one device. Use mixed_bfloat16, which needs none.",
        ),
        "a compute_loss of the model's own is": (
            own_loss and options.get("step") is None,
            "Whether it is a mean over samples is not known. Give it to train as step=..., which "
            "returns the losses of the samples.",
        ),
    }
    for what, (present, mend) in refused.items():
        if present:
            raise ValueError(
                f"train: {what} not possible with model {model.name!r}, which is distributed over "
                f"{replicas(model)} devices. {mend}"
            )


class DistributedProgram(Program):
    """The training step on every replica at once: see :class:`Program`, whose results it gives."""

    def __init__(self, model: keras.Model, *options: Any) -> None:
        super().__init__(model, *options)
        self.strategy = model.distribute_strategy
        self._replicas, self._workers = replicas(model), workers(model)
        for variable in [*model.variables, *model.optimizer.variables, *model.metrics_variables]:
            if not isinstance(variable.value, tf.distribute.DistributedValues):
                raise ValueError(
                    f"train: {variable.path} was made outside the scope of model {model.name!r}'s "
                    f"{type(self.strategy).__name__}. Build the model, its optimizer and metrics and "
                    "call compile within `with strategy.scope():`."
                )
        for _, loss, _ in loss_terms(model):
            if loss.reduction not in _MEANS:
                raise ValueError(
                    f"train: loss {loss.name!r} has the reduction {loss.reduction!r}, and over several "
                    "devices only a mean over samples is known to be the same. Use "
                    'reduction="sum_over_batch_size".'
                )
        self._evaluation = tf.function(self._evaluated, autograph=False)
        self._everyone = tf.function(lambda flags: gathered(self.strategy, flags), autograph=False)
        self._logs: dict[str, Any] | None = None

    # -- the step --------------------------------------------------------------------------------

    @property
    def resets(self) -> bool:
        """Whether the graph can end an epoch: the workers talk between two."""
        return False

    def _epochs(self, first: Any, rows: Any, count: Any, parts: Any, settings: Any) -> Any:
        results: list[Any] = []
        done = tf.constant(0)
        for part, most in zip(parts, (rows, 1)):
            if part[0].shape[1] == 0:
                results.append(())
                continue
            taken = tf.minimum(most, count - done)
            results.append(self._trained(first + tf.cast(done, tf.int64), taken, *part))
            done += taken
        return tuple(results), {}, ()

    def _trained(
        self, first: Any, count: Any, indices: Any, weights: Any, data: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train on the first `count` rows: the losses of their samples, and those of the batches."""
        rows, size = tf.shape(indices)[0], tf.shape(indices)[1]
        most = -(-size // self._replicas)  # samples of one replica
        array = tf.TensorArray(tf.float32, rows, element_shape=(None, None))
        # Filled, because an array of which no row was written has no shape.
        array = array.unstack(tf.zeros((rows, self._replicas // self._workers, most + 1)))

        def replica(row: tf.Tensor, data: Any) -> tf.Tensor:
            places, own = self._part(size)

            def part(array: tf.Tensor) -> tf.Tensor:
                return tf.gather(array[row : row + 1], places, axis=1)

            batch = self._batch(
                tf.constant(0),
                first + tf.cast(row, tf.int64),
                part(indices),
                [part(factor) for factor in weights],
                keras.tree.map_structure(part, data) if self.streamed else data,
                (),
            )
            losses, total = self._share(own, size, *batch[1:])
            return tf.concat([tf.pad(losses[:own], [[0, most - own]]), [total]], axis=0)

        def body(row: tf.Tensor, array: tf.TensorArray) -> tuple[Any, ...]:
            results = self.strategy.run(replica, args=(row, data))
            here = tf.stack(self.strategy.experimental_local_results(results))
            return row + 1, array.write(row, here)

        start = (tf.constant(0), array)
        _, array = tf.while_loop(lambda row, *_: row < count, body, start)
        # (replicas of this worker, rows, most + 1)
        results = tf.transpose(array.stack(), (1, 0, 2))
        if self._workers > 1:
            results = gathered(self.strategy, results)
        losses = tf.transpose(results[:, :, :-1], (1, 2, 0))  # in the order of the batch
        return tf.reshape(losses, (rows, -1))[:, :size], tf.reduce_sum(results[:, :, -1], axis=0)

    def _part(self, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Which places of a batch are this replica's, and how many; if none, the first, to be idle."""
        rank = tf.distribute.get_replica_context().replica_id_in_sync_group
        places = tf.range(size)[rank :: self._replicas]
        own = tf.size(places)
        return tf.pad(places, [[0, tf.cast(own == 0, tf.int32)]]), own

    def _share(
        self, own: tf.Tensor, size: tf.Tensor, x: Any, y: Any, weights: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take this replica's share of a step: the losses of its samples, and of the batch's loss."""
        model = self.model
        # Keras divides a mean by the number of replicas; parts of one size need nothing else.
        share = tf.cast(own * self._replicas, tf.float32) / tf.cast(size, tf.float32)
        with tf.GradientTape() as tape:
            if self.own_step is None:
                y_pred = forward(model, x)
                loss, weights = self._loss(x, y, y_pred, weights)
            else:
                losses, loss, taken = batch_loss(self.own_step, model, x, y, weights)
                if taken:
                    raise ValueError(
                        "train: a step that moves the weights itself moves them by a part of the "
                        "batch only. Return the losses of the samples, or use one device."
                    )
                loss /= self._replicas
                tf.debugging.assert_equal(
                    tf.size(losses),
                    tf.shape(keras.tree.flatten(x)[0])[0],
                    "train: step must return the loss of each of the samples of a batch.",
                )
            share_of_loss = loss * tf.cast(share, loss.dtype)
        gradients = tape.gradient(share_of_loss, model.trainable_weights)
        if any(
            getattr(model.optimizer, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")
        ):
            # Keras clips before it sums. What is clipped and divided it will not clip again.
            context = tf.distribute.get_replica_context()
            known = [i for i, gradient in enumerate(gradients) if gradient is not None]
            whole = context.all_reduce("SUM", [tf.convert_to_tensor(gradients[i]) for i in known])
            for i, gradient in zip(known, clipped(model.optimizer, whole)):
                gradients[i] = gradient / self._replicas
        model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))
        if self.own_step is None:
            self._measure(own, loss, x, y, y_pred, weights)
            losses = self._sample_losses(y, y_pred, loss)
        else:
            self._mean_loss.update_state(loss * self._replicas, sample_weight=own)
        return losses, tf.cast(share_of_loss, tf.float32)

    def _loss(self, x: Any, y: Any, y_pred: Any, weights: Any) -> tuple[tf.Tensor, Any]:
        """The loss of a part, and weights with the axes of the losses."""
        for path, loss, _ in loss_terms(self.model):
            one = Unreduced(loss)(at(by_place(self.model, y, y_pred), path), at(y_pred, path))
            if one.shape.rank == 0 or masks_of(y_pred):
                what = "has a mask" if masks_of(y_pred) else "is one number for the whole batch"
                raise ValueError(
                    f"train: loss {loss.name!r} {what}, so the mean over the parts of a batch need not "
                    "be that over the batch. Give train a step=... that returns the losses of the "
                    "samples, or use one device."
                )
        weights = weights_for_loss(self.model, y, y_pred, weights)
        return self.model.compute_loss(x, y, y_pred, weights), weights

    def _measure(self, own: tf.Tensor, loss: tf.Tensor, *batch: Any) -> None:
        """Update the metrics by the samples of a part; an idle one has none."""
        self._mean_loss.update_state(loss * self._replicas, sample_weight=own)
        self.model.compute_metrics(*_of_all(lambda leaf: leaf[:own], batch))

    # -- the workers agree -----------------------------------------------------------------------

    def __call__(self, *arguments: Any, known: bool = True) -> tuple[Any, ...]:
        # One function for all batch sizes: parts of a batch have many, and a trace is slow.
        results = super().__call__(*arguments, known=False)
        # To read a metric all workers must: whoever looks at the logs later sees these.
        self._logs = super().logs() if self._workers > 1 else None
        return results

    def logs(self) -> dict[str, Any]:
        return super().logs() if self._logs is None else dict(self._logs)

    def reset_metrics(self) -> None:
        self._logs = None
        super().reset_metrics()

    def agree(self, flag: bool) -> bool:
        """Whether any worker says so; all must ask."""
        if self._workers == 1:
            return flag
        here = tf.fill((self._replicas // self._workers,), int(flag))
        return bool(tf.reduce_any(self._everyone(here) > 0))

    # -- validation ------------------------------------------------------------------------------

    def evaluate(self, data: Any, batch_size: int | None) -> dict[str, float]:
        """As ``model.evaluate``, which cannot run on several machines; every process has all `data`."""
        self.reset_metrics()
        for batch in _batches(data, batch_size):
            tensors = keras.tree.map_structure(tf.convert_to_tensor, tuple(batch))
            self._evaluation.get_concrete_function(specs_of(tensors))(tensors)
        return self.logs()

    def _evaluated(self, batch: tuple[Any, ...]) -> None:
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        size = tf.shape(keras.tree.flatten(x)[0])[0]

        def replica(x: Any, y: Any, weights: Any) -> None:
            places, own = self._part(size)
            x, y, weights = _of_all(lambda leaf: tf.gather(leaf, places), (x, y, weights))
            y_pred = self.model(x, training=False)
            loss, weights = self._loss(x, y, y_pred, weights)
            self._measure(own, loss, x, y, y_pred, weights)

        self.strategy.run(replica, args=(x, y, weights))


def gathered(strategy: tf.distribute.Strategy, parts: tf.Tensor) -> tf.Tensor:
    """The `parts` of all replicas in their order, of which this worker has its own, along axis 0."""

    def replica(parts: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        place = context.replica_id_in_sync_group % tf.shape(parts)[0]
        return context.all_gather(parts[place : place + 1], axis=0)

    return strategy.experimental_local_results(strategy.run(replica, args=(parts,)))[0]


def _of_all(function: Callable[[Any], Any], batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """`function` of every array of a batch, which may have no weights."""
    return keras.tree.map_structure(function, batch, none_is_leaf=False)


def _batches(data: Any, batch_size: int | None) -> Iterable[tuple[Any, ...]]:
    if not isinstance(data, (tuple, list)):
        return data
    x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(data))
    n = Loader(x, y, sampler=range(0)).n
    sampler = SequentialSampler(n, min(batch_size or 32, n))
    return Loader(x, y, sample_weight=weights, sampler=sampler)


# -- the start and the end of a run --------------------------------------------------------------


def check_alike(model: keras.Model, loader: Loader, history: History, **settings: Any) -> None:
    """Refuse workers that would not draw the same batches for the same model, before the first step.

    Raises
    ------
    ValueError
        On every worker, with the name of what differs and its value on each.
    """
    if workers(model) == 1:
        return
    sampler = loader.sampler
    weights = b"".join(np.asarray(value).tobytes() for value in model.get_weights())
    state = sampler.state_dict() if hasattr(sampler, "state_dict") else None
    facts = {
        "the version of batchlab": batchlab.__version__,
        "the length of the data": loader.n,
        "the sampler": type(sampler).__name__,
        "the seed": getattr(sampler, "seed", None),
        "the sampler's settings": repr(sampler),
        "the sampler's state": _digest(json.dumps(state, default=str)),
        "the number of steps trained": history.steps,
        "the model's weights": _digest(weights),
        **settings,
    }
    own = replicas(model) // workers(model)
    content = np.zeros((own, _MOST), np.int32)
    written = json.dumps({name: _short(value) for name, value in facts.items()}).encode()
    content[:, : len(written)] = list(written)
    lines = gathered(model.distribute_strategy, tf.constant(content)).numpy()[::own]
    everyone = [json.loads(bytes(line[line > 0].tolist())) for line in lines]
    for name in facts:
        values = [theirs.get(name) for theirs in everyone]
        if any(value != values[0] for value in values):
            shown = ", ".join(f"{value} on worker {i}" for i, value in enumerate(values))
            raise ValueError(
                f"train: {name} differs between the workers: {shown}. Start all of them with the same "
                "program, data and checkpoint: each draws the whole batch and trains on its part."
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({_digest(text)})"


def _digest(content: str | bytes) -> str:
    return f"{zlib.crc32(content.encode() if isinstance(content, str) else content):08x}"


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Say in plain words that another worker has gone, which TensorFlow tells in many."""
    try:
        yield
    except Exception as error:
        kind = type(error)  # by name, because another backend has no such classes
        if kind.__name__ not in _LOST or not kind.__module__.startswith("tensorflow."):
            raise
        raise ConnectionError(
            "train: another worker has gone, or cannot be reached, so training cannot go on. Start all "
            "workers again, as many as you like: resume(checkpoint, model, loader) goes on with the "
            f"same batches. {kind.__name__}: {error}"
        ) from error
