"""Online batch selection: draw a pool of candidates, score them, train on some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.backend import keras, tf
from batchlab.loaders import Loader
from batchlab.loops.keras_private import logits_of
from batchlab.loops.noise import gumbel
from batchlab.loops.ready import build, check_one_device, check_own_step, check_ready
from batchlab.loops.step import loss_per_sample
from batchlab.parameters import Parameter
from batchlab.validation import check_finite


class PoolSelection:
    """Make every batch out of a pool: score its samples in the compiled function, keep some.

    The sampler's batches are the pools: give it ``batch_size=pool``. Scoring costs one forward pass
    over the pool, without dropout and with the stored BatchNorm statistics;
    :attr:`History.scored` counts it.

    ======================================================  =====================================
    ``PoolSelection(32, 128)``                              OHEM, the samples of largest loss
                                                            (Shrivastava et al., 2016, 1604.03540)
    ``PoolSelection(32, 128, draw="percentile", beta=2)``   Selective-Backprop
                                                            (Jiang et al., 2019, 1910.00762)
    ``PoolSelection(32, 128, "gradient_norm", "score")``    upper bound of the gradient norm
                                                            (Katharopoulos & Fleuret, 2018,
                                                            1803.00942), without its weights
    ``PoolSelection(32, 320, "reducible_loss", ...)``       RHO-LOSS (Mindermann et al., 2022,
                                                            2206.07137)
    ======================================================  =====================================

    `keep`, `score`, `draw` and `beta` may be changed at any time and act from the next call on. A
    new `beta` costs nothing; another value of the others changes the compiled function, and is
    compiled when it is first used, once. `pool` is the sampler's ``batch_size``.

    Parameters
    ----------
    keep : int
        Samples to train on per step.
    pool : int
        Samples to choose from. A smaller last pool keeps the same share.
    score : {"loss", "gradient_norm", "reducible_loss"}, default "loss"
        What makes a sample worth keeping: its loss; the norm of the loss's gradient at the model's
        last pre-activations; its loss less its reference loss.
    draw : {"top", "percentile", "score"}, default "top"
        Keep the samples of highest score, or draw without replacement with chances that grow with
        a sample's rank in the pool, ``(rank / pool) ** beta``, or with its score,
        ``max(score, 0) ** beta``.
    beta : float, default 1.0
        How strongly chances follow ranks or scores; 0 draws all alike.
    reference_losses : array_like of float, shape (n,), optional
        What each sample costs a model that was trained on other data (:func:`sample_losses`): the
        part of the loss that cannot be learnt. Needed for "reducible_loss", and only there.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.
    """

    keep = Parameter(32, "samples of a pool to train on", low=1, slider=(1, 256), log=True)
    score = Parameter(
        "loss",
        "what makes a sample worth keeping",
        choices=("loss", "gradient_norm", "reducible_loss"),
    )
    draw = Parameter("top", "how samples are kept", choices=("top", "percentile", "score"))
    beta = Parameter(1.0, "how strongly chances follow ranks or scores", low=0, slider=(0, 4))

    def __init__(
        self,
        keep: int,
        pool: int,
        score: str = "loss",
        draw: str = "top",
        beta: float = 1.0,
        reference_losses: ArrayLike | None = None,
    ) -> None:
        owner = type(self).__name__
        self.pool = Parameter(1, low=1, name="pool").check(pool, owner)
        self.reference_losses: NDArray[np.float32] | None = None
        if reference_losses is not None:
            name = "reference_losses"
            self.reference_losses = check_finite(reference_losses, owner, name).astype(np.float32)
        self.keep = keep
        self.score = score
        self.draw = draw
        self.beta = beta
        if self.score != "reducible_loss" and reference_losses is not None:
            raise ValueError(
                f"{owner}: reference_losses and score='reducible_loss' need each other, got "
                f"score={score!r}. Leave out reference_losses."
            )

    def check_parameter(self, name: str, value: Any) -> None:
        """Refuse to keep more than there is, or a score that lacks what it is made of."""
        owner = type(self).__name__
        if name == "keep" and value > self.pool:
            raise ValueError(f"{owner}: keep must be from 1 to {self.pool}, the pool, got {value}.")
        if name == "score" and value == "reducible_loss" and self.reference_losses is None:
            raise ValueError(
                f"{owner}: reference_losses and score='reducible_loss' need each other. Build it "
                "with reference_losses=sample_losses(other_model, loader)."
            )

    def check_loader(self, loader: Loader) -> None:
        """Refuse a loader whose batches are no pools, or whose samples have no reference loss."""
        batch_size = getattr(loader.sampler, "batch_size", self.pool)
        if batch_size != self.pool:
            raise ValueError(
                f"PoolSelection: pool is {self.pool}, but the sampler draws {batch_size} samples "
                f"at a time. Build it with batch_size={self.pool}: its batches are the pools."
            )
        if self.reference_losses is not None and len(self.reference_losses) != loader.n:
            raise ValueError(
                f"PoolSelection: reference_losses must hold one number per sample, got "
                f"{len(self.reference_losses)} for {loader.n} samples."
            )

    @property
    def settings(self) -> tuple[tf.Tensor, ...]:
        """What may change between calls of one compiled function: beta, float32."""
        return (tf.constant(self.beta, tf.float32),)

    @property
    def traced(self) -> tuple[Any, ...]:
        """What a compiled function is made for: its shapes and operations."""
        return self.keep, self.score, self.draw

    def kept(self, size: Any) -> Any:
        """How many samples of a pool are trained on: fewer where the pool is a smaller last one."""
        return (tf.maximum if tf.is_tensor(size) else max)(size * self.keep // self.pool, 1)

    def choose(
        self,
        model: Any,
        sample_losses: Callable[..., Any],
        samples: Any,
        x: Any,
        y: Any,
        step: Any,
        settings: Any,
    ) -> tf.Tensor:
        """Positions in the pool of the samples to train on, ascending; runs in the graph."""
        size = tf.shape(samples)[0]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            if self.score == "gradient_norm":
                # Something must be watched for the tape to see the outputs' own gradients.
                tape.watch([variable.value for variable in model.trainable_variables])
            y_pred = model(x, training=False)
            losses = sample_losses(y, y_pred)
        scores = losses
        if self.score == "gradient_norm":
            scores = _gradient_norms(tape, losses, y_pred)
        elif self.score == "reducible_loss":
            scores = losses - tf.gather(tf.constant(self.reference_losses), samples)
        if self.draw != "top":
            scores = self._keys(scores, step, *settings)
        best = tf.math.top_k(scores, self.kept(size)).indices
        return tf.sort(best)

    def _keys(self, scores: tf.Tensor, step: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """Numbers whose largest are a draw without replacement (Gumbel-top-k)."""
        if self.draw == "percentile":
            scores = tf.cast(tf.argsort(tf.argsort(scores)) + 1, tf.float32)
        return beta * tf.math.log(tf.maximum(scores, 1e-12)) + gumbel(tf.size(scores), step)

    def __repr__(self) -> str:
        return (
            f"PoolSelection(keep={self.keep}, pool={self.pool}, score={self.score!r}, "
            f"draw={self.draw!r}, beta={self.beta})"
        )


def _gradient_norms(tape: Any, losses: tf.Tensor, y_pred: Any) -> tf.Tensor:
    # Keras keeps a softmax's or sigmoid's inputs on its result: the last pre-activations.
    outputs = [logits_of(output) for output in keras.tree.flatten(y_pred)]
    size = tf.shape(losses)[0]
    gradients = tape.gradient(losses, outputs)
    flat = [tf.reshape(tf.cast(gradient, tf.float32), (size, -1)) for gradient in gradients]
    return tf.norm(tf.concat(flat, axis=1), axis=1)


def sample_losses(
    model: keras.Model, loader: Loader, batch_size: int = 1024
) -> NDArray[np.float32]:
    """What every sample of the loader's data costs the model now, float32 (n,).

    For reference losses, for a curriculum's difficulty, for finding mislabelled samples. Nothing is
    trained, and the loader's sampler is not asked.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    loader : Loader
        Holds the data.
    batch_size : int, default 1024
        Samples per forward pass.

    Raises
    ------
    TypeError, ValueError
        If the model is not compiled, or a parameter is of the wrong type or out of range.
    """
    check_ready(model, 1, "sample_losses")
    check_own_step(model, loader, "sample_losses")
    check_one_device(model, "sample_losses")
    Parameter(1, low=1, name="batch_size").check(batch_size, "sample_losses")
    build(model, loader)
    losses_of = loss_per_sample(model)

    # Concrete, as the models of a comparison are many: TensorFlow would warn of so many functions.
    score = tf.function(
        lambda x, y: losses_of(y, model(x, training=False)),
        input_signature=loader.specs[:2],
        autograph=False,
    ).get_concrete_function()
    starts = range(0, loader.n, batch_size)
    parts = [np.arange(start, min(start + batch_size, loader.n)) for start in starts]
    # A layer with a state or draws of its own may advance: it is put back.
    before = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    losses = [score(*loader.rows(part)).numpy() for part in parts]
    for variable, value in before:
        variable.assign(value)
    return np.concatenate(losses)
