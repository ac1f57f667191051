"""Adversarial training: turn part of a batch into the examples that hurt most nearby."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from batchlab.backend import keras, tf
from batchlab.loaders import Loader
from batchlab.loops.noise import uniforms
from batchlab.parameters import Parameter, shown
from batchlab.validation import as_numbers


class Adversarial:
    """Move some samples of every batch to where the loss is higher, at most `epsilon` away.

    One step is the fast gradient sign method (Goodfellow et al., 2014, arXiv:1412.6572), several
    are projected gradient descent from a random start (Madry et al., 2017, arXiv:1706.06083)::

        x <- clip(x + step_size * sign(d loss / d x)),  |x - x_0| <= epsilon

    The gradients are those of the model without dropout and with its stored BatchNorm statistics.
    `epsilon` and `ratio` may be changed at any time and act from the next call on.

    Parameters
    ----------
    epsilon : float
        The greatest change of any input value, in the units of the data; above 0.
    ratio : float, default 0.5
        Share of every batch to change, from 0 to 1, rounded to whole samples; which ones is drawn.
    steps : int, default 1
        How many gradient steps, at most 1000: 1 is FGSM, more is PGD.
    step_size : float, optional
        How far each step goes; ``epsilon`` for one step, ``2.5 * epsilon / steps`` for several.
    clip : tuple of (float, float), default (0, 1)
        The range of valid inputs. The data must lie in it.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of range.
    """

    epsilon = Parameter(0.1, "greatest change of any input value", low=0, slider=(0, 0.5))
    ratio = Parameter(0.5, "share of every batch made adversarial", low=0, high=1)

    def __init__(
        self,
        epsilon: float,
        ratio: float = 0.5,
        steps: int = 1,
        step_size: float | None = None,
        clip: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        owner = type(self).__name__
        limits = as_numbers(clip, owner, "clip", holds="the range of the data, (low, high)")
        if limits.size != 2 or not np.isfinite(limits).all() or not limits[0] < limits[1]:
            raise ValueError(
                f"{owner}: clip must be (low, high) with low < high, got {shown(clip)}."
            )
        self.clip: tuple[float, float] = tuple(limits.tolist())
        self.epsilon = epsilon
        self.ratio = ratio
        self.steps = Parameter(1, low=1, high=1000, name="steps").check(steps, owner)
        self.step_size = step_size
        if step_size is not None:
            self.step_size = Parameter(1.0, low=0, name="step_size").check(step_size, owner)

    def check_parameter(self, name: str, value: Any) -> None:
        """Refuse an epsilon that changes nothing, or anything into anything."""
        width = self.clip[1] - self.clip[0]
        if name == "epsilon" and not 0 < value <= width:
            raise ValueError(
                f"Adversarial: epsilon must be above 0 and at most {width}, the width of clip "
                f"{self.clip}, got {value}."
            )

    def check_loader(self, loader: Loader) -> None:
        """Refuse data that cannot be moved, or that lie outside the clip range already."""
        low, high = self.clip
        # What is made or read batch by batch is not known: one sample must do.
        x = loader.x if loader.in_memory else loader.gather(np.zeros(1, int))[0]
        floats = (leaf for leaf in keras.tree.flatten(x) if leaf.dtype.kind == "f")
        leaves = [np.asarray(leaf) for leaf in floats]
        if not leaves:
            raise TypeError(
                "Adversarial: no input is of a float dtype, so there is nothing to move. "
                "Categories and token numbers cannot be attacked this way."
            )
        for leaf in leaves:
            if leaf.min() < low or leaf.max() > high:
                outside = np.argwhere((leaf < low) | (leaf > high))[0]
                raise ValueError(
                    f"Adversarial: the data must lie within clip={self.clip}, but "
                    f"x{outside.tolist()} is {leaf[tuple(outside)]}. Scale the data, or give its "
                    f"range as clip=({leaf.min()}, {leaf.max()})."
                )

    @property
    def settings(self) -> tuple[tf.Tensor, ...]:
        """What may change between calls: epsilon, ratio and step size, float32."""
        default = self.epsilon * (2.5 / self.steps if self.steps > 1 else 1.0)
        size = default if self.step_size is None else self.step_size
        return tuple(tf.constant(value, tf.float32) for value in (self.epsilon, self.ratio, size))

    def mix(
        self,
        model: Any,
        sample_losses: Callable[..., Any],
        x: Any,
        y: Any,
        step: Any,
        settings: Any,
    ) -> Any:
        """`x` with some samples made adversarial; runs in the graph."""
        epsilon, ratio, step_size = settings
        leaves = keras.tree.flatten(x)
        clean = [leaf for leaf in leaves if leaf.dtype.is_floating]

        def inputs(floats: list[tf.Tensor]) -> Any:
            left = iter(floats)
            return keras.tree.pack_sequence_as(
                x, [next(left) if leaf.dtype.is_floating else leaf for leaf in leaves]
            )

        def near(leaf: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
            radius = tf.cast(epsilon, leaf.dtype)
            moved = tf.clip_by_value(moved, leaf - radius, leaf + radius)
            return tf.clip_by_value(moved, *self.clip)

        moved = clean
        if self.steps > 1:
            moved = [near(leaf, leaf + _random_start(leaf, step, epsilon)) for leaf in clean]
        for _ in range(self.steps):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(moved)
                losses = sample_losses(y, model(inputs(moved), training=False))
            uphill = tape.gradient(losses, moved, unconnected_gradients="zero")
            moved = [
                near(leaf, here + tf.cast(step_size, leaf.dtype) * tf.sign(slope))
                for leaf, here, slope in zip(clean, moved, uphill)
            ]
        chosen = _drawn_share(tf.shape(clean[0])[0], ratio, step)
        return inputs([tf.where(_along(chosen, old), new, old) for old, new in zip(clean, moved)])

    def __repr__(self) -> str:
        return (
            f"Adversarial(epsilon={self.epsilon}, ratio={self.ratio}, steps={self.steps}, "
            f"clip={self.clip})"
        )


def _random_start(leaf: tf.Tensor, step: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    within = 2.0 * tf.reshape(uniforms(tf.size(leaf), step, 1), tf.shape(leaf)) - 1.0
    return tf.cast(epsilon * within, leaf.dtype)


def _drawn_share(size: tf.Tensor, ratio: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Which samples are made adversarial, bool (batch,)."""
    count = tf.cast(tf.round(ratio * tf.cast(size, tf.float32)), tf.int32)
    return tf.argsort(tf.argsort(uniforms(size, step, 0))) < count


def _along(chosen: tf.Tensor, leaf: tf.Tensor) -> tf.Tensor:
    """`chosen` with the axes it takes to select whole samples of `leaf`."""
    return tf.reshape(chosen, [-1] + [1] * (leaf.shape.rank - 1))
