"""What every sampler is: epochs of index batches, live settings, feedback, exact resume.

A strategy says here what it draws. How draws become batches is in :mod:`.draws.epochs`.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter, parameters_of
from batchlab.samplers.draws.built import Built
from batchlab.samplers.draws.epochs import Epochs
from batchlab.samplers.draws.permutation import scale
from batchlab.samplers.draws.state import restore, state_of
from batchlab.samplers.draws.stream import Stream, generator_of


class Sampler(Built, Epochs):
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

    >>> from batchlab.samplers import Parameter, Sampler, Schedule
    >>> class RecentSampler(Sampler):
    ...     power = Parameter(2.0, "how strongly to prefer the end", low=1, high=8)
    ...     def draw(self, size):
    ...         return (self.n * self.uniforms(size) ** (1 / self.power)).astype(int)
    >>> sampler = RecentSampler(n=1000, batch_size=4)
    >>> sampler.power = 8
    >>> bool(next(iter(sampler)).min() > 500)
    True

    Any number setting may follow a :class:`Schedule` instead:

    >>> sampler.power = Schedule(1, 8, epochs=5)
    """

    # Above this many samples a random order is computed and not stored. Lower it to save memory.
    stored_order_limit = 2**25
    # Whether the k-th draw of an epoch depends on the seed and the settings alone. Such a strategy
    # may be asked for many draws at once; they are kept, and drawn anew when a setting changes.
    foreseen = False
    # Whether it composes whole batches: a draw then depends on the others of its batch.
    composes = False
    # Settings that must be multiples of a number, such as a batch size that workers share.
    multiples: Mapping[str, int] = MappingProxyType({})

    batch_size = Parameter(32, "samples per batch", low=1, slider=(1, 256), log=True)
    seed = Parameter(0, "equal seeds give equal batches", low=0, slider=(0, 99))
    drop_last = Parameter(False, "leave out a last batch that is smaller than the others")

    def __init__(self, n: int, batch_size: int, *, seed: int = 0, drop_last: bool = False) -> None:
        self.n = Parameter(1, low=1, high=2**62, name="n").check(n, type(self).__name__)
        self._stream = Stream(self.n)
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Who draws in another way must say anew what may be drawn at once.
        if "draw" in vars(cls):
            cls.foreseen = vars(cls).get("foreseen", False)
            cls.draw_batches = vars(cls).get("draw_batches", Epochs.draw_batches)

    # -- what a subclass writes ------------------------------------------------------------------

    @abc.abstractmethod
    def draw(self, size: int) -> ArrayLike:
        """The next `size` indices of this epoch, shape (size,); fewer only if none are left."""

    def update(self, indices: ArrayLike, losses: ArrayLike) -> None:
        """Take feedback: the losses, shape (batch,), of samples trained on. Ignored by default.

        It may come late and in any order; a sampler never waits for it.
        """

    def importance_weights(self, indices: ArrayLike) -> NDArray[np.float32] | None:
        """Factors for the losses of `indices`, float32 (..., batch), or None where there are none.

        With more than one axis, every row of the last one is a batch, weighted as if it came alone.
        """
        return None

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Chance that the next draw is sample i, float64 (n,); None if the sampler cannot say."""
        return None

    @property
    def samples_per_epoch(self) -> int:
        """How many draws make an epoch; n unless the strategy says otherwise."""
        return self.n

    def epoch_started(self) -> None:
        """Called at the start of every epoch but the first, before its first draw."""

    @property
    def statistics(self) -> dict[str, Any]:
        """What happened so far, by name: for people to read, not needed to go on."""
        return {"epoch": self._epoch, "drawn in this epoch": self._drawn}

    def extra_state(self) -> dict[str, Any]:
        """What :meth:`state_dict` must hold beside the position and the parameters, as JSON."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave.

        May raise at any point: the sampler is then put back as it was. Assign new arrays, do not
        write into the present ones.
        """

    def check_parameter(self, name: str, value: Any) -> None:
        """Refuse a value that the parameter's own range cannot rule out."""
        if name in self.multiples and value % self.multiples[name]:
            raise ValueError(
                f"{type(self).__name__}: {name} must be a multiple of {self.multiples[name]}, got "
                f"{value}. So many workers share a batch."
            )
        if name == "batch_size" and value > self.samples_per_epoch:
            raise ValueError(
                f"{type(self).__name__}: batch_size must not be larger than the "
                f"{self.samples_per_epoch} samples of an epoch, got {value}."
            )

    def parameter_changed(self, name: str) -> None:
        """Called after a parameter has been set; drop here what was computed from it."""
        self.forget_ahead()

    # -- what it is ------------------------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether feedback can change what it draws; a live setting may change the answer."""
        return overridden(self, "update", Sampler)

    @property
    def epochs_ahead(self) -> bool:
        """Whether epochs to come may be drawn before this one is trained on.

        Not where a strategy of somebody's own draws, or acts at the start of an epoch: it may look
        at the model.
        """
        methods = type(self).draw, type(self).epoch_started
        ours = all(method.__module__.startswith("batchlab.") for method in methods)
        return ours and not self.listens

    @property
    def weighs(self) -> bool:
        """Whether it gives importance weights."""
        return overridden(self, "importance_weights", Sampler)

    def members(self) -> tuple[Sampler, ...]:
        """The samplers that this one draws from, if any."""
        return ()

    # -- random numbers --------------------------------------------------------------------------

    def generator(self, *key: int) -> np.random.Generator:
        """A new generator: the same for the same seed, epoch and `key`."""
        return generator_of(self._entropy, self._epoch, *key)

    def uniforms(self, size: int) -> NDArray[np.float64]:
        """The next `size` numbers in [0, 1) of this epoch's stream, one per sample, float64.

        The k-th sample of an epoch always gets the k-th number, however the epoch is cut into
        batches, and after a resume too.
        """
        return self._stream.at(self._entropy, self._epoch, self._drawn, size).random(size)

    def integers(self, size: int) -> NDArray[np.int64]:
        """The next `size` numbers from 0 to n - 1, all alike, of the same stream; int64."""
        generator = self._stream.at(self._entropy, self._epoch, self._drawn, size)
        return scale(generator.bit_generator.random_raw(size), self.n)

    def permuted(self, size: int) -> NDArray[np.int64]:
        """The next `size` of this epoch's random order of all samples, int64.

        The order is a stored shuffle, 8 bytes a sample, for up to ``stored_order_limit`` samples,
        and a :class:`KeyedPermutation` in O(1) memory above.
        """
        return self._stream.order(
            self._entropy, self._epoch, self._drawn, size, self.stored_order_limit
        )

    def left_of_permutation(self) -> NDArray[np.float64]:
        """Chance of every sample to be next in :meth:`permuted`, float64 (n,)."""
        drawn = self._drawn % self.n
        chances = np.full(self.n, 1 / (self.n - drawn))
        limit = self.stored_order_limit
        chances[self._stream.order(self._entropy, self._epoch, 0, drawn, limit)] = 0.0
        return chances

    # -- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was handed out, with all settings, as plain JSON."""
        return state_of(self)

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
        restore(self, state)

    def __repr__(self) -> str:
        settings = {name: getattr(self, name) for name in parameters_of(self)}
        inside = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}(n={self.n}, {inside})"


def overridden(sampler: Sampler, method: str, of: type[Sampler]) -> bool:
    """Whether the class of `sampler` has a method of its own, and not the one of the class `of`."""
    return getattr(type(sampler), method) is not getattr(of, method)
