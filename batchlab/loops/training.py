"""``train``: a drop-in for ``model.fit`` on batches that a sampler chooses."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from batchlab.backend import keras, tf
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.adversarial import Adversarial
from batchlab.loops.callbacks import Hooks
from batchlab.loops.checkpoint import Checkpoints
from batchlab.loops.compiled import RESIDENT_LIMIT, CompiledSteps
from batchlab.loops.distributed import (
    STEPS_PER_CALL,
    check_alike,
    lost_workers_named,
    replicas,
    workers,
)
from batchlab.loops.interrupt import DeferredInterrupt
from batchlab.loops.program import Program
from batchlab.loops.ready import check_own_step, check_ready
from batchlab.loops.runner import Runner
from batchlab.loops.selection import PoolSelection
from batchlab.loops.step import specs_of
from batchlab.loops.targets import check_targets
from batchlab.loops.xla import use_xla
from batchlab.parameters import Parameter, shown

# To trace a second step, for the smaller last batch, takes as long as this many steps gain by it;
# a call that is saved in every epoch counts as some of them.
_STEPS_WORTH_TRACING, _STEPS_PER_CALL = 10_000, 75


@lost_workers_named()
def train(
    model: keras.Model,
    loader: Loader,
    epochs: int = 1,
    *,
    validation_data: Any = None,
    validation_batch_size: int | None = None,
    validation_freq: int = 1,
    callbacks: list[Any] | None = None,
    verbose: int | str = "auto",
    lag: int = 16,
    steps_per_call: int | None = None,
    jit_compile: bool | None = None,
    selection: PoolSelection | None = None,
    adversarial: Adversarial | None = None,
    step: Callable[..., Any] | None = None,
    restore_on_nan: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    history: History | None = None,
    resident_limit: int = RESIDENT_LIMIT,
    **of_fit: Any,
) -> History:
    """Train like ``model.fit``, on the batches that the loader's sampler chooses, compiled.

    All of ``model.compile`` counts: losses and their weights, metrics, clipping, learning-rate
    schedules, mixed precision, ``run_eagerly``. With the same batches the weights end as with
    ``model.fit(loader, shuffle=False)`` and with :func:`eager_loop`.

    Parameters
    ----------
    model : keras.Model
        Compiled; without a ``train_step`` of its own, unless `step` replaces it.
    loader : Loader
        Says what is in each batch.
    epochs : int, default 1
        How many epochs of the loader's sampler to train; with `history`, how many in all.
    validation_data : tuple of arrays, tf.data.Dataset or Loader, optional
        Evaluated as by ``model.evaluate`` after every `validation_freq` epochs, in batches of
        `validation_batch_size`.
    callbacks : list of keras.callbacks.Callback, optional
        As in ``model.fit``. One that overrides a batch hook sees every batch, and training then
        takes one step per call: as slow as ``model.fit``. Loggers that log per epoch (TensorBoard,
        W&B, MLflow) cost nothing; :class:`LogSelection` tells them what was chosen.
    verbose : "auto", 0, 1 or 2
        Progress bar as in ``model.fit``.
    lag : int, default 16
        For samplers that listen: the losses of all steps before step ``k * lag`` (counted over all
        epochs) reach ``sampler.update``, in one call, before step ``k * lag`` is drawn; and at the
        end of an epoch. 1 is the order of :func:`eager_loop`; more is faster, but for a
        :class:`PrioritizedSampler` with XLA, whose priorities are kept inside the compiled function
        where it is 1. It has no effect on samplers that do not listen.
    steps_per_call : int, optional
        Batches per call of the compiled function. It never changes the result; by default as many,
        up to 2048, as take 0.1 s: several epochs, where nobody acts between them.
    jit_compile : bool, optional
        Whether to compile with XLA. By default the model and the number of steps in all epochs
        decide (see :func:`use_xla`).
    selection : PoolSelection, optional
        Train on the best of each batch instead of all of it.
    adversarial : Adversarial, optional
        Turn a share of every batch into adversarial examples.
    step : callable, optional
        A training step of your own, ``step(model, x, y, weights)``, where a loss given to
        ``compile`` does not do: contrastive learning, distillation, two optimizers. It returns the
        losses of the samples, float (batch,), which the record and the sampler get. The loop takes
        their mean, with `weights` (float32 (batch,), or None) as factors, adds ``model.losses``,
        and has the model's optimizer go down its gradient. A step that has moved the weights itself
        returns ``(losses, loss)``, the second for the logs and the NaN stop; of what it uses beside
        the model and its optimizer no checkpoint knows. It is compiled, like a
        ``train_step``: use TensorFlow's operations and tensors; by default without XLA. Metrics
        are logged if it calls ``model.compute_metrics``. Validation, `selection` and `adversarial`
        go by the loss given to ``compile``.
    restore_on_nan : bool, default False
        Whether weights and sampler (one with a ``load_state_dict``) go back to where they were before
        the first step whose loss was NaN or infinite. It costs a copy of both per call.
    checkpoint : path, optional
        Directory to :func:`save` to, after every epoch and every `checkpoint_every` steps.
    checkpoint_every : int, optional
        Steps between checkpoints within an epoch.
    history : History, optional
        Go on with this run, as :func:`resume` gives it.
    resident_limit : int, default 2**31
        Bytes of data that may be copied to the device. Larger data, and what is not in memory, are
        gathered on the host while the device computes.
    **of_fit
        No more: what else ``model.fit`` takes is refused with what to write instead.

    Returns
    -------
    History
        With every batch that was chosen and the loss of each of its samples. It is also
        ``model.history``, from the start, so that a run that was interrupted keeps its record.
        Where only a ``keras.callbacks.History`` is taken, as by KerasTuner, hand on the number:
        ``return min(history.history["val_loss"])``.

    Raises
    ------
    TypeError, ValueError
        If the model cannot be trained this way, or a parameter is of the wrong type or range.
    FloatingPointError
        If a loss becomes NaN or infinite; it names the step and the samples.
    KeyboardInterrupt
        After Ctrl-C, when the steps under way are done and recorded.
    ConnectionError
        If another worker has gone.

    Notes
    -----
    **Several devices, several machines.** Build and compile the model in the scope of a
    ``tf.distribute.MirroredStrategy`` or ``MultiWorkerMirroredStrategy``, and call `train` as ever,
    in every process with the same arguments. The batch size is that of all replicas together:
    each process draws the whole batch, and replica r of R trains on ``batch[r::R]``. Batches,
    weights, losses, logs, checkpoints are those of one device, up to rounding, also where R does
    not divide a batch. What differs by nature:

    - BatchNormalization normalises a replica's part of the batch, and its moving averages are means
      over the replicas. With ``synchronized=True`` it is that of the whole batch, where R divides it.
    - Layers that draw random numbers, such as Dropout, draw them for a replica's part.

    Of several processes, each takes the same number of steps per call, 64 or `steps_per_call`, the
    chief alone writes checkpoints (a callback that writes files belongs there, too), and metrics are
    added up once a call. Before the first step they compare what they train on; ValueError names
    what differs. Ctrl-C in one of them, or a callback that stops training, stops all after the call
    under way. When one is lost the others raise ConnectionError, within half a minute; started
    again, any number of them goes on from the checkpoint with the same batches.

    Refused by name, because it would not be the same as on one device: XLA, `selection`,
    `adversarial`, ``run_eagerly``, gradient accumulation, EMA that overwrites, loss scaling, a loss
    that is no mean over samples or has a mask, a ``compute_loss`` of one's own, a `step` that moves
    the weights itself.
    """
    _refuse(of_fit)
    if not isinstance(loader, Loader):  # train(model, x, y), where y is in the place of epochs
        check_own_step(model, loader, "train", step)
    check_ready(model, epochs, "train", step)
    check_own_step(model, loader, "train", step)
    for name, value, parameter in (
        ("lag", lag, Parameter(16, low=1)),
        ("validation_freq", validation_freq, Parameter(1, low=1)),
        ("resident_limit", resident_limit, Parameter(RESIDENT_LIMIT, low=0)),
        ("restore_on_nan", restore_on_nan, Parameter(False)),
    ):
        replace(parameter, name=name).check(value, "train")
    for name, value, parameter in (
        ("steps_per_call", steps_per_call, Parameter(1, low=1)),
        ("checkpoint_every", checkpoint_every, Parameter(1, low=1)),
        ("validation_batch_size", validation_batch_size, Parameter(32, low=1)),
        ("jit_compile", jit_compile, Parameter(False)),
    ):
        if value is not None:
            replace(parameter, name=name).check(value, "train")
    for name, value, kind in (
        ("selection", selection, PoolSelection),
        ("adversarial", adversarial, Adversarial),
        ("history", history, History),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"train: {name} must be a {kind.__name__}, got {shown(value)}.")
    if history is not None and history.n != loader.n:
        raise ValueError(
            f"train: history is of {history.n} samples, and the loader has {loader.n}. "
            "Take the one that resume() returned for this loader."
        )
    history = History(loader.n) if history is None else history
    checkpoints = Checkpoints(checkpoint, checkpoint_every, model, loader, history)
    hooks = Hooks(callbacks, model, history, verbose, epochs, len(loader))
    together = workers(model)
    fixed_size = 1 if hooks.every_batch else steps_per_call
    if together > 1:  # by a stopwatch each would take another number
        fixed_size = fixed_size or STEPS_PER_CALL
    steps = CompiledSteps(
        model,
        loader,
        selection=selection,
        adversarial=adversarial,
        # What a step of one's own draws is not known, and XLA draws other random numbers.
        jit_compile=use_xla(model, jit_compile, 0 if step else epochs * len(loader)),
        resident_limit=resident_limit,
        most=fixed_size or epochs * len(loader),
        lag=fixed_size or lag,
        step=step,
        fixed_sizes=epochs * (len(loader) + _STEPS_PER_CALL) >= _STEPS_WORTH_TRACING,
    )
    if validation_data is not None:
        _check_validation(validation_data, steps)
    runner = Runner(
        steps,
        history,
        "train",
        lag=lag,
        size=fixed_size,
        hooks=hooks,
        checkpoints=checkpoints,
        restore_on_nan=restore_on_nan,
        # A callback may change the sampler; and workers must ask each other in one order.
        ahead=not hooks.every_batch and together == 1,
    )
    settings = {"lag": lag, "the number of steps per call": fixed_size, "epochs": epochs}
    check_alike(model, loader, history, **settings)
    model.stop_training = False
    logs: dict[str, Any] = {}
    hooks.list.on_train_begin()
    # Nobody looks at model or sampler between two epochs: a call may hold several.
    alone = validation_data is None and checkpoint is None and not hooks.every_epoch
    while len(history.epoch) < epochs:
        if history.epoch_steps == 0:
            steps.program.reset_metrics()
        with DeferredInterrupt(steps.program.agree) as runner.interrupt:
            hooks.list.on_epoch_begin(len(history.epoch))
            try:
                runner.run(epochs=epochs - len(history.epoch) if alone else 1)
            finally:  # whatever stops it, the sampler hears of what was trained on
                runner.hand_back()
        epoch, logs = len(history.epoch), steps.program.logs()
        if validation_data is not None and (epoch + 1) % validation_freq == 0:
            scores = _evaluate(steps.program, validation_data, validation_batch_size, hooks)
            logs.update({f"val_{name}": value for name, value in scores.items()})
        hooks.list.on_epoch_end(epoch, logs)
        checkpoints.save()
        if steps.program.agree(model.stop_training):
            break
    model.optimizer.finalize_variable_values(model.trainable_weights)
    hooks.list.on_train_end(logs)
    return history


def _check_validation(data: Any, steps: CompiledSteps) -> None:
    """Refuse what ``model.evaluate`` would refuse after an epoch, as far as shapes and classes go."""
    model, own_step = steps.program.model, steps.program.own_step is not None
    own_loss = type(model).compute_loss is not keras.Model.compute_loss
    if own_step and model.loss is None and not own_loss:
        raise ValueError(
            "train: validation_data is evaluated by the loss given to compile, not by step, and model "
            f"{model.name!r} has none. Compile it with one, or score it in a callback."
        )
    pipeline = isinstance(data, (tf.data.Dataset, keras.utils.PyDataset))
    if pipeline and not (isinstance(data, Loader) and data.in_memory):
        return
    if not isinstance(data, (tuple, list, Loader)) or (isinstance(data, (tuple, list)) and len(data) < 2):
        raise TypeError(
            "train: validation_data must be a tuple (x, y), a tf.data.Dataset or a Loader, got "
            f"{type(data).__name__}."
        )
    x, y = (data.x, data.y) if isinstance(data, Loader) else data[:2]
    if not all(hasattr(leaf, "shape") for leaf in keras.tree.flatten((x, y))):
        return  # lists of numbers: Keras makes arrays of them
    lengths = [leaf.shape[0] for leaf in keras.tree.flatten((x, y))]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"train: validation_data must have one row per sample each, got {lengths} rows."
        )
    specs = specs_of((x, y))
    if not model.run_eagerly and specs != steps.loader.specs[:2]:
        try:  # a trace: nothing is computed
            tf.function(
                lambda x, y: model.compute_loss(x, y, model(x, training=False)), autograph=False
            ).get_concrete_function(*specs)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"train: validation_data does not fit model {model.name!r}: its shapes are "
                f"{[leaf.shape for leaf in keras.tree.flatten((x, y))]}. {error}"
            ) from error
    if not own_step:
        check_targets(model, y, steps.outputs, "validation_data[1]")


_INSTEAD = {
    "x": "loader=Loader(x, y, sampler=...)",
    "y": "loader=Loader(x, y, sampler=...)",
    "batch_size": "a sampler with this batch_size",
    "class_weight": "Loader(x, y, sample_weight=np.array(weights)[y], sampler=...) to weight losses, "
    "or ClassBalancedSampler(y, batch_size) to draw classes alike",
    "initial_epoch": "history=resume(path, model, loader)",
    "sample_weight": "Loader(x, y, sample_weight=..., sampler=...)",
    "shuffle": "RandomSampler or SequentialSampler: the sampler decides the order",
    "steps_per_epoch": "a sampler whose epoch has so many batches",
    "validation_split": "validation_data=(x_val, y_val), with sklearn.model_selection."
    "train_test_split(x, y) before",
    "validation_steps": "validation_data=(x_val[:n], y_val[:n])",
    "workers": "Loader(x, y, sampler=..., workers=...)",
}


def _refuse(of_fit: dict[str, Any]) -> None:
    for name in of_fit:
        mend = f" Write {_INSTEAD[name]}." if name in _INSTEAD else ""
        raise TypeError(f"train: {name} is no parameter of train.{mend}")


def _evaluate(
    program: Program, data: Any, batch_size: int | None, hooks: Hooks
) -> dict[str, float]:
    model = program.model
    if replicas(model) > 1:
        hooks.list.on_test_begin()
        logs = program.evaluate(data, batch_size)
        hooks.list.on_test_end(logs)
        return logs
    x, y, weights = data, None, None
    if isinstance(data, (tuple, list)):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(tuple(data))
    return model.evaluate(
        x, y, batch_size=batch_size, sample_weight=weights, callbacks=hooks.list, return_dict=True
    )
