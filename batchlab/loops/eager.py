"""The loop of every tutorial, complete on one screen."""

from __future__ import annotations

from batchlab.backend import keras, tf
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.ready import build, check_one_device, check_own_step, check_ready
from batchlab.loops.step import forward, loss_per_sample, weights_for_loss


def eager_loop(model: keras.Model, loader: Loader, epochs: int = 1) -> History:
    """Train step by step with ``tf.GradientTape``: slow, and every line can be read and printed.

    Parameters
    ----------
    model : keras.Model
        Compiled; its loss, optimizer and metrics are used.
    loader : Loader
        Says what is in each batch.
    epochs : int, default 1
        How many epochs of the loader's sampler to train.

    Returns
    -------
    History
        With every batch that was chosen and the loss of each of its samples.

    Raises
    ------
    TypeError, ValueError
        If the model is not a compiled Keras model, has a ``train_step`` of its own, or `epochs` is
        not a whole number from 1.
    """
    check_ready(model, epochs, "eager_loop")
    check_own_step(model, loader, "eager_loop")
    check_one_device(model, "eager_loop")
    build(model, loader)
    sample_losses = loss_per_sample(model)
    history = History(loader.n)
    for _ in range(epochs):
        model.reset_metrics()
        mean_loss = keras.metrics.Mean()
        for indices in loader.index_batches():
            x, y, weights = keras.utils.unpack_x_y_sample_weight(loader.gather(indices))
            with tf.GradientTape() as tape:
                y_pred = forward(model, x)
                weights = weights_for_loss(model, y, y_pred, weights)
                loss = model.compute_loss(x, y, y_pred, weights)
                scaled_loss = model.optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled_loss, model.trainable_weights)
            if gradients:
                model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))

            losses = sample_losses(y, y_pred, loss).numpy()
            loader.update(indices, losses)
            history.record(indices, losses)
            mean_loss.update_state(loss, sample_weight=len(indices))
            model.compute_metrics(x, y, y_pred, weights)
        history.end_epoch({**model.get_metrics_result(), "loss": mean_loss.result()})
    model.optimizer.finalize_variable_values(model.trainable_weights)
    return history
