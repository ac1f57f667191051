"""Data, strategies and a model, and what of them may be set: all of a run but the training."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras, need_tensorflow
from batchlab.datasets import imbalanced, with_label_noise
from batchlab.lab.data import Loaded, checked_data, checked_names, checked_scored, loader_of
from batchlab.lab.settings import DATA_SETTINGS, SETTINGS, Settings, hand_settings, own_settings
from batchlab.loaders import Load
from batchlab.loops.ready import check_ready
from batchlab.parameters import Parameter
from batchlab.samplers import (
    ClassBalancedSampler,
    PrioritizedSampler,
    RandomSampler,
    SequentialSampler,
    StratifiedSampler,
)

STRATEGIES = {
    "random": RandomSampler,
    "class-balanced": ClassBalancedSampler,
    "stratified": StratifiedSampler,
    "prioritized": PrioritizedSampler,
    "sequential": SequentialSampler,
}
WITHOUT_CLASSES = {name: STRATEGIES[name] for name in ("random", "prioritized", "sequential")}


class Experiment:
    """What a :class:`Session` is built from; its parameters are explained there.

    Attributes
    ----------
    given : Given
        The data before they were thinned and got wrong labels.
    x, targets, labels : ndarray of float32 (n, ...), ndarray (n, ...), ndarray of int64 (n,)
        The data to train on, and the class of every sample by which strategies and colours go.
    classes : tuple of str
        What these classes are called, or the labels of a multi-label ``y``; empty without either.
    makers, patterns, samplers : dict of str to class, function or sampler
        By strategy: what was given; the samplers as made for these data; those at work, copies.
    data_settings : dict of str to value
        Label noise, imbalance and seed.
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
        **data_settings: float,
    ) -> None:
        need_tensorflow("Session")
        self._loading = {"load": load, "workers": workers}
        self.given = checked_data(x, y, groups, model is not None, **self._loading)
        self.classes = checked_names(classes, self.given)
        self.validation_data, self.validated = validation_data, validation_data is not None
        self.scored_data = checked_scored(validation_data, self.given, **self._loading)
        defaults = STRATEGIES if self.has_classes else WITHOUT_CLASSES
        self.makers = _checked_strategies(defaults if strategies is None else strategies)
        self.rebuildable = all(map(_is_maker, self.makers.values()))
        self.batch_size = Parameter(32, low=1, name="batch_size").check(batch_size, "Session")
        self.default_model = model is None
        self.data_settings = {name: SETTINGS[name].default for name in DATA_SETTINGS}
        self._build_data(**data_settings)
        self.model = self._new_network() if model is None else model
        check_ready(self.model, 1, "Session")

    @property
    def has_classes(self) -> bool:
        """Whether there are classes by which strategies and colours can go."""
        return self.given.grouped or self.given.answers is not None

    @property
    def _data_settings(self) -> list[str]:
        """What of the data may be changed: without classes none can be wrong or rare."""
        lacking = {
            "label_noise": self.given.answers is None,
            "imbalance": not self.has_classes or isinstance(self.given.x, Loaded),
        }
        return [name for name in DATA_SETTINGS if not lacking.get(name)]

    @property
    def shade(self) -> NDArray[np.float32] | None:
        """The target of every sample, float32 (n,), where colours go by it and not by classes."""
        single = self.targets.size == len(self.targets)
        return None if self.has_classes or not single else self.targets.reshape(-1)

    def class_mix(self, chosen: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """The share of each of `classes` among the `chosen` samples, by default all of the data."""
        if not self.has_classes:
            return self.targets[slice(None) if chosen is None else chosen].mean(axis=0, dtype=float)
        labels = self.labels if chosen is None else self.labels[chosen]
        return np.bincount(labels, minlength=len(self.classes)) / len(labels)

    def _build_data(self, **settings: Any) -> None:
        """Thin the data, flip labels, and make the strategies for what came out of it."""
        for name in settings:
            if name not in DATA_SETTINGS:
                raise ValueError(
                    f"Session: {name!r} is no setting of the data. There are {', '.join(DATA_SETTINGS)}."
                )
        wanted = {**self.data_settings, **settings}
        values = {name: SETTINGS[name].check(value, "Session") for name, value in wanted.items()}
        changed = [name for name in values if values[name] != SETTINGS[name].default]
        if changed and not self.rebuildable:
            raise ValueError(
                f"Session: {changed[0]} cannot be changed, because ready-made samplers know the data and "
                "the seed they were made for. Pass classes, or functions of (labels, batch_size, seed)."
            )
        lacking = [name for name in changed if name not in self._data_settings]
        if lacking:
            raise ValueError(
                f"Session: {lacking[0]} needs classes, and y names none. Leave it out"
                + (", or pass groups=." if lacking[0] == "imbalance" else ".")
            )
        given, seed = self.given, values["seed"]
        kept = imbalanced(given.labels, values["imbalance"], seed)
        targets, labels = given.targets[kept], given.labels[kept]
        if given.answers is not None:
            targets = with_label_noise(targets, values["label_noise"], seed)
            labels = labels if given.grouped else targets
        patterns = {
            name: self._made(name, maker, labels, seed) for name, maker in self.makers.items()
        }
        x = given.x if kept.size == len(given.x) else given.x[kept]
        for sampler in patterns.values():
            loader_of(x, targets, sampler)  # refuses a sampler made for other data
        self.data_settings = values
        self.x, self.targets, self.labels = x, targets, labels
        self.patterns, self.kept = patterns, kept

    def _made(self, name: str, maker: Any, labels: NDArray[np.int64], seed: int) -> Any:
        """A sampler for these labels, or the ready-made one."""
        if not _is_maker(maker):
            return maker
        first = next(iter(inspect.signature(maker).parameters), None)
        data = len(labels) if first == "n" else self.given.groups[labels]
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
        return small_network(self.x.shape[1:], len(self.given.answers), self.data_settings["seed"])

    def _variables(self) -> list[Any]:
        # model.variables, not get_weights(): the seeds of Dropout layers belong to a fresh start.
        return [*self.model.variables, *self.model.optimizer.variables]

    def _put_back(self, values: Sequence[NDArray[Any]]) -> None:
        for variable, value in zip(self._variables(), values):
            variable.assign(value)

    def _general_settings(self) -> dict[str, Parameter]:
        """What any strategy lets one set, with the defaults and limits of model and data."""
        n = len(self.x)
        limits = {
            "strategy": {"default": next(iter(self.patterns)), "choices": tuple(self.patterns)},
            "batch_size": {"default": self.batch_size, "high": n, "slider": (1, min(256, n))},
            "learning_rate": {"default": learning_rate(self.model)},
        }
        return {name: replace(SETTINGS[name], **limits[name]) for name in limits}

    @cached_property
    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest number in the data: black and white, where they are images."""
        return float(self.given.seen.min()), float(self.given.seen.max())

    @property
    def sampler(self) -> Any:
        """The sampler at work."""
        return self.samplers[self.strategy]

    @property
    def settings(self) -> Settings:
        """The present values by name; printed, a table with type, range, default, help and source."""
        declared = self.settable()
        return Settings({name: self.value(name) for name in declared}, declared)

    def settable(self, strategy: str | None = None) -> dict[str, Parameter]:
        """What may be set while a strategy is at work, the present one by default, by name."""
        sampler = self.samplers[strategy or self.strategy]
        own, general = own_settings(sampler), dict(self._general)
        if not hasattr(sampler, "batch_size"):
            del general["batch_size"]
        rate = general.pop("learning_rate")
        data = {name: SETTINGS[name] for name in self._data_settings if self.rebuildable}
        return {**general, **own, "learning_rate": rate, **hand_settings(sampler), **data}

    def value(self, name: str, strategy: str | None = None) -> Any:
        """The present value of a setting, as a strategy has it, the present one by default."""
        if name == "strategy":
            return self.strategy
        if name == "learning_rate":
            return learning_rate(self.model)
        if name in DATA_SETTINGS:
            return self.data_settings[name]
        return getattr(self.samplers[strategy or self.strategy], name)

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
        if name in DATA_SETTINGS:
            raise ValueError(
                f"Session: {name} changes the data, so it cannot change within a run. Use "
                f"rebuild({name}={value!r}), which starts anew at step 0."
            )
        allowed = {k: p for k, p in self.settable(strategy).items() if k not in DATA_SETTINGS}
        if name not in allowed:
            raise ValueError(
                f"Session: {name!r} is no setting of the strategy {strategy!r}. It has {list(allowed)}."
            )
        return allowed[name].check(value, "Session")


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


def clone(model: keras.Model) -> keras.Model:
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


def begun(sampler: Any) -> bool:
    """Whether a ready-made sampler has been drawn from already."""
    return bool(getattr(sampler, "epoch", 0) or getattr(sampler, "position", 0))


def _checked_strategies(strategies: Any) -> dict[str, Any]:
    if not isinstance(strategies, Mapping):
        raise TypeError(
            "Session: strategies must be a dict from name to sampler, class or function, got "
            f"{type(strategies).__name__}."
        )
    if not strategies:
        raise ValueError("Session: strategies must name at least one sampler, got none.")
    for name in strategies:
        if not isinstance(name, str) or not name:
            raise TypeError(f"Session: strategies must be named by words, got {name!r}.")
    return dict(strategies)


def _is_maker(strategy: Any) -> bool:
    return isinstance(strategy, type) or (callable(strategy) and not hasattr(strategy, "__iter__"))


def learning_rate(model: keras.Model) -> float:
    """As it was set: Keras keeps it in 32 bits, so 0.001 comes back as 0.0010000000474974513."""
    return float(f"{keras.ops.convert_to_numpy(model.optimizer.learning_rate):.7g}")
