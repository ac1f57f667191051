"""A training step of one's own in the compiled loop: the same as a loop written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from batchlab import Loader, MPerClassSampler, PrioritizedSampler, RandomSampler, resume, train
from batchlab.backend import keras, tf
from tests.loops.models import FeedbackSampler, N, assert_same_weights, data, model

X, Y = data("dense")


def classified(net: Any, x: Any, y: Any, weights: Any) -> Any:
    """What compile's loss does, as a step."""
    return keras.losses.sparse_categorical_crossentropy(y, net(x, training=True))


def contrastive(net: Any, x: Any, y: Any, weights: Any) -> Any:
    """Supervised contrastive loss (Khosla et al., 2020, arXiv:2004.11362)."""
    z = tf.math.l2_normalize(net(x, training=True), axis=1)
    likeness = tf.matmul(z, z, transpose_b=True) / 0.5 - 1e9 * tf.eye(tf.shape(z)[0])
    same = tf.cast(y[:, None] == y[None], tf.float32) - tf.eye(tf.shape(z)[0])
    return -tf.reduce_sum(same * tf.nn.log_softmax(likeness), 1) / tf.maximum(
        tf.reduce_sum(same, 1), 1
    )


class Distilled:
    """Learns what a teacher says."""

    def __init__(self) -> None:
        self.teacher = model("tanh", seed=9)

    def __call__(self, net: Any, x: Any, y: Any, weights: Any) -> Any:
        taught = keras.losses.kl_divergence(self.teacher(x, training=False), net(x, training=True))
        return 0.3 * classified(net, x, y, weights) + 0.7 * taught


class TwoOptimizers:
    """The first layer learns slowly, the others fast; it moves the weights itself."""

    def __init__(self) -> None:
        self.slow = keras.optimizers.SGD(0.01)

    def __call__(self, net: Any, x: Any, y: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(y, net(x, training=True))
            loss = tf.reduce_mean(losses if weights is None else weights * losses)
        first, others = net.trainable_weights[:2], net.trainable_weights[2:]
        of_first, of_others = tape.gradient(loss, [first, others])
        self.slow.apply(of_first, first)
        net.optimizer.apply(of_others, others)
        return losses, loss


def by_hand(net: keras.Model, loader: Loader, epochs: int, step: Any) -> list[np.ndarray]:
    """The same training, step by step; the losses of the samples of every batch."""
    told = []
    for _ in range(epochs):
        for indices in loader.index_batches():
            x, y, weights = keras.utils.unpack_x_y_sample_weight(loader.gather(indices))
            with tf.GradientTape() as tape:
                result = step(net, tf.constant(x), tf.constant(y), weights)
                if isinstance(result, tuple):
                    losses = result[0]
                else:
                    losses = result
                    loss = tf.reduce_mean(losses * (1 if weights is None else weights))
                    loss += sum(net.losses)
            if not isinstance(result, tuple):
                gradients = tape.gradient(loss, net.trainable_weights)
                net.optimizer.apply(gradients, net.trainable_weights)
            loader.update(indices, losses.numpy())
            told.append(losses.numpy())
    return told


STEPS = {
    "classified": lambda: classified,
    "contrastive": lambda: contrastive,
    "distilled": Distilled,
    "two optimizers": TwoOptimizers,
}
SAMPLERS = {
    "random": lambda: RandomSampler(N, 12, seed=3),
    "m per class": lambda: MPerClassSampler(Y, 4, 12, seed=3),
    "listening, with weights": lambda: FeedbackSampler(N, 12, seed=3),
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", STEPS)
def test_train_is_the_loop_by_hand(kind, sampler):
    ours, theirs = (model("dense", keras.optimizers.SGD(0.1)) for _ in range(2))
    loaders = [Loader(X, Y, sampler=SAMPLERS[sampler]()) for _ in range(2)]
    told = by_hand(theirs, loaders[0], 2, STEPS[kind]())
    history = train(ours, loaders[1], 2, step=STEPS[kind](), lag=1, verbose=0)
    assert_same_weights(ours, theirs, 1e-5)
    assert history.steps == len(told)
    for noted, losses in zip(history.losses, told):
        np.testing.assert_allclose(noted, losses, rtol=1e-4, atol=1e-5)


def test_the_step_of_compile_and_ones_own_agree_in_logs_and_weights():
    def with_metrics(net, x, y, weights):
        y_pred = net(x, training=True)
        net.compute_metrics(x, y, y_pred, weights)
        return keras.losses.sparse_categorical_crossentropy(y, y_pred)

    plain, own, unmeasured = (model("dense") for _ in range(3))
    options = {"verbose": 0, "jit_compile": False, "validation_data": (X, Y)}
    loaders = [Loader(X, Y, sampler=RandomSampler(N, 12, seed=3)) for _ in range(3)]
    expected = train(plain, loaders[0], 2, **options).history
    measured = train(own, loaders[1], 2, step=with_metrics, **options).history
    assert_same_weights(plain, own, 1e-6)
    for name, values in expected.items():
        np.testing.assert_allclose(measured[name], values, rtol=1e-5, err_msg=name)
    logs = train(unmeasured, loaders[2], 2, step=classified, **options).history
    assert sorted(logs) == ["loss", "val_accuracy", "val_loss"]  # no accuracy of 0 that nobody took


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"steps_per_call": 1}, {"resident_limit": 1}])
def test_how_it_is_compiled_does_not_matter(options):
    nets = [model("dense") for _ in range(2)]
    for net, extra in zip(nets, ({}, options)):
        loader = Loader(X, Y, sampler=PrioritizedSampler(N, 12, seed=3))
        train(net, loader, 2, step=contrastive, verbose=0, **extra)
    assert_same_weights(*nets, 1e-5)


def test_a_model_that_runs_eagerly():
    nets = [model("dense", run_eagerly=eagerly) for eagerly in (False, True)]
    for net in nets:
        train(net, Loader(X, Y, sampler=RandomSampler(N, 12)), step=classified, verbose=0)
    assert_same_weights(*nets, 1e-6)


def test_no_loss_need_be_compiled_and_a_train_step_may_be_replaced():
    class Own(keras.Sequential):
        def train_step(self, data):
            raise AssertionError

    net = Own([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    net.compile("sgd")
    history = train(net, Loader(X, Y, sampler=RandomSampler(N, 12)), step=classified, verbose=0)
    assert list(history.history) == ["loss"]
    assert np.isfinite(history.losses[-1]).all()
    with pytest.raises(ValueError, match="validation_data is evaluated by the loss"):
        loader = Loader(X, Y, sampler=RandomSampler(N, 12))
        train(net, loader, step=classified, validation_data=(X, Y), verbose=0)


def test_it_stops_at_nan_and_goes_back():
    y = Y.copy()
    y[7] = 5
    net = model("tanh")
    before = net.get_weights()

    def at_once(net, x, y, weights):
        bad = tf.where(y == 5, np.nan, 1.0)
        return bad * classified(net, x, tf.minimum(y, 2), weights)

    loader = Loader(X, y, sampler=RandomSampler(N, N))
    with pytest.raises(FloatingPointError, match=r"samples \[7\]"):
        train(net, loader, step=at_once, restore_on_nan=True, verbose=0)
    for ours, theirs in zip(net.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole, part, rest = (model("dense", "adam") for _ in range(3))
    loaders = [Loader(X, Y, sampler=FeedbackSampler(N, 12, seed=3)) for _ in range(3)]
    train(whole, loaders[0], 3, step=contrastive, verbose=0)
    train(part, loaders[1], 1, step=contrastive, checkpoint=tmp_path, verbose=0)
    history = resume(tmp_path, rest, loaders[2], step=contrastive)
    train(rest, loaders[2], 3, step=contrastive, history=history, verbose=0)
    assert_same_weights(whole, rest)


@pytest.mark.parametrize(
    ("step", "came"),
    [
        (lambda net, x, y, w: tf.reduce_mean(net(x)), r"got \(\)"),
        (lambda net, x, y, w: net(x), r"got \(None, 3\)"),
        (lambda net, x, y, w: None, "got None"),
        (lambda net, x, y, w: (net(x)[:, 0], net(x)[:, 0]), r"got \[\(None,\), \(None,\)\]"),
    ],
)
def test_other_answers_are_refused_and_nothing_is_trained(step, came):
    net = model("dense")
    before = net.get_weights()
    with pytest.raises(TypeError, match=rf"step must return the losses .* {came}"):
        train(net, Loader(X, Y, sampler=RandomSampler(N, 12)), step=step, verbose=0)
    for ours, theirs in zip(net.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"train: step must be a function .* got 'contrastive'"):
        train(model("dense"), Loader(X, Y, sampler=RandomSampler(N, 12)), step="contrastive")


@pytest.mark.parametrize("xla", [False, True])  # which knows the size of a batch beforehand
def test_losses_of_half_the_batch_are_refused(xla):
    loader = Loader(X, Y, sampler=RandomSampler(N, 14))
    options = {"step": lambda *batch: classified(*batch)[::2], "jit_compile": xla, "verbose": 0}
    with pytest.raises(TypeError, match="loss of each of the 14 samples of a batch, got 7 losses"):
        train(model("dense"), loader, **options)
