"""The whole of model.compile counts, and what cannot be honoured is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from batchlab import Loader, RandomSampler, eager_loop, train
from batchlab.backend import keras, tf
from tests.loops.models import N, assert_same_weights, data, loader, model

TOLERANCE = 2e-5


def _fit(net, source, epochs=2):
    return net.fit(source, epochs=epochs, shuffle=False, verbose=0)


def _schedule():
    return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.5))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": lambda: keras.optimizers.SGD(0.5, clipnorm=0.01)},
        {"optimizer": lambda: keras.optimizers.SGD(0.5, global_clipnorm=0.01)},
        {"optimizer": _schedule},
        {"optimizer": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)},
        {"optimizer": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)},
        {"loss": lambda: keras.losses.SparseCategoricalCrossentropy(reduction="sum")},
        {
            "loss": lambda: keras.losses.SparseCategoricalCrossentropy(
                reduction="mean_with_sample_weight"
            )
        },
        {"weighted_metrics": lambda: ["accuracy"]},
        {"run_eagerly": lambda: True},
    ],
    ids=lambda options: next(iter(options)) if isinstance(options, dict) else None,
)
def test_options_of_compile_give_the_weights_and_metrics_of_fit(options):
    fitted, trained = (
        model("dense", **{name: value() for name, value in options.items()}) for _ in range(2)
    )
    weights = np.linspace(0.1, 2, N)
    by_fit = _fit(fitted, loader(sample_weight=weights))
    by_train = train(trained, loader(sample_weight=weights), 2, verbose=0, jit_compile=False)
    assert_same_weights(trained, fitted, TOLERANCE)
    assert set(by_fit.history) == set(by_train.history)
    for name, values in by_fit.history.items():
        np.testing.assert_allclose(by_train.history[name], values, rtol=1e-4)


def test_loss_weights_and_metrics_of_several_outputs():
    options = {
        "loss_weights": {"kind": 0.1, "size": 3.0},
        "metrics": {"kind": ["accuracy"], "size": ["mae"]},
    }
    fitted, trained = (model("two_outputs", "sgd", **options) for _ in range(2))
    by_fit = _fit(fitted, loader("two_outputs"))
    by_train = train(trained, loader("two_outputs"), 2, verbose=0, jit_compile=False)
    assert_same_weights(trained, fitted, TOLERANCE)
    assert (
        set(by_train.history) == set(by_fit.history) >= {"kind_accuracy", "size_mae", "kind_loss"}
    )
    # Without regularisation the batch's loss is the mean of its samples' losses.
    first = by_train.step_losses[:3] @ [12, 12, 4] / N
    np.testing.assert_allclose(first, by_train.history["loss"][0], rtol=1e-5)


def test_mixed_precision_scales_the_loss():
    def build():
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy("mixed_float16")
        try:
            net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
            net.add(keras.layers.Activation("softmax", dtype="float32"))
        finally:
            keras.config.set_dtype_policy("float32")
        net.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        return net

    fitted, trained = build(), build()
    trained.optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    fitted.optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    _fit(fitted, loader())
    train(trained, loader(), 2, verbose=0, jit_compile=False)
    assert_same_weights(trained, fitted, 1e-3)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(4, "relu")
        self.drop = keras.layers.Dropout(0.5, seed=1)
        self.out = keras.layers.Dense(3, "softmax")

    def call(self, inputs, training=False):
        left, right = inputs
        return self.out(self.drop(self.hidden(left + right), training=training))


def test_a_subclassed_model_with_a_tuple_of_inputs():
    x, y = data("dense")
    models = []
    for loop in ("fit", "train", "eager"):
        keras.utils.set_random_seed(4)
        net = Subclassed()
        net.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        source = Loader((x, x[::-1].copy()), y, sampler=RandomSampler(N, 12))
        if loop == "fit":
            _fit(net, source, 1)
        elif loop == "train":
            train(net, source, verbose=0)
        else:
            eager_loop(net, source)
        models.append(net)
    assert_same_weights(models[1], models[0], TOLERANCE)
    assert_same_weights(models[1], models[2], TOLERANCE)


def test_a_loss_of_ones_own_that_returns_one_number():
    def loss(y, y_pred):
        return tf.reduce_mean(tf.square(tf.cast(y, tf.float32)[:, None] - y_pred))

    fitted, trained = (model("dense", loss=loss) for _ in range(2))
    _fit(fitted, loader())
    history = train(trained, loader(), 2, verbose=0, jit_compile=False)
    assert_same_weights(trained, fitted, TOLERANCE)
    assert np.ptp(history.losses[0]) == 0  # every sample gets the batch's number


def test_a_model_with_its_own_train_step_is_refused_by_name():
    class Stubborn(keras.Sequential):
        def train_step(self, data):
            return {}

    net = Stubborn([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    net.compile("sgd", "sparse_categorical_crossentropy")
    before = net.get_weights()
    for loop in (train, eager_loop):
        with pytest.raises(TypeError, match=r"Stubborn has a train_step of its own.*model\.fit"):
            loop(net, loader())
    for ours, theirs in zip(net.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "epochs", {"epochs": 2.0}),
        (ValueError, "epochs", {"epochs": 0}),
        (ValueError, "lag", {"lag": 0}),
        (TypeError, "steps_per_call", {"steps_per_call": True}),
        (ValueError, "checkpoint_every needs a directory", {"checkpoint_every": 5}),
        (TypeError, r"callbacks\[0\]", {"callbacks": [print]}),
        (TypeError, "BackupAndRestore", {"callbacks": [keras.callbacks.BackupAndRestore("x")]}),
    ],
)
def test_bad_arguments_are_named_before_the_first_step(error, message, arguments):
    net, source = model("dense"), loader()
    with pytest.raises(error, match=message):
        train(net, source, verbose=0, **arguments)
    assert net.optimizer.iterations.numpy() == 0
    assert source.sampler.state_dict() == loader().sampler.state_dict()


def test_data_of_the_wrong_shape_is_refused_before_the_first_step():
    x, y = data("dense")
    net = model("dense")
    with pytest.raises(ValueError, match="shape"):
        train(net, Loader(x[:, :3], y, sampler=RandomSampler(N, 12)), verbose=0)
    with pytest.raises(TypeError, match=r"loader must be a batchlab\.Loader, got tuple"):
        train(net, (x, y), verbose=0)


def test_an_index_that_is_not_in_the_data_names_sampler_and_position():
    with pytest.raises(IndexError, match=r"list: index 99 at position 1"):
        train(model("dense"), loader(sampler=[np.array([0, 1]), np.array([2, 99])]), verbose=0)


@pytest.mark.parametrize(("dtype", "expected"), [("float32", 0.0), ("float64", 1e-24)])
def test_float64_data_are_kept_as_the_model_computes(dtype, expected):
    ones = {"kernel_initializer": "ones", "bias_initializer": keras.initializers.Constant(-1)}
    net = keras.Sequential([keras.Input((1,), dtype=dtype), keras.layers.Dense(1, dtype=dtype, **ones)])
    net.compile(keras.optimizers.SGD(0.0), "mse")
    source = Loader(np.full((4, 1), 1 + 1e-12), np.zeros((4, 1)), sampler=RandomSampler(4, 2))
    losses = train(net, source, 2, verbose=0).losses
    np.testing.assert_allclose(np.concatenate(losses), expected, rtol=1e-3, atol=1e-30)


class LooksAtInputs(keras.Model):
    """Its loss is made of what it was given."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        assert x.dtype == "float64"
        return super().compute_loss(x, y, y_pred, sample_weight)


def test_a_loss_of_ones_own_gets_the_data_as_they_are():
    net = LooksAtInputs()
    net.compile("sgd", "mse")
    source = Loader(np.ones((4, 1)), np.ones((4, 1)), sampler=RandomSampler(4, 2))
    assert train(net, source, verbose=0).steps == 2
