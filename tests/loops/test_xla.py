"""Which models XLA compiles, what happens where it cannot, and how often anything is compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from batchlab import CompiledSteps, PoolSelection, RandomSampler, train, use_xla
from batchlab.backend import keras, tf
from tests.loops.models import N, assert_same_weights, loader, model

layers = keras.layers


def test_the_rule_is_about_layers_not_time():
    assert use_xla(model("dense"))
    assert use_xla(model("gru"))
    assert not use_xla(model("conv"))  # random numbers
    assert use_xla(model("conv"), jit_compile=True)
    assert not use_xla(model("dense"), jit_compile=False)
    assert not use_xla(model("dense", run_eagerly=True), jit_compile=True)
    assert use_xla(model("conv", jit_compile=True))


def test_short_runs_are_not_worth_compiling():
    assert not use_xla(model("dense"), steps=1000)
    assert use_xla(model("dense"), steps=100_000)
    assert use_xla(model("dense"), jit_compile=True, steps=1000)
    assert not use_xla(model("conv"), steps=100_000)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv1D(2, 1),
        layers.GaussianNoise(0.1),
        layers.LSTM(2, dropout=0.1, return_sequences=True),
    ],
)
def test_layers_that_stay_in_the_graph_on_a_cpu(layer):
    if tf.config.list_logical_devices("GPU") and isinstance(layer, layers.Conv1D):
        pytest.skip("convolutions are compiled on GPUs")
    inner = keras.Sequential([keras.Input((3, 2)), layer])
    net = keras.Sequential([inner, layers.Flatten(), layers.Dense(1)])
    net.compile("sgd", "mse")
    assert not use_xla(net)


@pytest.mark.parametrize(("rate", "xla"), [(0.0, True), (0.1, False)])
def test_a_dropout_counts_only_if_it_draws(rate, xla):
    inputs = keras.Input((3, 4))
    attended = layers.MultiHeadAttention(2, 2, dropout=rate)(inputs, inputs)
    outputs = layers.Dense(3, "softmax")(layers.Flatten()(layers.Dropout(0.0)(attended)))
    net = keras.Model(inputs, outputs)
    net.compile("sgd", "sparse_categorical_crossentropy")
    assert use_xla(net) == xla


def test_an_operation_that_xla_lacks_is_named_and_the_graph_takes_over():
    def metric(y, y_pred):
        mean = tf.numpy_function(lambda values: np.float32(values.mean()), [y_pred], tf.float32)
        return tf.ensure_shape(mean, ())

    nets = [model("dense", metrics=[metric]) for _ in range(2)]
    with pytest.warns(UserWarning, match=r"XLA cannot compile PyFunc, .* jit_compile=False"):
        train(nets[0], loader(), 1, verbose=0, jit_compile=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(nets[1], loader(), 1, verbose=0, jit_compile=False)
        train(nets[0], loader(), 1, verbose=0, jit_compile=True)  # said once
        train(nets[1], loader(), 1, verbose=0, jit_compile=False)
    assert_same_weights(nets[0], nets[1])


def traced_model():
    """A model, and the list to which each of its calls adds whether it was eager."""
    traces = []

    class Traced(layers.Layer):
        def call(self, inputs):
            traces.append(tf.executing_eagerly())
            return inputs

    net = keras.Sequential([keras.Input((4,)), Traced(), layers.Dense(3, "softmax")])
    net.compile("sgd", "sparse_categorical_crossentropy")
    return net, traces


def test_strategies_that_take_turns_on_one_model_compile_once_each():
    net, traces = traced_model()
    selections = [None, PoolSelection(3, 12), PoolSelection(3, 12, draw="percentile")]
    for selection in selections:
        train(net, loader(), 1, verbose=0, jit_compile=False, selection=selection)
    in_graph = traces.count(False)
    for selection in selections:
        train(net, loader(), 1, verbose=0, jit_compile=False, selection=selection)
    assert traces.count(False) == in_graph
    for _ in range(10):  # but not for ever
        train(net, loader(), 1, verbose=0, jit_compile=False, selection=PoolSelection(3, 12))
    train(net, loader(), 1, verbose=0, jit_compile=False)
    assert len(net.__dict__["_batchlab_programs"][1]) < 10


def test_one_trace_for_all_epochs_runs_batch_sizes_and_loaders():
    net, traces = traced_model()
    train(net, loader(), 3, verbose=0, jit_compile=False)
    in_graph = traces.count(False)
    source = loader()
    train(net, source, 2, verbose=0, jit_compile=False)
    source.sampler.batch_size = 5
    train(net, source, 1, verbose=0, jit_compile=False, steps_per_call=2)
    assert traces.count(False) == in_graph
    net.compile("adam", "sparse_categorical_crossentropy")  # a new optimizer is a new program
    train(net, loader(), 1, verbose=0, jit_compile=False)
    assert traces.count(False) > in_graph


def test_compiled_steps_take_live_batch_sizes_and_learning_rates():
    net, source = model("dense", keras.optimizers.SGD(0.1)), loader()
    steps = CompiledSteps(net, source, jit_compile=False)
    batches = iter(source.sampler)
    first = [next(batches)]
    source.sampler.batch_size = 5
    losses = steps([*first, next(batches), next(batches)])
    assert [len(values) for values in losses] == [12, 5, 5]
    net.optimizer.learning_rate = 0.0
    before = [weights.copy() for weights in net.get_weights()]
    steps([next(batches)])
    for ours, theirs in zip(net.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)


def test_more_batches_than_one_call_takes():
    nets = [model("dense") for _ in range(2)]
    rows = [row for _ in range(3) for row in RandomSampler(N, 12, drop_last=True)]
    expected = CompiledSteps(nets[0], loader(), jit_compile=False)(rows)
    losses = CompiledSteps(nets[1], loader(), jit_compile=False, most=4)(rows)
    np.testing.assert_array_equal(losses, expected)
    assert_same_weights(nets[0], nets[1])


_CALLS_OF_SEVEN_AND_THREE = """
from batchlab import Loader, train
from batchlab.samplers import PrioritizedSampler, RandomSampler
from tests.loops.models import N, loader, model

for sampler in (RandomSampler(N, 3), PrioritizedSampler(N, 3)):
    data = loader()  # 28 samples are nine batches and a smaller one
    source = Loader(data.x, data.y, sampler=sampler)
    train(model("dense"), source, 3, verbose=0, jit_compile=True, lag=1, steps_per_call=7)
"""


def test_xla_compiles_once_however_many_steps_a_call_takes(tmp_path):
    """XLA compiles anew for what it takes for a constant; its own notes tell how often."""
    options = f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text"
    command = [sys.executable, "-c", _CALLS_OF_SEVEN_AND_THREE]
    environment = {**os.environ, "XLA_FLAGS": options, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, check=True)
    modules = [path.name.split(".")[1] for path in tmp_path.glob("*.before_optimizations.txt")]
    assert len(modules) == 4  # random, the first epoch of priorities, its tree, and what follows
    assert len(set(modules)) == 4
