"""Keras callbacks, its progress bar, and the history that train returns."""

from __future__ import annotations

import json

import numpy as np
import pytest

from batchlab import History, LogSelection, fit_baseline, train
from batchlab.backend import keras
from batchlab.loops.callbacks import Hooks
from tests.loops.models import N, RandomSampler, assert_same_weights, data, loader, model


class Watch(keras.callbacks.Callback):
    """Notes every call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch, sorted(logs)))


class ListSampler(list):
    """The batches of an epoch, as they are."""


def run(callbacks, epochs=3, **options):
    options = {"verbose": 0, "jit_compile": False, **options}
    net = model("dense", keras.optimizers.SGD(0.1))
    return net, train(net, loader(), epochs, callbacks=callbacks, **options)


def test_batch_hooks_see_every_batch_and_change_nothing():
    watch = Watch()
    watched, _ = run([watch], 1)
    logs = ["accuracy", "loss"]
    assert watch.calls == [
        call for batch in range(3) for call in (("begin", batch), ("end", batch, logs))
    ]
    unwatched, _ = run([], 1)
    assert_same_weights(watched, unwatched)


def test_a_batch_hook_may_stop_training_at_once():
    class StopAt(keras.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    _, history = run([StopAt()])
    assert history.steps == 2
    assert history.epoch == [0]


def test_early_stopping_and_its_best_weights():
    stop = keras.callbacks.EarlyStopping(
        "loss", patience=0, min_delta=10, restore_best_weights=True
    )
    net, history = run([stop], 5)
    assert history.epoch == [0, 1]
    once, _ = run([], 1)
    assert_same_weights(net, once)


def test_learning_rates_are_changed_and_recorded():
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    _, history = run([schedule])
    np.testing.assert_allclose(history.history["learning_rate"], [0.1, 0.05, 0.1 / 3], rtol=1e-6)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10)
    net, _ = run([plateau], 3)
    assert float(net.optimizer.learning_rate.numpy()) == pytest.approx(0.025)


def test_files_of_model_checkpoint_and_csv_logger(tmp_path):
    _, history = run(
        [
            keras.callbacks.ModelCheckpoint(
                tmp_path / "{epoch}.weights.h5", save_weights_only=True
            ),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        ],
        2,
        validation_data=data("dense"),
    )
    assert {path.name for path in tmp_path.glob("*.h5")} == {"1.weights.h5", "2.weights.h5"}
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    assert header == "epoch,accuracy,loss,val_accuracy,val_loss"
    assert float(rows[1].split(",")[2]) == pytest.approx(history.history["loss"][1])


def test_tensorboard(tmp_path):
    run([keras.callbacks.TensorBoard(tmp_path)], 2)
    assert list(tmp_path.rglob("events.out.*"))


def test_validation_is_that_of_fit():
    x, y = data("dense")
    fitted, trained = model("dense"), model("dense")
    options = {"epochs": 2, "verbose": 0, "validation_data": (x, y)}
    by_fit = fit_baseline(fitted, x, y, sampler=RandomSampler(N, 12, seed=3), **options)
    by_train = train(trained, loader(), jit_compile=False, **options)
    for name in ("val_loss", "val_accuracy"):
        np.testing.assert_allclose(by_train.history[name], by_fit.history[name], rtol=1e-5)
    _, history = run([], 4, validation_data=loader(), validation_freq=2)
    assert len(history.history["val_loss"]) == 2


def test_the_history_reads_like_that_of_keras():
    seen = []
    log = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["loss"]))
    net, history = run([log])
    assert net.history is history
    assert isinstance(history, History)
    assert history.history["loss"] == seen
    assert history.epoch == [0, 1, 2]
    assert history.params == {"verbose": 0, "epochs": 3, "steps": 3}
    assert json.loads(json.dumps(history.history)) == history.history


@pytest.mark.parametrize(("verbose", "lines"), [("auto", 4), (2, 4), (0, 0)])
def test_keras_shows_its_progress_bar(verbose, lines, capsys):
    run([], 2, verbose=verbose)
    printed = capsys.readouterr().out
    assert printed.count("Epoch ") == lines // 2
    assert printed.count("3/3") >= lines // 2
    assert ("loss:" in printed) == bool(lines)


class Logger(keras.callbacks.Callback):
    """Has the hooks and the attributes of the loggers of W&B and MLflow."""

    __module__ = "wandb.integration.keras.callbacks.metrics_logger"

    def __init__(self, **options):
        super().__init__()
        vars(self).update(options)
        self.batches, self.epochs = 0, []

    def on_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_train_batch_end(self, batch, logs=None):
        self.on_batch_end(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(sorted(logs))


@pytest.mark.parametrize(
    ("options", "every_batch"),
    [
        ({"log_freq": None, "logging_batch_wise": False}, False),
        ({"log_freq": 1, "logging_batch_wise": True}, True),
        ({"log_every_epoch": True, "log_every_n_steps": None}, False),
        ({"log_every_epoch": False, "log_every_n_steps": 1}, True),
        ({"save_freq": "epoch"}, False),
        ({"save_freq": 2}, True),
    ],
)
def test_a_logger_that_logs_per_epoch_does_not_ask_for_every_batch(options, every_batch):
    class Own(Logger):
        __module__ = "project"

    class OwnHook(Logger):
        __module__ = "project"

        def on_batch_end(self, batch, logs=None):
            super().on_batch_end(batch, logs)

    for cls, expected in ((Logger, every_batch), (Own, every_batch), (OwnHook, True)):
        logger = cls(**options)
        run([logger], 2)
        assert (logger.batches == 6) == expected, cls
        assert logger.epochs == 2 * [["accuracy", "loss"]]


def test_the_real_loggers_of_mlflow():
    mlflow = pytest.importorskip("mlflow.keras")
    assert not Hooks([mlflow.MlflowCallback()], model("dense"), History(N), 0, 1, 3).every_batch
    slow = mlflow.MlflowCallback(log_every_epoch=False, log_every_n_steps=5)
    assert Hooks([slow], model("dense"), History(N), 0, 1, 3).every_batch


def test_the_real_loggers_of_weights_and_biases():
    wandb = pytest.importorskip("wandb")
    from wandb.integration.keras import WandbMetricsLogger

    with wandb.init(mode="disabled"):
        fast, slow = WandbMetricsLogger(), WandbMetricsLogger(log_freq="batch")
    for logger, expected in ((fast, False), (slow, True)):
        assert Hooks([logger], model("dense"), History(N), 0, 1, 3).every_batch == expected


def test_what_was_chosen_reaches_every_logger(tmp_path):
    y = np.array(["rare", "often"])[(data("dense")[1] > 0).astype(int)]
    twice = ListSampler([[0, 1, 2, 0], [3, 0, 1, 4]])
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    net = model("dense")
    history = train(
        net, loader("dense", twice), 2, callbacks=[log, LogSelection(y)], verbose=0
    ).history
    chosen = [0, 1, 2, 0, 3, 0, 1, 4]
    assert history["coverage"] == 2 * [5 / N]
    assert history["repeats"] == 2 * [1 - 5 / 8]
    assert history["mix/rare"] == 2 * [(y[chosen] == "rare").mean()]
    assert "mix/often" in (tmp_path / "log.csv").read_text().splitlines()[0]


def test_log_selection_without_labels_and_where_it_cannot_be():
    _, history = run([LogSelection()], 1)
    assert history.history["coverage"] == [1.0]
    assert history.history["repeats"] == [0.0]
    with pytest.raises(ValueError, match="LogSelection: labels must have one entry for each of the 28"):
        run([LogSelection([0, 1])], 1)
    with pytest.raises(TypeError, match="only train keeps a record"):
        model("dense").fit(*data("dense"), callbacks=[LogSelection()], verbose=0)
