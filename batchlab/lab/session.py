"""One run that can be changed between batches: the same code with and without a browser."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras
from batchlab.history import History
from batchlab.lab.byhand import ByHand, hand_over, held
from batchlab.lab.data import SCORED, loader_of
from batchlab.lab.evaluation import Evaluation
from batchlab.lab.experiment import Experiment, begun, clone
from batchlab.lab.record import Models, Record
from batchlab.lab.settings import DATA_SETTINGS, Change, hand_settings, pairs, strategy_first
from batchlab.loaders import Load
from batchlab.loops import CompiledSteps
from batchlab.loops.interrupt import DeferredInterrupt
from batchlab.loops.ready import check_one_device, check_own_step
from batchlab.loops.runner import Runner
from batchlab.parameters import Parameter
from batchlab.samplers import Sampler
from batchlab.validation import check_indices

# Losses reach a sampler's update() at every multiple of so many steps, and at an epoch's end: as in
# train(), and so that a replay sees what the live run saw.
FEEDBACK_LAG = 16
SCORE_EVERY = 25  # steps
# The chance of every drawn sample is asked for up to so many samples, since it costs O(n) a step,
# and remembered for so many steps.
CHANCES_UP_TO = 20_000
CHANCES_KEPT = 20_000
# The record of what was chosen goes back as far for batches of 32, so that a panel that is left
# alone does not fill the memory.
SAMPLES_KEPT = 32 * CHANCES_KEPT
Events = Mapping[int, Mapping[str, Any] | Sequence[Change]]


class Session(Experiment, Record, ByHand):
    """A model, the data, a few strategies, and the record of one run.

    It is what the panel shows, without the panel: settings change between batches, and every
    change is an event. The same data, model, strategies and events give the same weights.

    Parameters
    ----------
    x : array_like of float, shape (n, ...)
        Inputs.
    y : array_like of int or str, shape (n,)
        Classes. With a `model` of your own also what its loss sees as it is: floats, or any array
        with more axes, such as several labels of a sample or the inputs themselves.
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
        Names to show for the classes, in the order of their numbers; or for the columns of a
        multi-label `y`.
    validation_data : tuple of (x, y), optional
        What score and validation loss are computed on (1 000 of its samples, evenly spaced).
        Without it the score is that on `x` and `y` as given. It is balanced accuracy where `y` names
        classes, else the first metric given to ``compile``, or the loss.
    groups : array_like of int or str, shape (n,), optional
        The classes by which strategies, class mix and colours go, where these are not `y`.
    load, workers
        As for a :class:`Loader`: `x`, and that of the validation data, may then be anything with
        rows, such as paths, and a batch is what `load` makes of its rows. It must make samples of one
        shape. They are read when they are trained on or looked at; `imbalance` is not offered.
    label_noise : float, default 0.0
        Share of the training labels that are wrong; see :func:`batchlab.datasets.with_label_noise`.
    imbalance : float, default 1.0
        Samples of the commonest class per sample of the rarest, at least; 1 leaves the data as they
        are. See :func:`batchlab.datasets.imbalanced`.
    seed : int, default 0
        Of the samplers, of noise and imbalance, and of the default model's first weights.

    Attributes
    ----------
    x, targets, labels : ndarray of float32 (n, ...), ndarray (n, ...), ndarray of int64 (n,)
        The training data, as trained on: thinned, and with wrong labels; and the class of every
        sample, which is its target unless `groups` were given.
    history : History
        What was chosen so far, at least the last 640 000 samples, and every change.
    scores : list of (int, float)
        Balanced accuracy, or what else ``score_name`` says, by step.
    models : Models
        The model as it was at earlier steps.
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
        groups: Any = None,
        load: Load | None = None,
        workers: int = 1,
        label_noise: float = 0.0,
        imbalance: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            x,
            y,
            model,
            strategies,
            batch_size=batch_size,
            classes=classes,
            validation_data=validation_data,
            groups=groups,
            load=load,
            workers=workers,
            label_noise=label_noise,
            imbalance=imbalance,
            seed=seed,
        )
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
        self._build_data(**settings)
        self._put_back(self._first_values)
        if self.default_model:
            self.model.set_weights(self._new_network().get_weights())
        self._prepare()

    def _prepare(self) -> None:
        """Connect model and data, and go to step 0."""
        model = self.model
        self._loader = loader_of(self.x, self.targets, next(iter(self.patterns.values())))
        check_own_step(model, self._loader, "Session")
        check_one_device(model, "Session")
        # The plain graph: XLA would compile for seconds whenever the batch size is moved.
        self._steps = CompiledSteps(model, self._loader, jit_compile=False)
        if not hasattr(self, "_evaluation"):
            self._evaluation = Evaluation(
                model, *self.scored_data, self.given.answers is not None
            )
        self._first_values = [variable.numpy() for variable in self._variables()]
        self._general = self._general_settings()
        self.reset()

    def reset(self) -> None:
        """Back to step 0: the first weights, fresh samplers, an empty record."""
        self._put_back(self._first_values)
        self.samplers = copy.deepcopy(self.patterns)
        for sampler in self.samplers.values():
            if begun(sampler) and hasattr(sampler, "continue_epoch"):  # as it does after a resume
                sampler.continue_epoch()
        self.samplers = {name: held(sampler) for name, sampler in self.samplers.items()}
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
        self.models = Models(self.model.variables)
        self.models.keep(0)
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
            self.given.x,
            self.given.y,
            None if self.default_model else clone(self.model),
            self.makers,
            batch_size=self.batch_size,
            classes=self.classes or None,
            validation_data=self.validation_data,
            groups=self.given.groups[self.given.labels] if self.given.grouped else None,
            **self._loading,
            **{**self.data_settings, **data},
        )
        if not self.default_model:
            other._first_values = self._first_values
            other.reset()
        for name, value in strategy_first(settings):
            other.apply(name, value)
        return other

    def apply(self, name: str, value: Any, drag: bool = False) -> None:
        """Change a setting from the next batch on, and record it as an event.

        With `drag` it goes on with the change before: see :class:`batchlab.history.Event`.
        """
        value = self.check(name, value)
        present = self.value(name)
        if value == present or (
            # A slider on a logarithmic scale gives numbers back with another last digit.
            isinstance(value, float) and math.isclose(value, present, rel_tol=1e-6)
        ):
            return
        self._change(self.samplers, self.strategy, name, value)
        if name == "strategy":
            self.strategy = value
        self.history.record_event(name, value, drag)
        self._past.append((self.history.steps, dict(self.settings)))

    def _change(self, samplers: Mapping[str, Any], strategy: str, name: str, value: Any) -> None:
        """Make a checked change to `samplers`, of which `strategy` is at work."""
        if name == "learning_rate":
            if samplers is self.samplers:
                self.model.optimizer.learning_rate = value
        elif name != "strategy":
            setattr(samplers[strategy], name, value)
        elif value != strategy:
            old, new = samplers[strategy], samplers[value]
            if hasattr(old, "batch_size") and hasattr(new, "batch_size"):
                # A strategy that cannot make batches of this size keeps its own.
                with contextlib.suppress(ValueError):
                    new.batch_size = old.batch_size
            # A strategy that came with picks of its own keeps them to itself.
            if isinstance(self.patterns[strategy], Sampler) and isinstance(
                self.patterns[value], Sampler
            ):
                hand_over(old, new)

    # -- training --------------------------------------------------------------------------------

    def run(self, steps: int, events: Events | None = None) -> History:
        """Train, with changes at stated steps.

        Parameters
        ----------
        steps : int
            How many steps to train.
        events : mapping of int to mapping of str to value, optional
            ``{step: {name: value}}``; steps count from the start of the session. A new strategy
            comes before its settings; where another order counts: ``{step: [(name, value), …]}``, and
            ``(name, value, True)`` goes on with the drag of the change before.

        Returns
        -------
        History
            The record of the whole session.

        Raises
        ------
        TypeError, ValueError
            If a setting, a value or a step is not possible. Nothing has been trained then.
        """
        Parameter(1, low=1, name="steps").check(steps, "Session")
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

    def _pieces(self, end: float, plan: dict[int, list[Change]]) -> Iterator[int]:
        for step in sorted({self.history.steps, *plan, end}):
            while self.history.steps < step:
                self.advance(int(min(step - self.history.steps, SCORE_EVERY)))
                self.score_if_due()
                yield self.history.steps
            for change in plan.get(step, ()):
                self.apply(*change)

    def _checked_events(
        self, events: Events, start: int, end: float
    ) -> dict[int, list[Change]]:
        """The events in order of steps, or an error before anything is trained."""
        if not isinstance(events, Mapping):
            raise TypeError(f"Session: events must be a dict by step, got {type(events).__name__}.")
        whole = Parameter(0, name="events has a step that")
        steps = {whole.check(step, "Session"): changes for step, changes in events.items()}
        strategy = self.strategy
        trial = copy.deepcopy(self.samplers) if events else {}
        plan: dict[int, list[Change]] = {}
        for step in sorted(steps):
            if not start <= step < end:
                raise ValueError(
                    f"Session: events has step {step}, but this run goes from step {start} to {end - 1}."
                )
            plan[step] = pairs(steps[step], step)
            for name, value, *_ in plan[step]:
                checked = self.check(name, value, strategy)
                self._change(trial, strategy, name, checked)
                if name == "strategy":
                    strategy = checked
        return plan

    def advance(self, steps: int) -> None:
        """Train on the next `steps` batches."""
        before = self._drawn_from = self.history.steps
        self._loader.sampler = self.sampler
        self._drawn_chances: list[NDArray[np.float32] | None] = []
        try:
            while (left := before + steps - self.history.steps) > 0:
                every = self.models.every
                self._runner.run(min(left, every - self.history.steps % every))
                self.models.keep(self.history.steps)
        finally:  # of a step that failed there is no record
            self._chances.extend(self._drawn_chances[: self.history.steps - before])
            self._marks.append((time.perf_counter(), self.history.steps))

    def _drawn(self, batches: Iterator[NDArray[np.int64]]) -> NDArray[np.int64]:
        """The next of `batches`; how likely each of its samples was is noted."""
        chances = None
        if len(self.x) <= CHANCES_UP_TO:
            chances = getattr(self.sampler, "probabilities", None)
        picked = hand_settings(self.sampler) and self.value("next")
        indices = next(batches)
        known = None if chances is None else chances[indices].astype(np.float32)
        self._drawn_chances.append(known)
        if picked:  # for this batch, and no longer
            self._past.append((self._drawn_from + len(self._drawn_chances), dict(self.settings)))
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

    # -- looking at the model ----------------------------------------------------------------------

    def predict(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Class probabilities, (m, 1) for a single sigmoid output, else (m, classes).

        Where `y` names no classes, what the model says.
        """
        return self._evaluation.predict(inputs)

    @property
    def score_name(self) -> str:
        """What the scores are: "balanced accuracy", a metric of the model, or "loss"."""
        return self._evaluation.score_name

    def losses_of(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        """The present losses of training samples, float32 (m,)."""
        indices = check_indices(indices, len(self.x), "Session")
        if self._losses_now[0] != self.history.steps:
            self._losses_now = (self.history.steps, np.full(len(self.x), np.nan, np.float32))
        known = self._losses_now[1]
        missing = np.unique(indices[np.isnan(known[indices])])
        if missing.size:
            for some in np.array_split(missing, -(-missing.size // SCORED)):
                known[some] = self._evaluation.losses(self.x[some], self.targets[some])
        return known[indices]

    def score_if_due(self) -> None:
        """Note score and validation loss, if enough steps have gone by since the last time."""
        step = self.history.steps
        if self.scores and step - self.scores[-1][0] < SCORE_EVERY:
            return
        score, loss = self._evaluation.score_and_loss(*self.scored_data)
        self.scores.append((step, score))
        if self.validated:
            self.validation_losses.append((step, loss))
