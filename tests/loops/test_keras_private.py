"""What is private in Keras and needed here: gone, it is named, and so is the file to mend."""

from __future__ import annotations

import numpy as np
import pytest

from batchlab.backend import keras, tf
from batchlab.loops import keras_private
from batchlab.loops.ready import build
from batchlab.loops.step import loss_tracker
from tests.loops.models import layers, loader, model


@pytest.fixture
def net():
    net = model("dense")
    build(net, loader())
    return net


def test_compile_loss_flat_losses(net):
    ((path, loss, weight),) = keras_private.loss_terms(net)
    assert (path, loss.fn, weight) == ((), keras.losses.sparse_categorical_crossentropy, None)


def test_flatten_layers():
    inside = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    net = keras.Sequential([keras.Input((4,)), inside])
    assert any(layer is inside.layers[0] for layer in keras_private.layers_of(net))
    assert not any(layer is net for layer in keras_private.layers_of(net))


def test_optimizer_trainable_variables(net):
    assert keras_private.unknown_to_optimizer(net) == []
    net.add(layers.Dense(3, name="late"))
    assert [v.name for v in keras_private.unknown_to_optimizer(net)] == ["kernel", "bias"]


def test_keras_logits():
    x = np.ones((2, 3), np.float32)
    made = layers.Activation("softmax")(x)
    np.testing.assert_array_equal(keras_private.logits_of(made), x)


def test_clip_gradients():
    clipped = keras_private.clipped(keras.optimizers.SGD(clipvalue=0.5), [tf.constant([2.0, 0.1])])
    np.testing.assert_allclose(clipped[0], [0.5, 0.1])


def test_keras_mask():
    made = layers.Embedding(3, 2, mask_zero=True)(np.array([[0, 1]]))
    (mask,) = keras_private.masks_of({"a": made, "b": tf.zeros(2)})
    np.testing.assert_array_equal(mask, [[False, True]])


def test_symbolic_build():
    net = keras.Sequential([layers.Dense(3)])
    net.compile("sgd", "mse", metrics=["mae"])
    batch = (tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None, 3), tf.float32))
    keras_private.build_symbolically(net, batch)
    assert [variable.shape for variable in net.variables] == [(4, 3), (3,)]
    assert net.optimizer.built


def test_tensorboard_stop_batch(tmp_path):
    assert not keras_private.profiles(keras.callbacks.TensorBoard(tmp_path))
    assert keras_private.profiles(keras.callbacks.TensorBoard(tmp_path, profile_batch=(2, 3)))


def test_the_loss_tracker_comes_first(net):
    assert loss_tracker(net).name == "loss"
