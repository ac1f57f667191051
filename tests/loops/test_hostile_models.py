"""Models that count, draw, mask or bring a loss of their own: three loops, one mathematics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from batchlab import Loader, RandomSampler, eager_loop, sample_losses, train
from batchlab.backend import keras, tf
from tests.loops.models import N, assert_same_weights, data

layers, ops = keras.layers, keras.ops
rng = np.random.default_rng(5)
PIXELS = rng.random((N, 6, 6, 1), dtype=np.float32)
SERIES = rng.random((N, 3, 2), dtype=np.float32)
TOKENS = rng.integers(0, 5, (N, 4))
X, Y = data("dense")
ONE_HOT = np.eye(3, dtype=np.float32)[Y]


@keras.saving.register_keras_serializable("tests")
class Sampling(layers.Layer):
    """Draws in every call, as a variational autoencoder does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x: Any) -> Any:
        return x + 0.1 * keras.random.normal(ops.shape(x), seed=self.generator)


class Counting(layers.Layer):
    """Counts its calls, and its output depends on them."""

    def build(self, shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        self.calls.assign_add(1.0)
        return x * (1 + 0.1 * self.calls)


class OwnLoss(keras.Model):
    """Does without the loss that was compiled, if there was one."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3, "softmax")

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred - ops.one_hot(y, 3)))


def softmax(*inside: Any, head: Any = None) -> keras.Model:
    return keras.Sequential([*inside, head or layers.Dense(3, "softmax")])


HOSTILE: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "stateful": (
        lambda: softmax(keras.Input(batch_shape=(4, 3, 2)), layers.LSTM(3, stateful=True)),
        *(SERIES, Y, {}),
    ),
    "counting": (lambda: softmax(layers.Dense(4), Counting()), X, Y, {}),
    "drawing": (lambda: softmax(layers.Dense(4), Sampling()), X, Y, {}),
    "lstm dropout": (lambda: softmax(layers.LSTM(3, dropout=0.3, seed=1)), SERIES, Y, {}),
    "random crop": (
        lambda: softmax(keras.Input((6, 6, 1)), layers.RandomCrop(4, 4, seed=1), layers.Flatten()),
        *(PIXELS, Y, {}),
    ),
    "masked": (
        lambda: softmax(layers.Embedding(5, 3, mask_zero=True), layers.GRU(3, return_sequences=True)),
        *(TOKENS, TOKENS % 3, {}),
    ),
    "wrapped": (
        lambda: softmax(
            keras.Sequential([layers.TimeDistributed(layers.Dense(3))]),
            layers.Bidirectional(layers.SimpleRNN(2)),
        ),
        *(SERIES, Y, {}),
    ),
    "vector metrics": (
        lambda: softmax(layers.Dense(4)),
        *(X, ONE_HOT),
        {
            "loss": "categorical_crossentropy",
            "metrics": [
                keras.metrics.F1Score(),
                keras.metrics.FBetaScore(),
                keras.metrics.R2Score(class_aggregation=None),
            ],
        },
    ),
    "own loss": (OwnLoss, X, Y, {"loss": None}),
    "own loss beside a compiled one": (OwnLoss, X, Y, {}),
    "accumulation": (
        lambda: softmax(layers.Dense(4)),
        *(X, Y, {"optimizer": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)}),
    ),
    "moving average": (
        lambda: softmax(layers.Dense(4)),
        *(X, Y, {"optimizer": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)}),
    ),
    "mixed precision": (
        lambda: softmax(
            layers.Dense(4, dtype="mixed_float16"), head=layers.Dense(3, "softmax", dtype="float32")
        ),
        *(X, Y, {"optimizer": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))}),
    ),
}


def made(kind: str) -> tuple[keras.Model, Loader]:
    build, x, y, options = HOSTILE[kind]
    keras.utils.set_random_seed(1)
    net = build()
    optimizer = options.get("optimizer", lambda: keras.optimizers.SGD(0.1))()
    rest = {"loss": "sparse_categorical_crossentropy", **options, "optimizer": optimizer}
    if "metrics" in rest:
        rest["metrics"] = [type(m).from_config(m.get_config()) for m in rest["metrics"]]
    net.compile(**rest)
    return net, Loader(x, y, sampler=RandomSampler(N, 4, seed=3))


@pytest.mark.parametrize("kind", HOSTILE)
def test_fit_eager_and_train_agree(kind):
    (fitted, source), (eager, of_eager), (trained, of_train) = (made(kind) for _ in range(3))
    try:
        by_fit = fitted.fit(source, epochs=2, shuffle=False, verbose=0).history
    except tf.errors.OperatorNotAllowedInGraphError as error:
        # Keras 3.12, the last one for Python 3.10, cannot train a stateful LSTM: nor do we.
        assert kind == "stateful"
        for loop in (lambda: eager_loop(eager, of_eager, 2), lambda: train(trained, of_train, 2)):
            with pytest.raises(type(error)):
                loop()
        return
    by_eager = eager_loop(eager, of_eager, 2).history
    by_train = train(trained, of_train, 2, verbose=0, jit_compile=False).history
    for net in (eager, trained):
        for ours, theirs in zip(net.variables, fitted.variables, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=ours.path)
    for name, values in by_fit.items():
        np.testing.assert_allclose(by_train[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(by_eager[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("kind", ["counting", "drawing"])
def test_sample_losses_move_no_state(kind):
    net, source = made(kind)
    train(net, source, verbose=0, jit_compile=False)
    before = [variable.numpy() for variable in net.variables]
    sample_losses(net, source)
    for variable, value in zip(net.variables, before):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)


def test_nothing_to_train_warns_as_fit_does():
    net, source = made("counting")
    net.build((None, 4))
    net.trainable = False
    net.compile("adam", "sparse_categorical_crossentropy")
    for loop, options in ((train, {"verbose": 0, "jit_compile": False}), (eager_loop, {})):
        with pytest.warns(UserWarning, match="no trainable weights"):
            assert loop(net, source, **options).steps == 7


def test_weights_take_the_rank_of_the_loss():
    weights = np.linspace(0.1, 3, N).astype(np.float32)
    ends = []
    for loop in (train, eager_loop, by_hand):
        keras.utils.set_random_seed(1)
        net = keras.Sequential([layers.Embedding(5, 3), layers.Dense(3, "softmax")])
        net.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
        net.build((None, 4))
        options = {"verbose": 0, "jit_compile": False} if loop is train else {}
        # Four tokens in batches of four: weights along the wrong axis would fit, too.
        source = Loader(
            TOKENS, TOKENS % 3, sample_weight=weights, sampler=RandomSampler(N, 4, seed=3)
        )
        loop(net, source, **options)
        ends.append(net)
    assert_same_weights(ends[0], ends[2], 1e-5)
    assert_same_weights(ends[1], ends[2], 1e-5)


def by_hand(net: keras.Model, source: Loader) -> None:
    import tensorflow as tf

    for x, y, weights in source:
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(y, net(x))
            loss = tf.reduce_mean(weights[:, np.newaxis] * losses)
        gradients = tape.gradient(loss, net.trainable_weights)
        net.optimizer.apply_gradients(zip(gradients, net.trainable_weights))


def test_arrays_that_a_callback_puts_into_the_logs_are_kept():
    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["per class"] = np.arange(3.0)

    net, source = made("own loss")
    history = train(net, source, 2, callbacks=[Adds()], verbose=0, jit_compile=False)
    assert history.history["per class"] == [[0.0, 1.0, 2.0]] * 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda y: y + 1, r"y\[\d+\] is 3, but the model has 3 outputs, for the classes 0 to 2"),
        (lambda y: np.where(y == 1, -1, y), r"y\[\d+\] is -1, but"),
        (lambda y: np.where(np.arange(N) == 5, np.nan, y), r"y\[5\] is nan, and no loss can be"),
    ],
)
@pytest.mark.parametrize("loop", [train, eager_loop])
def test_targets_that_no_loss_can_be_computed_of_are_named_before_the_first_step(
    loop, spoil, message
):
    net, _ = made("counting")
    source = Loader(X, spoil(Y), sampler=RandomSampler(N, 4))
    for _ in range(2):  # also when the model is known already
        with pytest.raises(ValueError, match=message):
            loop(net, source)
    assert net.optimizer.iterations == 0


def test_a_nan_in_the_data_is_named_by_row_and_column():
    x = X.copy()
    x[9, 2] = np.nan
    net, _ = made("counting")
    with pytest.raises(FloatingPointError, match=r"In the data x\[9, 2\] is nan: fill such values"):
        train(net, Loader(x, Y, sampler=RandomSampler(N, 4)), verbose=0, jit_compile=False)


def test_layers_unfrozen_after_compile_are_named():
    net, source = made("counting")
    net.build((None, 4))
    net.layers[0].trainable = False
    net.compile("adam", "sparse_categorical_crossentropy")
    train(net, source, verbose=0, jit_compile=False)
    net.layers[0].trainable = True
    with pytest.raises(ValueError, match=r"kernel was not trainable when .* Call model.compile"):
        train(net, source, verbose=0, jit_compile=False)


@pytest.mark.parametrize(
    ("validation", "error", "message"),
    [
        ((X[:, :3], Y), ValueError, "validation_data does not fit model"),
        ((X, Y[:-1]), ValueError, r"one row per sample each, got \[28, 27\] rows"),
        ((X, Y + 1), ValueError, r"validation_data\[1\]\[\d+\] is 3, but the model has 3 outputs"),
        ("x and y", TypeError, "must be a tuple"),
    ],
)
def test_validation_data_are_checked_before_the_first_step(validation, error, message):
    net, source = made("counting")
    with pytest.raises(error, match=message):
        train(net, source, validation_data=validation, verbose=0, jit_compile=False)
    assert net.optimizer.iterations == 0


def test_layers_that_were_frozen_after_compile_are_trained_no_more():
    net, source = made("counting")
    train(net, source, verbose=0, jit_compile=False)
    net.layers[0].trainable = False
    before = net.layers[0].get_weights()
    train(net, source, verbose=0, jit_compile=False)
    np.testing.assert_array_equal(net.layers[0].get_weights()[0], before[0])


@pytest.mark.parametrize("kind", ["mixed precision", "accumulation"])
def test_a_second_call_goes_on_where_the_first_one_ended(kind):
    (twice, source), (once, other) = made(kind), made(kind)
    history = train(twice, source, 1, verbose=0, jit_compile=False)
    train(twice, source, 2, verbose=0, jit_compile=False, history=history)
    train(once, other, 2, verbose=0, jit_compile=False)
    assert_same_weights(twice, once)
