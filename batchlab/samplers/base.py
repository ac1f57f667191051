"""What every sampler is: epochs of index batches, live settings, feedback, exact resume."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.samplers.parameters import Parameter, parameters_of


class Sampler(abc.ABC):
    """Base class of all samplers, and the shortest way to write your own.

    ``iter(sampler)`` starts the next epoch and yields its batches, int64 arrays of shape (batch,)
    with the numbers of the chosen samples. A subclass says which samples come next by writing
    :meth:`draw`; batches, live settings, seeds and resuming are done here.

    Every batch is a function of the seed, the epoch, the settings and the feedback, and of nothing
    else: no global random state is read or written.

    Parameters
    ----------
    n : int
        Number of samples to choose from.
    batch_size : int
        Samples per batch, from 1 to the samples of an epoch. May be changed during an epoch: what
        is left of it is cut anew, and nothing is lost or seen twice.
    seed : int, default 0
        Equal seeds give equal batches. Epochs differ: epoch ``e`` draws from
        ``SeedSequence(seed, spawn_key=(e,))``.
    drop_last : bool, default False
        Whether to leave out a last batch that is smaller than the others.

    Raises
    ------
    TypeError, ValueError
        If a setting is of the wrong type or out of range.

    Examples
    --------
    A sampler that prefers recent samples, with a slider of its own:

    >>> from batchlab.samplers import Parameter, Sampler
    >>> class RecentSampler(Sampler):
    ...     power = Parameter(2.0, "how strongly to prefer the end", low=1, high=8)
    ...     def draw(self, size):
    ...         return (self.n * self.uniforms(size) ** (1 / self.power)).astype(int)
    >>> sampler = RecentSampler(n=1000, batch_size=4)
    >>> sampler.power = 8
    >>> bool(next(iter(sampler)).min() > 500)
    True
    """

    batch_size = Parameter(32, "samples per batch", low=1, slider=(1, 256), log=True)
    seed = Parameter(0, "equal seeds give equal batches", low=0, slider=(0, 99))
    drop_last = Parameter(False, "leave out a last batch that is smaller than the others")

    def __init__(self, n: int, batch_size: int, *, seed: int = 0, drop_last: bool = False) -> None:
        self.n = Parameter(1, low=1, name="n").check(n, type(self).__name__)
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self._epoch = 0
        self._drawn = 0  # samples of this epoch that have been yielded
        self._continue_epoch = True  # the next iter() goes on with this epoch
        self._turn: object = None  # which iterator is the current one
        self._stream: tuple[tuple[int, int, int], np.random.Generator] | None = None

    # -- what a subclass writes ------------------------------------------------------------------

    @abc.abstractmethod
    def draw(self, size: int) -> ArrayLike:
        """The next `size` indices of this epoch, shape (size,); fewer only if none are left."""

    def update(self, indices: ArrayLike, losses: ArrayLike) -> None:
        """Take feedback: the losses, shape (batch,), of samples trained on. Ignored by default.

        It may come late and in any order; a sampler never waits for it.
        """

    def importance_weights(self, indices: ArrayLike) -> NDArray[np.float32] | None:
        """Factors for the losses of `indices`, float32 (batch,), or None where there are none."""
        return None

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Chance that the next draw is sample i, float64 (n,); None if the sampler cannot say."""
        return None

    def extra_state(self) -> dict[str, Any]:
        """What :meth:`state_dict` must hold beside the position and the parameters, as JSON."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave. Check all of it before changing anything."""

    # -- randomness ------------------------------------------------------------------------------

    def generator(self) -> np.random.Generator:
        """A new generator for this epoch: the same for the same seed and epoch."""
        # spawn_key, not seed + epoch: with a sum, seed 0 in epoch 1 would repeat seed 1 in epoch 0.
        sequence = np.random.SeedSequence(self.seed, spawn_key=(self._epoch,))
        return np.random.Generator(np.random.PCG64(sequence))

    def uniforms(self, size: int) -> NDArray[np.float64]:
        """The next `size` numbers in [0, 1) of this epoch's stream, one per sample, float64.

        The k-th sample of an epoch always gets the k-th number, however the epoch is cut into
        batches, and after a resume too.
        """
        key = (self.seed, self._epoch, self._drawn)
        if self._stream is None or self._stream[0] != key:
            generator = self.generator()
            generator.bit_generator.advance(self._drawn)
        else:
            generator = self._stream[1]
        numbers = generator.random(size)
        self._stream = ((self.seed, self._epoch, self._drawn + size), generator)
        return numbers

    # -- the epoch -------------------------------------------------------------------------------

    @property
    def samples_per_epoch(self) -> int:
        """How many draws make an epoch; n unless the strategy says otherwise."""
        return self.n

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being drawn, from 0."""
        return self._epoch

    def __len__(self) -> int:
        """Batches per epoch with the present settings."""
        whole, rest = divmod(self.samples_per_epoch, self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        if not self._continue_epoch or self._next_size() == 0:
            self._epoch += 1
            self._drawn = 0
            self.epoch_started()
        self._continue_epoch = False
        self._turn = turn = object()
        return self._batches(turn)

    def epoch_started(self) -> None:
        """Called at the start of every epoch but the first, before its first draw."""

    def _batches(self, turn: object) -> Iterator[NDArray[np.int64]]:
        while True:
            if turn is not self._turn:
                raise RuntimeError(
                    f"{type(self).__name__}: this epoch was left when another one was started or a "
                    "state was loaded. Use the newest iterator, or one sampler per loop."
                )
            size = self._next_size()
            if size == 0:
                return
            indices = np.asarray(self.draw(size), dtype=np.int64)
            if indices.size == 0:  # a live change left nothing to draw
                return
            self._drawn += indices.size
            yield indices

    def _next_size(self) -> int:
        left = self.samples_per_epoch - self._drawn
        if left >= self.batch_size:
            return self.batch_size
        return 0 if self.drop_last else max(left, 0)

    # -- settings --------------------------------------------------------------------------------

    def check_parameter(self, name: str, value: Any) -> None:
        """Refuse a value that the parameter's own range cannot rule out."""
        if name == "batch_size" and value > self.samples_per_epoch:
            raise ValueError(
                f"{type(self).__name__}: batch_size must not be larger than the "
                f"{self.samples_per_epoch} samples of an epoch, got {value}."
            )

    def parameter_changed(self, name: str) -> None:
        """Called after a parameter has been set; drop here what was computed from it."""

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was yielded, with all settings, as plain JSON."""
        return {
            "sampler": type(self).__name__,
            "n": self.n,
            "epoch": self._epoch,
            "drawn": self._drawn,
            "parameters": {name: getattr(self, name) for name in parameters_of(self)},
            **self.extra_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the position of `state`; the next ``iter(self)`` continues its epoch.

        Parameters
        ----------
        state : dict
            What :meth:`state_dict` of a sampler of the same class and the same n returned.

        Raises
        ------
        ValueError
            If the state belongs to another sampler, or is damaged. The sampler is left as it was.
        """
        name = type(self).__name__
        for key, own in (("sampler", name), ("n", self.n)):
            if state.get(key) != own:
                raise ValueError(
                    f"{name}: this state belongs to another sampler: its {key} is {state.get(key)!r}, "
                    f"here it is {own!r}. Build the sampler as it was when the state was taken."
                )
        declared = parameters_of(self)
        parameters = state.get("parameters", {})
        if set(parameters) != set(declared):
            odd = sorted(set(parameters) ^ set(declared))
            raise ValueError(f"{name}: the state's parameters differ from the sampler's in {odd}.")
        values = {key: declared[key].check(value, name) for key, value in parameters.items()}
        whole = Parameter(0, low=0)
        epoch, drawn = (
            whole.check(state.get(key), f"{name}: state {key!r}") for key in ("epoch", "drawn")
        )
        self.load_extra_state(state)
        for key, value in values.items():
            self.__dict__[key] = value
            self.parameter_changed(key)
        self._epoch, self._drawn = epoch, drawn
        self._continue_epoch = True
        self._turn = None

    def __repr__(self) -> str:
        settings = {name: getattr(self, name) for name in parameters_of(self)}
        inside = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}(n={self.n}, {inside})"
