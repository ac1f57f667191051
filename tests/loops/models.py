"""Tiny models and data for the loops' tests, one of each kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab import Loader, RandomSampler, Sampler
from batchlab.backend import keras

layers = keras.layers
N = 28  # batches of 12, 12 and 4


def data(kind: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, N)
    if kind == "conv":
        return rng.random((N, 6, 6, 1), dtype=np.float32), y
    if kind == "gru":
        return rng.integers(0, 11, (N, 3)), y
    if kind == "two_inputs":
        x = {"left": rng.random((N, 4), dtype=np.float32), "right": rng.random((N, 3))}
        return x, (rng.random((N, 1)) > 0.5).astype("float32")
    x = rng.random((N, 4), dtype=np.float32)
    if kind == "two_outputs":
        return x, {"kind": y, "size": rng.random((N, 2), dtype=np.float32)}
    return x, y


def model(kind: str, optimizer: Any = "sgd", seed: int = 1, **options: Any) -> keras.Model:
    """A compiled model; the same `kind` and `seed` give the same weights."""
    keras.utils.set_random_seed(seed)
    net = _BUILDERS[kind]()
    options.setdefault("loss", _LOSSES.get(kind, "sparse_categorical_crossentropy"))
    options.setdefault("metrics", None if kind == "two_outputs" else ["accuracy"])
    net.compile(optimizer=optimizer, **options)
    return net


def _dense() -> keras.Model:
    regularised = layers.Dense(6, "relu", kernel_regularizer="l2")
    return keras.Sequential([keras.Input((4,)), regularised, layers.Dense(3, "softmax")])


def _tanh() -> keras.Model:
    """Hands a NaN on in every case: on some processors relu turns it into 0."""
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, "tanh"), layers.Dense(3, "softmax")]
    )


def _conv() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            # Without a bias: before BatchNorm its gradient is rounding noise, which Adam scales up.
            layers.Conv2D(3, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.3, seed=5),
            layers.Flatten(),
            layers.Dense(3, "softmax"),
        ]
    )


def _gru() -> keras.Model:
    recurrent = layers.GRU(4, unroll=True)
    inputs = keras.Input((3,), dtype="int64")
    return keras.Sequential(
        [inputs, layers.Embedding(11, 4), recurrent, layers.Dense(3, "softmax")]
    )


def _two_inputs() -> keras.Model:
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    both = layers.Concatenate()([layers.Dense(3, "tanh")(left), right])
    output = layers.Dense(1, "sigmoid")(both)
    return keras.Model({"left": left, "right": right}, output)


def _two_outputs() -> keras.Model:
    inputs = keras.Input((4,))
    hidden = layers.Dense(5, "relu")(inputs)
    kind, size = layers.Dense(3, "softmax", name="kind"), layers.Dense(2, name="size")
    return keras.Model(inputs, {"kind": kind(hidden), "size": size(hidden)})


_BUILDERS = {
    "dense": _dense,
    "tanh": _tanh,
    "conv": _conv,
    "gru": _gru,
    "two_inputs": _two_inputs,
    "two_outputs": _two_outputs,
}
_LOSSES: dict[str, Any] = {
    "two_inputs": "binary_crossentropy",
    "two_outputs": {"kind": "sparse_categorical_crossentropy", "size": "mse"},
}


def loader(kind: str = "dense", sampler: Any = None, **options: Any) -> Loader:
    x, y = data(kind)
    return Loader(x, y, sampler=sampler or RandomSampler(N, 12, seed=3), **options)


class FeedbackSampler(Sampler):
    """Draws by the losses it was told: the shortest sampler that listens."""

    def __init__(self, n: int, batch_size: int, **options: Any) -> None:
        super().__init__(n, batch_size, **options)
        self.losses = np.ones(n)
        self.told: list[list[int]] = []

    def draw(self, size: int) -> np.ndarray:
        cumulative = self.losses.cumsum()
        return np.searchsorted(cumulative, self.uniforms(size) * cumulative[-1], side="right")

    def update(self, indices: Any, losses: Any) -> None:
        self.told.append(list(indices))
        self.losses[indices] = np.round(losses, 3)  # so that rounding errors do not decide draws

    def importance_weights(self, indices: Any) -> np.ndarray:
        weights = 1 / self.losses[indices]
        return (weights / weights.max()).astype(np.float32)

    def extra_state(self) -> dict[str, Any]:
        return {"losses": self.losses.tolist()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.losses = np.array(state["losses"])


def assert_same_weights(one: keras.Model, other: keras.Model, tolerance: float = 0.0) -> None:
    """With tolerance 0 to the last bit."""
    for variable, ours, theirs in zip(one.weights, one.get_weights(), other.get_weights()):
        np.testing.assert_allclose(
            ours, theirs, rtol=tolerance, atol=tolerance, err_msg=variable.path
        )
