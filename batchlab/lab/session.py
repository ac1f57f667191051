"""One run that can be changed between batches: the same code with and without a browser."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from batchlab.backend import keras, tf
from batchlab.datasets import imbalanced, with_label_noise
from batchlab.history import History
from batchlab.lab.settings import DATA_SETTINGS, SETTINGS, Settings
from batchlab.loaders import Loader
from batchlab.loops import CompiledSteps
from batchlab.loops.interrupt import DeferredInterrupt
from batchlab.loops.runner import Runner
from batchlab.loops.step import check_own_step, check_ready, loss_per_sample
from batchlab.parameters import parameters_of
from batchlab.samplers import (
    ClassBalancedSampler,
    Parameter,
    PrioritizedSampler,
    RandomSampler,
    SequentialSampler,
    StratifiedSampler,
)
from batchlab.validation import check_labels

# Losses reach a sampler's update() at every multiple of so many steps, and at an epoch's end: as in
# train(), and so that a replay sees what the live run saw.
FEEDBACK_LAG = 16
# Enough samples to tell the score to a percent or so, few enough to score many times a second.
SCORED = 1000
SCORE_EVERY = 25  # steps
# The chance of every drawn sample is asked for up to so many samples, since it costs O(n) a step,
# and remembered for so many steps.
CHANCES_UP_TO = 20_000
CHANCES_KEPT = 20_000
# The record of what was chosen goes back as far for batches of 32, so that a panel that is left
# alone does not fill the memory.
SAMPLES_KEPT = 32 * CHANCES_KEPT
COMMON = ("batch_size", "seed", "drop_last")
Events = Mapping[int, Mapping[str, Any] | Sequence[tuple[str, Any]]]
STRATEGIES = {
    "random": RandomSampler,
    "class-balanced": ClassBalancedSampler,
    "stratified": StratifiedSampler,
    "prioritized": PrioritizedSampler,
    "sequential": SequentialSampler,
}


class Session:
    """A model, the data, a few strategies, and the record of one run.

    It is what the panel shows, without the panel: settings change between batches, and every
    change is an event. The same data, model, strategies and events give the same weights.

    Parameters
    ----------
    x : array_like of float, shape (n, ...)
        Inputs.
    y : array_like of int or str, shape (n,)
        Classes.
    model : keras.Model, optional
        Compiled, for class numbers from 0 in the order of the sorted class names. It is trained in
        place; `reset` puts its first weights back. By default :func:`small_network`.
    strategies : mapping of str to sampler, class or callable, optional
        What may choose the batches, by the name to show; the first one starts. A ready-made sampler
        serves as a pattern: the session works with copies, which go on where it is. A class whose
        first argument is ``n`` or ``labels``, or a function of ``(labels, batch_size, seed)`` that
        returns a sampler, can be built anew, so that the data and the seed can be changed too. By
        default random, class-balanced, stratified, prioritized and sequential.
    batch_size : int, default 32
        Samples per batch; ready-made samplers have their own.
    classes : sequence of str, optional
        Names to show for the classes, in the order of their numbers.
    validation_data : tuple of (x, y), optional
        What balanced accuracy and validation loss are computed on (1 000 of its samples, evenly
        spaced). Without it balanced accuracy is that on `x` and `y` as given.
    label_noise : float, default 0.0
        Share of the training labels that are wrong; see :func:`batchlab.datasets.with_label_noise`.
    imbalance : float, default 1.0
        Samples of the commonest class per sample of the rarest, at least; 1 leaves the data as they
        are. See :func:`batchlab.datasets.imbalanced`.
    seed : int, default 0
        Of the samplers, of noise and imbalance, and of the default model's first weights.

    Attributes
    ----------
    x, labels : ndarray of float32 (n, ...), ndarray of int64 (n,)
        The training data, as trained on: thinned, and with wrong labels.
    history : History
        What was chosen so far, at least the last 640 000 samples, and every change.
    scores : list of (int, float)
        Balanced accuracy by step.
    clock : dict of str to float
        Seconds spent "choosing", "training", "drawing" and "compiling" since step 0.

    Raises
    ------
    TypeError, ValueError
        If the data, a sampler or the model does not fit; nothing has been trained then.

    Examples
    --------
    >>> from batchlab import Session, datasets
    >>> data = datasets.moons()
    >>> session = Session(data.x_train, data.y_train)
    >>> history = session.run(40, events={20: {"strategy": "class-balanced", "balance": 0.5}})
    >>> session.strategy_at(19), session.strategy_at(20), session.batch(20).size
    ('random', 'class-balanced', 32)
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        model: keras.Model | None = None,
        strategies: Mapping[str, Any] | None = None,
        *,
        batch_size: int = 32,
        classes: Sequence[str] | None = None,
        validation_data: tuple[Any, Any] | None = None,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.given_x, self.given_labels, self.class_values = _checked_data(x, y)
        self.classes = _checked_names(classes, self.class_values)
        self.validation_data, self.validated = validation_data, validation_data is not None
        self.scored_data = self._checked_scored()
        self.makers = dict(STRATEGIES if strategies is None else strategies)
        if not self.makers:
            raise ValueError("Session: strategies must name at least one sampler, got none.")
        self.rebuildable = all(map(_is_maker, self.makers.values()))
        self.batch_size = batch_size
        self.default_model = model is None
        self.data_settings = {name: SETTINGS[name].default for name in DATA_SETTINGS}
        wanted = {"label_noise": label_noise, "imbalance": imbalance, "seed": seed}
        self._build_data(**wanted)
        self.model = model or self._new_network()
        check_ready(self.model, 1, "Session")
        self._prepare()

    # -- building --------------------------------------------------------------------------------

    def rebuild(self, **settings: float) -> None:
        """Change the data or the seed: everything starts anew at step 0.

        Parameters
        ----------
        **settings
            Any of ``label_noise``, ``imbalance`` and ``seed``.

        Raises
        ------
        TypeError, ValueError
            If a value is not possible, or a strategy cannot be built anew. Nothing has changed then.
        """
        self._build_data(**{**self.data_settings, **settings})
        self._put_back(self._first_values)
        if self.default_model:
            self.model.set_weights(self._new_network().get_weights())
        self._prepare()

    def _build_data(self, **settings: Any) -> None:
        """Thin the data, flip labels, and make the strategies for what came out of it."""
        values = {name: SETTINGS[name].check(value, "Session") for name, value in settings.items()}
        changed = [name for name in values if values[name] != SETTINGS[name].default]
        if changed and not self.rebuildable:
            raise ValueError(
                f"Session: {changed[0]} cannot be changed, because ready-made samplers know the data and "
                "the seed they were made for. Pass classes, or functions of (labels, batch_size, seed)."
            )
        seed = values["seed"]
        kept = imbalanced(self.given_labels, values["imbalance"], seed)
        labels = with_label_noise(self.given_labels[kept], values["label_noise"], seed)
        patterns = {
            name: self._made(name, maker, labels, seed) for name, maker in self.makers.items()
        }
        x = self.given_x if kept.size == self.given_labels.size else self.given_x[kept]
        for sampler in patterns.values():
            Loader(x, labels, sampler=sampler)  # refuses a sampler made for other data
        self.data_settings = values
        self.x, self.labels, self.patterns = x, labels, patterns

    def _made(self, name: str, maker: Any, labels: NDArray[np.int64], seed: int) -> Any:
        """A sampler for these labels, or the ready-made one."""
        if not _is_maker(maker):
            return maker
        first = next(iter(inspect.signature(maker).parameters), None)
        data = len(labels) if first == "n" else self.class_values[labels]
        try:
            return maker(data, batch_size=self.batch_size, seed=seed)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise TypeError(
                f"Session: the strategy {name!r} cannot be built: {error}. Pass a class of (n or labels, "
                "batch_size, seed), a function of (labels, batch_size, seed), or a ready-made sampler."
            ) from error

    def _new_network(self) -> keras.Model:
        return small_network(self.x.shape[1:], len(self.classes), self.data_settings["seed"])

    def _prepare(self) -> None:
        """Connect model and data, and go to step 0."""
        model = self.model
        self._loader = Loader(self.x, self.labels, sampler=next(iter(self.patterns.values())))
        # The plain graph: XLA would compile for seconds whenever the batch size is moved.
        check_own_step(model, self._loader, "Session")
        self._steps = CompiledSteps(model, self._loader, jit_compile=False)
        if not hasattr(self, "_outputs"):
            self._compile_evaluation()
        self._first_values = [variable.numpy() for variable in self._variables()]
        self.parameters = self._declared()
        self.reset()

    def _compile_evaluation(self) -> None:
        # One function for batches of every size: they would be compiled one by one otherwise.
        inputs = tf.TensorSpec((None, *self.x.shape[1:]))
        targets = tf.TensorSpec((None,), tf.int64)
        model, losses = self.model, loss_per_sample(self.model)

        # No AutoGraph: like Keras's own loops, and rewriting the source takes half a second.
        @tf.function(input_signature=(inputs,), autograph=False)
        def outputs(x: tf.Tensor) -> tf.Tensor:
            return model(x, training=False)

        @tf.function(input_signature=(inputs, targets), autograph=False)
        def outputs_and_losses(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            predictions = model(x, training=False)
            return predictions, losses(y, predictions)

        # Concrete, or TensorFlow warns of "retracing" when a kernel has seen a few panels.
        self._outputs = outputs.get_concrete_function()
        self._outputs_and_losses = outputs_and_losses.get_concrete_function()

    def _variables(self) -> list[Any]:
        # model.variables, not get_weights(): the seeds of Dropout layers belong to a fresh start.
        return [*self.model.variables, *self.model.optimizer.variables]

    def _put_back(self, values: Sequence[NDArray[Any]]) -> None:
        for variable, value in zip(self._variables(), values):
            variable.assign(value)

    def _checked_scored(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        inputs, labels = self.given_x, self.given_labels
        if self.validated:
            x, y = self.validation_data
            targets = np.asarray(y)
            if not np.isin(targets, self.class_values).all():
                raise ValueError("Session: validation_data has classes that y does not have.")
            inputs = np.asarray(x, dtype=np.float32)
            labels = np.searchsorted(self.class_values, targets)
        every = -(-len(inputs) // SCORED)  # not the first ones: the data may be sorted
        return inputs[::every], labels[::every].astype(np.int64)

    def _declared(self) -> dict[str, Parameter]:
        """Every setting by name, with the defaults and limits of this model and these data."""
        n = len(self.x)
        limits = {
            "strategy": {"default": next(iter(self.patterns)), "choices": tuple(self.patterns)},
            "batch_size": {"default": self.batch_size, "high": n, "slider": (1, min(256, n))},
            "learning_rate": {"default": _learning_rate(self.model)},
        }
        own = {name: replace(SETTINGS[name], **limits[name]) for name in limits}
        of_samplers = {
            name: parameter
            for sampler in self.patterns.values()
            for name, parameter in parameters_of(sampler).items()
            if name not in COMMON
        }
        data = {name: SETTINGS[name] for name in DATA_SETTINGS if self.rebuildable}
        return {**of_samplers, **own, **data}

    def reset(self) -> None:
        """Back to step 0: the first weights, fresh samplers, an empty record."""
        self._put_back(self._first_values)
        self.samplers = copy.deepcopy(self.patterns)
        for sampler in self.samplers.values():
            if begun(sampler):  # its epoch goes on, as it does after a resume
                sampler.load_state_dict(sampler.state_dict())
        self.strategy = next(iter(self.samplers))
        self.history = History(len(self.x), keep=SAMPLES_KEPT)
        self.scores: list[tuple[int, float]] = []
        self.validation_losses: list[tuple[int, float]] = []
        self.clock = dict.fromkeys(("choosing", "training", "drawing", "compiling"), 0.0)
        self._marks: deque[tuple[float, int]] = deque(maxlen=256)  # (time, steps) of late
        self._runner = Runner(
            self._steps,
            self.history,
            "Session",
            lag=FEEDBACK_LAG,
            draw=self._drawn,
            clock=self.clock,
        )
        self._chances: deque[NDArray[np.float32] | None] = deque(maxlen=CHANCES_KEPT)
        self._losses_now: tuple[int, NDArray[np.float32]] = (-1, np.empty(0, np.float32))
        self._past = [(0, dict(self.settings))]  # the settings from a step on
        self.score_if_due()

    def twin(self, **settings: Any) -> Session:
        """A second session from step 0: same data, strategies, first weights and seed.

        Parameters
        ----------
        **settings
            In what it differs: any setting, of the data too. Those that may change during a run are
            set at step 0, as events.

        Raises
        ------
        TypeError, ValueError
            If a setting is not possible, or the model cannot be cloned.
        """
        data = {name: settings.pop(name) for name in DATA_SETTINGS if name in settings}
        other = Session(
            self.given_x,
            self.class_values[self.given_labels],
            None if self.default_model else _clone(self.model),
            self.makers,
            batch_size=self.batch_size,
            classes=self.classes,
            validation_data=self.validation_data,
            **{**self.data_settings, **data},
        )
        if not self.default_model:
            other._first_values = self._first_values
            other.reset()
        for name, value in _strategy_first(settings):
            other.apply(name, value)
        return other

    # -- settings --------------------------------------------------------------------------------

    @property
    def sampler(self) -> Any:
        """The sampler at work."""
        return self.samplers[self.strategy]

    @property
    def settings(self) -> Settings:
        """The present values by name; printed, a table with type, range, default, help and source."""
        names = ["strategy", *self.names_of(self.sampler), "learning_rate"]
        names += DATA_SETTINGS if self.rebuildable else ()
        return Settings(
            {name: self.value(name) for name in names},
            {name: self.parameter(name) for name in names},
        )

    def value(self, name: str) -> Any:
        """The present value of a setting."""
        if name == "strategy":
            return self.strategy
        if name == "learning_rate":
            return _learning_rate(self.model)
        if name in DATA_SETTINGS:
            return self.data_settings[name]
        return getattr(self.sampler, name)

    def parameter(self, name: str, strategy: str | None = None) -> Parameter:
        """The declaration of a setting, as the strategy (the present one by default) has it."""
        own = parameters_of(self.samplers[strategy or self.strategy])
        if name in own and name not in COMMON:
            return own[name]
        return self.parameters[name]

    def check(self, name: str, value: Any, strategy: str | None = None) -> Any:
        """`value` as it would be set, or an error that says what may be set.

        Parameters
        ----------
        name, value
            The setting.
        strategy : str, optional
            The strategy that will be at work then; the present one by default.
        """
        strategy = strategy or self.strategy
        allowed = ["strategy", "learning_rate", *self.names_of(self.samplers[strategy])]
        if name in DATA_SETTINGS:
            raise ValueError(
                f"Session: {name} changes the data, so it cannot change within a run. Use "
                f"rebuild({name}={value!r}), which starts anew at step 0."
            )
        if name not in allowed:
            raise ValueError(
                f"Session: {name!r} is no setting of the strategy {strategy!r}. It has {allowed}."
            )
        return self.parameter(name, strategy).check(value, "Session")

    @staticmethod
    def names_of(sampler: Any) -> list[str]:
        """The names of the settings that `sampler` lets one change during a run."""
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
        self._past.append((self.history.steps, dict(self.settings)))

    # -- training --------------------------------------------------------------------------------

    def run(self, steps: int, events: Events | None = None) -> History:
        """Train, with changes at stated steps.

        Parameters
        ----------
        steps : int
            How many steps to train.
        events : mapping of int to mapping of str to value, optional
            ``{step: {name: value}}``; steps count from the start of the session. A new strategy
            comes before its settings; where another order counts: ``{step: [(name, value), …]}``.

        Returns
        -------
        History
            The record of the whole session.

        Raises
        ------
        TypeError, ValueError
            If a setting, a value or a step is not possible. Nothing has been trained then.
        """
        pieces = self.pieces(steps, events)
        with DeferredInterrupt() as interrupt:
            for _ in pieces:
                if interrupt.pressed:
                    break
        return self.history

    def pieces(self, steps: float, events: Events | None = None) -> Iterator[int]:
        """Like :meth:`run`, but train a piece each time the iterator is asked for the next.

        The events are checked at once. `steps` may be infinite: the caller then stops asking.
        """
        if steps != math.inf:
            steps = Parameter(1, low=1, name="steps").check(steps, "Session")
        end = self.history.steps + steps
        return self._pieces(end, self._checked_events(events or {}, self.history.steps, end))

    def _pieces(self, end: float, plan: dict[int, list[tuple[str, Any]]]) -> Iterator[int]:
        for step in sorted({self.history.steps, *plan, end}):
            while self.history.steps < step:
                self.advance(int(min(step - self.history.steps, SCORE_EVERY)))
                self.score_if_due()
                yield self.history.steps
            for name, value in plan.get(step, ()):
                self.apply(name, value)

    def _checked_events(
        self, events: Events, start: int, end: float
    ) -> dict[int, list[tuple[str, Any]]]:
        """The events in order of steps, or an error before anything is trained."""
        strategy = self.strategy
        trial = copy.deepcopy(self.samplers) if events else {}
        plan: dict[int, list[tuple[str, Any]]] = {}
        for step in sorted(events):
            if not start <= step < end:
                raise ValueError(
                    f"Session: events has step {step}, but this run goes from step {start} to {end - 1}."
                )
            changes = events[step]
            plan[step] = _strategy_first(changes) if isinstance(changes, Mapping) else list(changes)
            for name, value in plan[step]:
                checked = self.check(name, value, strategy)
                if name == "strategy":
                    strategy = checked
                elif name != "learning_rate":
                    setattr(trial[strategy], name, checked)
        return plan

    def advance(self, steps: int) -> None:
        """Train on the next `steps` batches."""
        before = self.history.steps
        self._loader.sampler = self.sampler
        self._drawn_chances: list[NDArray[np.float32] | None] = []
        try:
            while (left := before + steps - self.history.steps) > 0:
                self._runner.run(left)
        finally:  # of a step that failed there is no record
            self._chances.extend(self._drawn_chances[: self.history.steps - before])
            self._marks.append((time.perf_counter(), self.history.steps))

    def _drawn(self, batches: Iterator[NDArray[np.int64]]) -> NDArray[np.int64]:
        """The next of `batches`; how likely each of its samples was is noted."""
        chances = None
        if len(self.x) <= CHANCES_UP_TO:
            chances = getattr(self.sampler, "probabilities", None)
        indices = next(batches)
        known = None if chances is None else chances[indices].astype(np.float32)
        self._drawn_chances.append(known)
        return indices

    @property
    def time_used(self) -> float:
        """Seconds spent choosing and training since step 0."""
        return self.clock["choosing"] + self.clock["training"]

    @property
    def steps_per_second(self) -> float:
        """How fast it trained over the last two seconds or so; 0 before there is anything to tell."""
        marks = [mark for mark in list(self._marks) if mark[0] > self._marks[-1][0] - 2]
        if len(marks) < 2:
            return 0.0
        (start, before), (end, after) = marks[0], marks[-1]
        return (after - before) / (end - start)

    # -- looking back ----------------------------------------------------------------------------

    @property
    def curves(self) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        """Steps and values of every curve: "train loss", "validation loss", "balanced accuracy".

        Without validation data the validation loss is empty.
        """
        losses = self.history.step_losses
        steps = np.arange(1, losses.size + 1)
        measured = {"validation loss": self.validation_losses, "balanced accuracy": self.scores}
        return {
            "train loss": (steps, losses),
            **{name: _columns(pairs) for name, pairs in measured.items()},
        }

    def _place(self, step: int) -> int:
        """Where the record keeps `step`."""
        first = self.history.steps - len(self.history.indices)
        if not first <= step < self.history.steps:
            raise IndexError(
                f"Session: step {step} is not recorded; there are {first} to {self.history.steps - 1}."
                if self.history.steps
                else "Session: no step has been trained yet."
            )
        return step - first

    def batch(self, step: int) -> NDArray[np.int32]:
        """The samples that step `step` was trained on, (batch,)."""
        return self.history.indices[self._place(step)]

    def losses_at(self, step: int) -> NDArray[np.float32]:
        """Their losses then, (batch,)."""
        return self.history.losses[self._place(step)]

    def chances_at(self, step: int) -> NDArray[np.float32] | None:
        """How likely each of them was to be drawn next, float32 (batch,), just before that step.

        1 / n is what chance alone would give. None where the sampler cannot say, where there are
        more than 20 000 samples, and further back than 20 000 steps.
        """
        self._place(step)
        place = step - (self.history.steps - len(self._chances))
        return self._chances[place] if place >= 0 else None

    def settings_at(self, step: int) -> dict[str, Any]:
        """The settings that step `step` was trained with, by name."""
        return self._past[bisect_right(self._past, step, key=lambda past: past[0]) - 1][1]

    def strategy_at(self, step: int) -> str:
        """The strategy that chose the batch of step `step`."""
        return self.settings_at(step)["strategy"]

    # -- looking at the model ----------------------------------------------------------------------

    def predict(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Class probabilities, (m, 1) for a single sigmoid output, else (m, classes)."""
        return self._probabilities(self._outputs(np.asarray(inputs, np.float32)).numpy())

    def _probabilities(self, outputs: NDArray[Any]) -> NDArray[Any]:
        loss = keras.losses.get(self.model.loss)
        if getattr(loss, "from_logits", False):
            return tf.nn.softmax(outputs).numpy() if outputs.shape[1] > 1 else 1 / (1 + np.exp(-outputs))
        return outputs

    def losses_of(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        """The present losses of training samples, float32 (m,)."""
        if self._losses_now[0] != self.history.steps:
            self._losses_now = (self.history.steps, np.full(len(self.x), np.nan, np.float32))
        known = self._losses_now[1]
        missing = np.unique(np.asarray(indices)[np.isnan(known[indices])])
        if missing.size:
            known[missing] = self._outputs_and_losses(self.x[missing], self.labels[missing])[1]
        return known[indices]

    def score_if_due(self) -> None:
        """Note accuracy and validation loss, if enough steps have gone by since the last time."""
        step = self.history.steps
        if self.scores and step - self.scores[-1][0] < SCORE_EVERY:
            return
        inputs, labels = self.scored_data
        outputs, losses = (array.numpy() for array in self._outputs_and_losses(inputs, labels))
        outputs = self._probabilities(outputs)
        predicted = outputs[:, 0] > 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        self.scores.append((step, float(balanced_accuracy_score(labels, predicted))))
        if self.validated:
            self.validation_losses.append((step, float(losses.mean())))


def small_network(shape: tuple[int, ...], classes: int, seed: int) -> keras.Model:
    """Two layers of 32 units and Adam at 0.01; equal seeds give equal first weights."""

    def dense(units: int, activation: str, number: int) -> keras.layers.Layer:
        start = keras.initializers.GlorotUniform(seed=3 * seed + number)
        return keras.layers.Dense(units, activation, kernel_initializer=start)

    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            dense(32, "relu", number=1),
            dense(32, "relu", number=2),
            dense(classes, "softmax", number=3),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model


def _clone(model: keras.Model) -> keras.Model:
    """A model built and compiled like this one, with weights of its own."""
    try:
        twin = keras.models.clone_model(model)
        twin.compile_from_config(model.get_compile_config())
    except Exception as error:  # whatever a layer, loss or metric of one's own may raise
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"Session: a second model like {model.name!r} is needed to compare, and it cannot be cloned: "
            f"{reason} … Give your own classes a get_config(), and register them and your own functions "
            "with @keras.saving.register_keras_serializable()."
        ) from error
    return twin


def _strategy_first(changes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The changes in an order in which the other settings are those of the new strategy."""
    return sorted(changes.items(), key=lambda item: item[0] != "strategy")


def begun(sampler: Any) -> bool:
    """Whether a ready-made sampler has been drawn from already."""
    return bool(getattr(sampler, "epoch", 0) or getattr(sampler, "position", 0))


def _is_maker(strategy: Any) -> bool:
    return isinstance(strategy, type) or (callable(strategy) and not hasattr(strategy, "__iter__"))


def _learning_rate(model: keras.Model) -> float:
    # Kept in 32 bits: seven digits give back what was set, 0.001 and not 0.0010000000474974513.
    return float(f"{keras.ops.convert_to_numpy(model.optimizer.learning_rate):.7g}")


def _columns(pairs: list[tuple[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    steps, values = zip(*pairs) if pairs else ((), ())
    return np.array(steps, np.int64), np.array(values, np.float64)


def _checked_data(x: Any, y: Any) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]:
    """Inputs, class numbers, and the classes as they are called in `y`."""
    arrays = np.asarray(x)
    if arrays.ndim < 2 or arrays.dtype.kind not in "biuf":
        raise ValueError(
            f"Session: x must hold numbers and have shape (n, features…), got shape {arrays.shape} and "
            f"dtype {arrays.dtype}."
        )
    values, labels = check_labels(y, "Session")
    if len(labels) != len(arrays):
        raise ValueError(
            f"Session: x and y must have one row per sample each, got {len(arrays)} and {len(labels)}."
        )
    return arrays.astype(np.float32, copy=False), labels, values


def _checked_names(names: Sequence[str] | None, values: NDArray[Any]) -> tuple[str, ...]:
    checked = tuple(str(name) for name in (values if names is None else names))
    if len(checked) != len(values):
        raise ValueError(
            f"Session: classes must name the {len(values)} classes of y, got {len(checked)}: {checked}."
        )
    return checked
