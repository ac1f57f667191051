"""Three loops, one mathematics."""

from __future__ import annotations

import numpy as np
import pytest

from batchlab import RandomSampler, eager_loop, fit_baseline, train, use_xla
from batchlab.backend import keras
from tests.loops.models import N, assert_same_weights, data, loader, model

TOLERANCE = 2e-5  # of float32, over the steps of two epochs
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
    "adamw": lambda: keras.optimizers.AdamW(0.01, epsilon=1e-3),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, epsilon=1e-3),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["dense", "conv", "gru", "two_inputs", "two_outputs"])
def test_fit_eager_and_train_end_with_the_same_weights(kind, optimizer):
    fitted, eager, trained = (model(kind, OPTIMIZERS[optimizer]()) for _ in range(3))
    start = [weights.copy() for weights in trained.get_weights()]
    x, y = data(kind)
    by_fit = fit_baseline(fitted, x, y, sampler=RandomSampler(N, 12, seed=3), epochs=2)
    by_eager = eager_loop(eager, loader(kind), epochs=2)
    # As in a long run for one optimizer: for four models XLA, which takes seconds to compile.
    xla = optimizer == "adam" and use_xla(trained)
    by_train = train(trained, loader(kind), epochs=2, verbose=0, jit_compile=xla)

    assert any(not np.allclose(a, b) for a, b in zip(start, trained.get_weights()))
    assert_same_weights(trained, fitted, TOLERANCE)
    assert_same_weights(trained, eager, TOLERANCE)
    for ours, theirs, eagers in zip(by_train.indices, by_fit.indices, by_eager.indices):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ours, eagers)
    for ours, theirs in zip(by_train.losses, by_eager.losses):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    for name in set(by_fit.history) & {"loss", "accuracy"}:
        np.testing.assert_allclose(by_train.history[name], by_fit.history[name], rtol=1e-3)
    assert set(by_train.history) == set(by_fit.history)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_steps_per_call_do_not_change_one_bit(kind):
    models = []
    for steps_per_call in (1, 2, None):
        models.append(model(kind, "adam"))
        options = {"jit_compile": False, "steps_per_call": steps_per_call}
        train(models[-1], loader(kind), 2, verbose=0, **options)
    assert_same_weights(models[0], models[1])
    assert_same_weights(models[0], models[2])


def test_steps_per_call_do_not_change_one_bit_with_xla():
    net = model("dense", "adam")
    net.optimizer.build(net.trainable_variables)
    state = [*net.variables, *net.optimizer.variables]
    start = [variable.numpy() for variable in state]
    ends = []
    for steps_per_call in (1, 2, None):
        for variable, value in zip(state, start):
            variable.assign(value)
        train(net, loader(), 2, verbose=0, jit_compile=True, steps_per_call=steps_per_call)
        ends.append([weights.copy() for weights in net.get_weights()])
    for one, two, many in zip(*ends):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, many)


def test_fit_baseline_takes_rows_as_lists():
    x, y = data("dense")
    history = fit_baseline(model("dense"), x.tolist(), y.tolist(), batch_size=7)
    assert history.steps == 4
