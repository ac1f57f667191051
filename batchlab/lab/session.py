"""One run that can be changed between batches: the same code with and without a browser."""

from __future__ import annotations

import contextlib
import copy
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from batchlab.backend import keras, tf
from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops import CompiledSteps
from batchlab.loops.step import check_ready
from batchlab.samplers import (
    ClassBalancedSampler,
    Parameter,
    PrioritizedSampler,
    RandomSampler,
    SequentialSampler,
    StratifiedSampler,
)
from batchlab.samplers.parameters import parameters_of
from batchlab.samplers.validation import check_labels

# Losses reach a sampler's update() exactly this many steps after their batch was drawn, however
# many steps the compiled loop runs per call: so a replay sees what the live run saw.
FEEDBACK_LAG = 16
# Enough samples to tell the score to a percent or so, few enough to score many times a second.
SCORED = 1000
SCORE_EVERY = 25  # steps
COMMON = ("batch_size", "seed", "drop_last")


class Session:
    """A model, the data, a few strategies, and the record of one run.

    Parameters
    ----------
    x, labels, classes : ndarray (n, ...), ndarray of int (n,), sequence of str
        The data; labels count from 0.
    model : keras.Model
        Compiled. It is trained in place; `reset` puts its first weights back.
    strategies : mapping of str to sampler
        They serve as patterns: the session works with copies.
    scored_data : tuple of (ndarray, ndarray)
        What balanced accuracy is computed on.
    """

    def __init__(
        self,
        x: NDArray[Any],
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        model: keras.Model,
        strategies: Mapping[str, Any],
        scored_data: tuple[NDArray[Any], NDArray[np.int64]],
    ) -> None:
        self.x, self.labels, self.classes, self.model = x, labels, classes, model
        self.patterns = dict(strategies)
        self.scored_data = tuple(array[:SCORED] for array in scored_data)
        self._loader = Loader(x, labels, sampler=next(iter(self.patterns.values())))
        for sampler in self.patterns.values():
            Loader(x, labels, sampler=sampler)  # refuses a sampler made for other data
        # The plain graph: XLA would compile for seconds whenever the batch size is moved.
        self._steps = CompiledSteps(model, self._loader, jit_compile=False)
        self._predict = tf.function(lambda inputs: model(inputs, training=False))
        self._first_values = [variable.numpy() for variable in self._variables()]
        self.parameters = self._declared()
        self.reset()

    def _variables(self) -> list[Any]:
        # model.variables, not get_weights(): the seeds of Dropout layers belong to a fresh start.
        return [*self.model.variables, *self.model.optimizer.variables]

    def _declared(self) -> dict[str, Parameter]:
        """Every setting that may change during the run, by name."""
        first = next(iter(self.patterns))
        own = {
            "strategy": Parameter(
                first, "which sampler chooses the batches", choices=tuple(self.patterns)
            ),
            "batch_size": Parameter(
                32, "samples per batch", low=1, high=len(self.x), slider=(1, min(256, len(self.x)))
            ),
            "learning_rate": Parameter(
                _learning_rate(self.model),
                "size of the optimizer's steps",
                low=0,
                slider=(1e-4, 1.0),
                log=True,
            ),
        }
        for name, parameter in own.items():
            parameter.name = name
        of_samplers = {
            name: parameter
            for sampler in self.patterns.values()
            for name, parameter in parameters_of(sampler).items()
            if name not in COMMON
        }
        return {**of_samplers, **own}

    def reset(self) -> None:
        """Back to step 0: the first weights, fresh samplers, an empty record."""
        for variable, value in zip(self._variables(), self._first_values):
            variable.assign(value)
        self.samplers = copy.deepcopy(self.patterns)
        self.strategy = next(iter(self.samplers))
        self.history = History(len(self.x))
        self.scores: list[tuple[int, float]] = []  # (step, balanced accuracy)
        self._epochs: dict[str, Any] = {}
        self._feedback: deque[tuple[int, str, NDArray[Any], NDArray[Any]]] = deque()
        self.score_if_due()

    # -- settings --------------------------------------------------------------------------------

    @property
    def sampler(self) -> Any:
        """The sampler at work."""
        return self.samplers[self.strategy]

    def value(self, name: str) -> Any:
        """The present value of a setting."""
        if name == "strategy":
            return self.strategy
        if name == "learning_rate":
            return _learning_rate(self.model)
        return getattr(self.sampler, name)

    def check(self, name: str, value: Any, strategy: str | None = None) -> Any:
        """`value` as it would be set, or an error that says what may be set.

        Parameters
        ----------
        name, value
            The setting.
        strategy : str, optional
            The strategy that will be at work then; the present one by default.
        """
        sampler = self.samplers[strategy or self.strategy]
        allowed = ["strategy", "learning_rate", *self.names_of(sampler)]
        if name not in allowed:
            raise ValueError(
                f"BatchLab: {name!r} is no setting of the strategy {strategy or self.strategy!r}. "
                f"It has {allowed}."
            )
        declared = {**self.parameters, **parameters_of(sampler)}
        if name == "batch_size":
            declared["batch_size"] = self.parameters["batch_size"]
        return declared[name].check(value, "BatchLab")

    @staticmethod
    def names_of(sampler: Any) -> list[str]:
        """The names of the settings that `sampler` lets one change."""
        own = [name for name in parameters_of(sampler) if name not in COMMON]
        return (["batch_size"] if hasattr(sampler, "batch_size") else []) + own

    def apply(self, name: str, value: Any) -> None:
        """Change a setting from the next batch on, and record it as an event."""
        value = self.check(name, value)
        present = self.value(name)
        if value == present or (
            # A slider on a logarithmic scale gives numbers back with another last digit.
            isinstance(value, float) and math.isclose(value, present, rel_tol=1e-6)
        ):
            return
        if name == "strategy":
            size = getattr(self.sampler, "batch_size", None)
            if size is not None and hasattr(self.samplers[value], "batch_size"):
                # A strategy that cannot make batches of this size keeps its own.
                with contextlib.suppress(ValueError):
                    self.samplers[value].batch_size = size
            self.strategy = value
        elif name == "learning_rate":
            self.model.optimizer.learning_rate = value
        else:
            setattr(self.sampler, name, value)
        self.history.record_event(name, value)

    # -- training --------------------------------------------------------------------------------

    def advance(self, steps: int) -> None:
        """Train on the next `steps` batches."""
        while steps > 0:
            self._loader.sampler = self.sampler
            batches: list[NDArray[np.int64]] = []
            # Drawn one by one as they are asked for, each with its importance weights.
            losses = self._steps(self._drawn(min(steps, FEEDBACK_LAG), batches))
            for indices, values in zip(batches, losses):
                self._feedback.append((self.history.steps, self.strategy, indices, values))
                self.history.record(indices, values)
            steps -= len(batches)

    def _drawn(
        self, count: int, batches: list[NDArray[np.int64]]
    ) -> Iterator[NDArray[np.int64]]:
        """Draw `count` batches, noted in `batches`."""
        for ahead in range(count):
            batches.append(self._next_batch(ahead))
            yield batches[-1]

    def _next_batch(self, ahead: int) -> NDArray[np.int64]:
        """Draw the batch of the step that is `ahead` of the next, after the feedback due by then."""
        due = self.history.steps + ahead - FEEDBACK_LAG
        while self._feedback and self._feedback[0][0] <= due:
            _, strategy, indices, losses = self._feedback.popleft()
            self._loader.sampler = self.samplers[strategy]
            self._loader.update(indices, losses)
        self._loader.sampler = self.sampler
        for _ in range(2):
            if self.strategy not in self._epochs:
                self._epochs[self.strategy] = self._loader.index_batches()
            for indices in self._epochs[self.strategy]:
                return indices
            del self._epochs[self.strategy]  # this epoch is over: start the next one
        raise ValueError(f"BatchLab: the sampler of {self.strategy!r} gave an epoch with no batch.")

    # -- looking at the model ----------------------------------------------------------------------

    def predict(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Class probabilities, (m, 1) for a single sigmoid output, else (m, classes)."""
        outputs = self._predict(tf.constant(inputs)).numpy()
        loss = keras.losses.get(self.model.loss)
        if getattr(loss, "from_logits", False):
            return tf.nn.softmax(outputs).numpy() if outputs.shape[1] > 1 else 1 / (1 + np.exp(-outputs))
        return outputs

    def score_if_due(self) -> None:
        """Note the balanced accuracy of the model, if enough steps have gone by since the last."""
        if self.scores and self.history.steps - self.scores[-1][0] < SCORE_EVERY:
            return
        inputs, labels = self.scored_data
        outputs = self.predict(inputs)
        predicted = outputs[:, 0] > 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        self.scores.append((self.history.steps, float(balanced_accuracy_score(labels, predicted))))


def _learning_rate(model: keras.Model) -> float:
    # Kept in 32 bits: seven digits give back what was set, 0.001 and not 0.0010000000474974513.
    return float(f"{keras.ops.convert_to_numpy(model.optimizer.learning_rate):.7g}")


def make_session(
    x: Any,
    y: Any,
    model: keras.Model | None,
    strategies: Mapping[str, Any] | None,
    batch_size: int,
    names: Sequence[str] | None,
    validation_data: tuple[Any, Any] | None,
) -> Session:
    """A session from what a learner has: two arrays, and as much more as they like."""
    arrays = np.asarray(x)
    if arrays.ndim < 2 or arrays.dtype.kind not in "biuf":
        raise ValueError(
            f"BatchLab: x must hold numbers and have shape (n, features…), got shape {arrays.shape} and "
            f"dtype {arrays.dtype}."
        )
    arrays = arrays.astype(np.float32)
    classes, labels = check_labels(y, "BatchLab")
    if len(labels) != len(arrays):
        raise ValueError(
            f"BatchLab: x and y must have one row per sample each, got {len(arrays)} and {len(labels)}."
        )
    scored = (arrays, labels)
    if validation_data is not None:
        inputs, targets = validation_data
        targets = np.asarray(targets)
        if not np.isin(targets, classes).all():
            raise ValueError("BatchLab: validation_data has classes that y does not have.")
        scored = (np.asarray(inputs, dtype=np.float32), np.searchsorted(classes, targets))
    if strategies is None:
        strategies = _usual_strategies(labels, batch_size)
    if not strategies:
        raise ValueError("BatchLab: strategies must name at least one sampler, got none.")
    names = tuple(str(name) for name in (classes if names is None else names))
    if len(names) != len(classes):
        raise ValueError(
            f"BatchLab: classes must name the {len(classes)} classes of y, got {len(names)}: {names}."
        )
    model = model or _usual_model(arrays.shape[1:], len(names))
    check_ready(model, 1, "BatchLab")
    return Session(arrays, labels, names, model, strategies, scored)


def _usual_strategies(labels: NDArray[np.int64], batch_size: int) -> dict[str, Any]:
    n = len(labels)
    return {
        "random": RandomSampler(n, batch_size),
        "class-balanced": ClassBalancedSampler(labels, batch_size),
        "stratified": StratifiedSampler(labels, batch_size),
        "prioritized": PrioritizedSampler(n, batch_size),
        "sequential": SequentialSampler(n, batch_size),
    }


def _usual_model(shape: tuple[int, ...], classes: int) -> keras.Model:
    """A small dense network with the same first weights every time."""

    def dense(units: int, activation: str, seed: int) -> keras.layers.Layer:
        start = keras.initializers.GlorotUniform(seed=seed)
        return keras.layers.Dense(units, activation, kernel_initializer=start)

    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            dense(32, "relu", seed=1),
            dense(32, "relu", seed=2),
            dense(classes, "softmax", seed=3),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model
