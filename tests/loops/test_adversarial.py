"""Adversarial examples, mixed into the batch in the graph."""

from __future__ import annotations

import numpy as np
import pytest

from batchlab import Adversarial, CompiledSteps, Loader, RandomSampler, train
from batchlab.backend import keras, tf
from batchlab.loops.step import loss_per_sample
from tests.loops.models import N, assert_same_weights, data, loader, model


def mixed(adversarial, step=0, kind="dense"):
    """The inputs before and after, and the loss of both."""
    net = model(kind)
    CompiledSteps(net, loader(kind))  # builds it
    x, y = (keras.tree.map_structure(tf.constant, part) for part in data(kind))
    losses = loss_per_sample(net)
    new = adversarial.mix(net, losses, x, y, tf.constant(step, tf.int64), adversarial.settings)
    return x, new, losses(y, net(x)).numpy(), losses(y, net(new)).numpy()


@pytest.mark.parametrize("steps", [1, 5])
def test_the_loss_rises_and_the_change_stays_within_epsilon_and_clip(steps):
    x, new, before, after = mixed(Adversarial(0.1, ratio=1.0, steps=steps))
    change = np.abs(new - x)
    assert change.max() <= 0.1 + 1e-6
    assert change.max() > 0.05
    assert new.numpy().min() >= 0
    assert new.numpy().max() <= 1
    assert after.mean() > before.mean()


def test_one_step_is_the_sign_of_the_gradient():
    x, new, _, _ = mixed(Adversarial(0.1, ratio=1.0, clip=(-1, 2)))
    net = model("dense")
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = net.compute_loss(x, data("dense")[1], net(x))
    np.testing.assert_allclose(new, x + 0.1 * np.sign(tape.gradient(loss, x)), atol=1e-6)


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.25, 7), (1.0, N)])
def test_the_ratio_of_every_batch_is_changed(ratio, count):
    x, new, _, _ = mixed(Adversarial(0.1, ratio=ratio))
    assert (np.abs(new - x).max(axis=1) > 0).sum() == count


def test_other_samples_are_changed_in_other_steps():
    changed = [
        np.flatnonzero(np.abs(new - x).max(axis=1)).tolist()
        for x, new, _, _ in (mixed(Adversarial(0.1), step) for step in (0, 0, 1))
    ]
    assert changed[0] == changed[1] != changed[2]


def test_only_float_inputs_move():
    x, new, _, _ = mixed(Adversarial(0.1, ratio=1.0), kind="two_inputs")
    assert all(np.abs(new[name] - x[name]).max() > 0 for name in ("left", "right"))
    with pytest.raises(TypeError, match="no input is of a float dtype"):
        train(model("gru"), loader("gru"), verbose=0, adversarial=Adversarial(0.1))


def test_ratio_and_epsilon_are_live_and_nothing_is_compiled_again():
    adversarial = Adversarial(0.2, ratio=0.0, steps=2)
    nets = [model("dense") for _ in range(2)]
    rows = list(RandomSampler(N, 12, drop_last=True))
    steps = [CompiledSteps(nets[0], loader(), adversarial=adversarial, jit_compile=False)]
    steps.append(CompiledSteps(nets[1], loader(), jit_compile=False))
    for run in steps:
        run(rows)
    assert_same_weights(*nets)  # a ratio of 0 is ordinary training
    adversarial.ratio = 1.0
    for run in steps:
        run(rows)
    assert np.abs(nets[0].get_weights()[0] - nets[1].get_weights()[0]).max() > 1e-4
    assert len(steps[0].program._functions) == 1


def test_xla_and_the_graph_make_the_same_examples():
    nets = [model("dense"), model("dense")]
    for net, jit_compile in zip(nets, (True, False)):
        options = {"adversarial": Adversarial(0.1, steps=2), "jit_compile": jit_compile}
        train(net, loader(), 1, verbose=0, **options)
    # A gradient of nearly 0 has a sign that rounding decides, so they differ a little.
    assert_same_weights(*nets, 2e-3)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("epsilon must be above 0", {"epsilon": 0.0}),
        ("epsilon must be above 0 and at most 1.0", {"epsilon": 1.5}),
        ("epsilon", {"epsilon": float("nan")}),
        ("ratio must be from 0 to 1, got 2", {"ratio": 2}),
        ("steps", {"steps": 0}),
        ("low < high", {"clip": (1, 0)}),
    ],
)
def test_bad_parameters_are_named(message, arguments):
    with pytest.raises(ValueError, match=message):
        Adversarial(**{"epsilon": 0.1, **arguments})


def test_data_outside_the_clip_range_are_named():
    x, y = data("dense")
    x = x.copy()
    x[3, 2] = 7
    source = Loader(x, y, sampler=RandomSampler(N, 12))
    with pytest.raises(ValueError, match=r"x\[3, 2\] is 7.0"):
        train(model("dense"), source, verbose=0, adversarial=Adversarial(0.1))
