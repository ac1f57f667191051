"""Notebook 07: adversarial batches. The judges bring a small model of their own."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.exercises.judging import Exercise, array_of, by_number, require


@cache
def _model() -> tuple[Any, NDArray[np.float32], NDArray[np.int64]]:
    """A linear classifier of three patterns of 12 pixels; images within 0 and 1, and their labels."""
    from batchlab.backend import keras

    rng = np.random.default_rng(0)
    patterns = rng.choice([-1.0, 1.0], size=(12, 3)).astype(np.float32)
    y = rng.integers(0, 3, 60)
    x = np.clip(0.5 + 0.3 * patterns.T[y] + rng.normal(0, 0.15, (60, 12)), 0, 1).astype(np.float32)
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(3, activation="softmax")])
    model.layers[0].set_weights([patterns, -patterns.sum(axis=0) / 2])
    model.compile(loss="sparse_categorical_crossentropy")
    return model, x, y


def _uphill(labels: NDArray[np.int64], x: Any) -> NDArray[np.float32]:
    from batchlab.backend import keras, tf

    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = keras.losses.sparse_categorical_crossentropy(labels, _model()[0](images))
    return np.sign(tape.gradient(loss, images).numpy())


def _attacked(answer: Any, *arguments: Any, epsilon: float, x: Any) -> NDArray[Any]:
    given = x.copy()
    came = array_of(answer(_model()[0], given, *arguments), "the attacked images", x.shape)
    require(
        np.array_equal(given, x), "the images that were passed are changed, too.", "Make a copy."
    )
    change = np.abs(came - x).max()
    require(change > 0, f"epsilon {epsilon}: the images are as they were.")
    require(
        change <= epsilon + 1e-5,
        f"epsilon {epsilon}: a pixel changes by {change:.2f}.",
        "Is an epsilon written into the code?"
        if change < 0.5
        else "Use the sign of the gradient only.",
    )
    require(
        came.min() >= -1e-6 and came.max() <= 1 + 1e-6,
        f"epsilon {epsilon}: pixels go from {came.min():.2f} to {came.max():.2f}.",
        "An image has values from 0 to 1: clip.",
    )
    require(
        change > 0.9 * epsilon or epsilon > 0.9,
        f"epsilon {epsilon}: pixels change by {change:.2f} at most, though more is allowed.",
        "Is an epsilon written into the code?",
    )
    return came


def _fgsm(answer: Any) -> None:
    _, x, y = _model()
    for epsilon in (0.05, 0.2):
        came = _attacked(answer, y, epsilon, epsilon=epsilon, x=x)
        _judge(came, np.clip(x + epsilon * _uphill(y, x), 0, 1), x, epsilon, "the right label")


def _targeted(answer: Any) -> None:
    _, x, y = _model()
    for target, epsilon in ((1, 0.2), (2, 0.05), (0, 0.1)):
        others = x[y != target]
        labels = np.full(len(others), target)
        came = _attacked(answer, target, epsilon, epsilon=epsilon, x=others)
        wanted = np.clip(others - epsilon * _uphill(labels, others), 0, 1)
        _judge(came, wanted, others, epsilon, f"the target {target}")


def _judge(came: Any, wanted: Any, x: Any, epsilon: float, label: str) -> None:
    moves, right = np.sign(came - x), np.sign(wanted - x)
    counted = np.abs(wanted - x) > 1e-6
    agree = np.mean(moves[counted] == right[counted])
    require(
        agree > 0.97,
        f"epsilon {epsilon}: only {agree:.0%} of the pixels move as the loss of {label} asks for.",
        "Uphill or downhill: do you want the loss of this label to rise or to fall?"
        if agree < 0.1
        else "Which label goes into the loss?",
    )


def _pgd(answer: Any) -> None:
    _, x, y = _model()
    for epsilon, steps in ((0.1, 5), (0.3, 10)):
        counted = _Counting(_model()[0])
        came = array_of(answer(counted, x.copy(), y, epsilon, steps), "the images", x.shape)
        require(
            np.abs(came - x).max() <= epsilon + 1e-5,
            f"epsilon {epsilon}, {steps} steps: a pixel ends {np.abs(came - x).max():.2f} away.",
            "After each step go back into the box: clip to x - epsilon and x + epsilon.",
        )
        require(
            came.min() >= -1e-6 and came.max() <= 1 + 1e-6,
            f"epsilon {epsilon}: pixels go from {came.min():.2f} to {came.max():.2f}.",
            "An image has values from 0 to 1: clip.",
        )
        require(
            counted.calls >= steps,
            f"{steps} steps: the model was asked {counted.calls} times.",
            "Each step needs a gradient of its own, at the images as they are by then.",
        )
        before, after = _loss(y, x), _loss(y, came)
        one_step = _loss(y, np.clip(x + epsilon * _uphill(y, x), 0, 1))
        require(
            after > before,
            f"epsilon {epsilon}, {steps} steps: the loss goes from {before:.2f} to {after:.2f}.",
            "Uphill or downhill: do you want the loss of this label to rise or to fall?",
        )
        require(
            after > 0.97 * one_step,
            f"epsilon {epsilon}, {steps} steps: the loss goes from {before:.2f} to {after:.2f}; one "
            f"step of FGSM reaches {one_step:.2f}.",
            "Steps of about 2.5 · epsilon / steps reach the edge of the box.",
        )


def _loss(labels: NDArray[np.int64], x: Any) -> float:
    from batchlab.backend import keras

    said = _model()[0](np.asarray(x, np.float32))
    return float(np.mean(keras.losses.sparse_categorical_crossentropy(labels, said)))


class _Counting:
    """The model, counting how often it is asked."""

    def __init__(self, model: Any) -> None:
        self._model, self.calls = model, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from batchlab.backend import tf

        # Compiled, one call may stand for many: then the loss alone decides.
        self.calls += 1 if tf.executing_eagerly() else 1000
        return self._model(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


_GRADIENT = "tf.sign of the gradient of the loss with respect to the images (tape.watch)."

EXERCISES = by_number(
    Exercise(
        "07.1",
        "write FGSM: one step of size epsilon that makes the model wrong.",
        _fgsm,
        (
            "Which way does each pixel have to go, for the loss to rise?",
            _GRADIENT,
            "tf.clip_by_value(x + epsilon * tf.sign(gradient), 0, 1)",
        ),
        "every pixel goes uphill, by epsilon, within 0 and 1.",
    ),
    Exercise(
        "07.2",
        "write an attack with an aim: the model is to say `target`.",
        _targeted,
        (
            "Which label goes into the loss, and is this loss to rise or to fall?",
            "The label is the target, and its loss is to fall: step downhill.",
            "tf.clip_by_value(x - epsilon * sign of the gradient of the target's loss, 0, 1)",
        ),
        "every pixel goes where the target's loss falls.",
    ),
    Exercise(
        "07.3",
        "write PGD: several smaller steps that stay within epsilon.",
        _pgd,
        (
            "A loop over steps, each one a small FGSM from where the last one ended.",
            "After each step: back into the box around the *first* images, and into 0 to 1.",
            "x_new = clip(x_new + rate * sign, x - epsilon, x + epsilon), then clip to 0 and 1",
        ),
        "each step looks anew, and none leaves the box.",
    ),
)
