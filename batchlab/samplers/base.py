"""What every sampler is: epochs of index batches, live settings, feedback, exact resume."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter, Schedule, parameters_of
from batchlab.samplers.draws.permutation import KeyedPermutation, scale, shuffled


class Batches(Iterator[NDArray[np.int64]]):
    """The batches of an epoch, one by one or, where they are drawn already, many at once."""

    def __init__(self, sampler: Sampler, batches: Iterator[NDArray[np.int64]]) -> None:
        self._sampler, self._batches = sampler, batches

    def __next__(self) -> NDArray[np.int64]:
        return next(self._batches)

    def ahead(self, most: int) -> NDArray[np.int64]:
        """The batches that come next, as far as drawn ahead; int64 (at most `most`, batch).

        To be called after a batch, before anything else happens to the sampler. There may be none.
        """
        return self._sampler.cut_ahead(most)


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

    Any number setting may follow a :class:`Schedule` instead:

    >>> sampler.power = Schedule(1, 8, epochs=5)
    """

    # Above this many samples a random order is computed and not stored. Lower it to save memory.
    stored_order_limit = 2**25

    batch_size = Parameter(32, "samples per batch", low=1, slider=(1, 256), log=True)
    seed = Parameter(0, "equal seeds give equal batches", low=0, slider=(0, 99))
    drop_last = Parameter(False, "leave out a last batch that is smaller than the others")

    def __init__(self, n: int, batch_size: int, *, seed: int = 0, drop_last: bool = False) -> None:
        self.n = Parameter(1, low=1, high=2**62, name="n").check(n, type(self).__name__)
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last

    _epoch = 0
    _drawn = 0  # samples of this epoch that have been yielded
    _continue_epoch = True  # the next iter() goes on with this epoch
    _turn: object = None  # which iterator is the current one
    _stream: tuple[tuple[int, int, int], np.random.Generator] | None = None
    _block = (0, np.empty(0, np.int64))  # draws made ahead: the place of the first one, and they
    _part = _block[1]  # what was last cut from it
    _cut = False  # whether the last batch is just that
    _order: tuple[tuple[int, int], Any] | None = None  # this epoch's random order of all samples
    _schedules: Mapping[str, Schedule] = MappingProxyType({})

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

    # -- randomness ------------------------------------------------------------------------------

    def generator(self, *key: int) -> np.random.Generator:
        """A new generator: the same for the same seed, epoch and `key`."""
        # spawn_key, not seed + epoch: with a sum, seed 0 in epoch 1 would repeat seed 1 in epoch 0.
        sequence = np.random.SeedSequence(self.seed, spawn_key=(self._epoch, *key))
        return np.random.Generator(np.random.PCG64(sequence))

    def _advanced(self, size: int) -> np.random.Generator:
        """The generator of this epoch, at the present place; it is about to give `size` words."""
        key = (self.seed, self._epoch, self._drawn)
        if self._stream is None or self._stream[0] != key:
            generator = self.generator()
            generator.bit_generator.advance(self._drawn)
        else:
            generator = self._stream[1]
        self._stream = ((self.seed, self._epoch, self._drawn + size), generator)
        return generator

    def uniforms(self, size: int) -> NDArray[np.float64]:
        """The next `size` numbers in [0, 1) of this epoch's stream, one per sample, float64.

        The k-th sample of an epoch always gets the k-th number, however the epoch is cut into
        batches, and after a resume too.
        """
        return self._advanced(size).random(size)

    def integers(self, size: int) -> NDArray[np.int64]:
        """The next `size` numbers from 0 to n - 1, all alike, of the same stream; int64."""
        return scale(self._advanced(size).bit_generator.random_raw(size), self.n)

    def permuted(self, size: int) -> NDArray[np.int64]:
        """The next `size` of this epoch's random order of all samples, int64.

        The order is a stored shuffle, 8 bytes a sample, for up to ``stored_order_limit`` samples,
        and a :class:`KeyedPermutation` in O(1) memory above.
        """
        return self.ahead(size, self._next_of_permutation)

    def _next_of_permutation(self, size: int) -> NDArray[np.int64]:
        if self.n > self.stored_order_limit:
            return self._keyed(self._drawn, size)
        return self._stored_order()[self._drawn :]

    def left_of_permutation(self) -> NDArray[np.float64]:
        """Chance of every sample to be next in :meth:`permuted`, float64 (n,)."""
        drawn = self._drawn % self.n
        chances = np.full(self.n, 1 / (self.n - drawn))
        big = self.n > self.stored_order_limit
        chances[self._keyed(0, drawn) if big else self._stored_order()[:drawn]] = 0.0
        return chances

    def _stored_order(self) -> NDArray[np.int64]:
        key = (self.seed, self._epoch)
        if self._order is None or self._order[0] != key:
            self._order = key, shuffled(self.n, self.generator())
        return self._order[1]

    def _keyed(self, start: int, size: int) -> NDArray[np.int64]:
        keys = self.generator().bit_generator.random_raw(8)
        return KeyedPermutation(self.n, keys)(np.arange(start, min(start + size, self.n)))

    def ahead(
        self, size: int, make: Callable[[int], NDArray[np.int64]], at_least: int = 0
    ) -> NDArray[np.int64]:
        """The next `size` draws, from a block that ``make(count)`` draws at once.

        Only for strategies whose k-th draw depends on nothing but the settings; setting one drops
        what was drawn ahead. Where :meth:`draw` returns it unchanged, it may be asked once for
        several batches. Blocks grow, so that neither the first batch nor a change waits; a
        strategy that knows how much will be wanted says so with `at_least`.
        """
        start, block = self._block
        place = self._drawn - start
        part = block[place : place + size]
        if part.size < size:
            left = self.samples_per_epoch - self._drawn
            block = make(max(size, min(max(2 * block.size, at_least), 2**16, left)))
            self._block = self._drawn, block
            part = block[:size]
        self._part = part
        return part

    # -- the epoch -------------------------------------------------------------------------------

    @property
    def samples_per_epoch(self) -> int:
        """How many draws make an epoch; n unless the strategy says otherwise."""
        return self.n

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being drawn, from 0."""
        return self._epoch

    @property
    def position(self) -> int:
        """How many samples of this epoch have been drawn."""
        return self._drawn

    def __len__(self) -> int:
        """Batches per epoch with the present settings."""
        whole, rest = divmod(self.samples_per_epoch, self.batch_size)
        return whole + bool(rest and not self.drop_last)

    @property
    def progress(self) -> float:
        """How many epochs have been drawn, fractions included: the clock of schedules."""
        return self._epoch + self._drawn / self.samples_per_epoch if self._drawn else self._epoch

    def __iter__(self) -> Batches:
        if not self._continue_epoch or self._next_size() == 0:
            self._start_epoch()
        self._continue_epoch = False
        self._turn = turn = object()
        return Batches(self, self._batches(turn))

    def _start_epoch(self) -> None:
        self._epoch += 1
        self._drawn = 0
        self._block = Sampler._block
        self.epoch_started()

    def epoch_started(self) -> None:
        """Called at the start of every epoch but the first, before its first draw."""

    def _batches(self, turn: object) -> Iterator[NDArray[np.int64]]:
        while True:
            if turn is not self._turn:
                raise RuntimeError(
                    f"{type(self).__name__}: this epoch was left when another one was started or a "
                    "state was loaded. Use the newest iterator, or one sampler per loop."
                )
            if self._schedules:
                self._follow_schedules()
            size = self._next_size()
            if size == 0:
                return
            indices = self._drawn_now(size)
            if indices.size == 0:  # a live change left nothing to draw
                return
            yield indices

    def _drawn_now(self, size: int) -> NDArray[np.int64]:
        indices = np.asarray(self.draw(size), dtype=np.int64)
        self._cut = indices is self._part
        self._drawn += indices.size
        return indices

    def cut_ahead(self, most: int) -> NDArray[np.int64]:
        """See :meth:`Batches.ahead`."""
        start, block = self._block
        place, size = self._drawn - start, self.batch_size
        count = 0
        if self._cut and not self._schedules:
            count = max(min(most, (block.size - place) // size), 0)
        self._drawn += count * size
        return block[place : place + count * size].reshape(count, size)

    def batches_ahead(self, most: int) -> NDArray[np.int64]:
        """The batches that come next, as far as drawn ahead; int64 (at most `most`, batch)."""
        return self.cut_ahead(most)

    def continue_epoch(self) -> None:
        """The next ``iter`` goes on with this epoch."""
        self._continue_epoch, self._turn = True, None

    def _follow_schedules(self) -> None:
        declared = parameters_of(self)
        for name, schedule in self._schedules.items():
            value = declared[name].scheduled(schedule, self)
            if value != getattr(self, name):
                declared[name].assign(self, value)

    def take(self, size: int) -> NDArray[np.int64]:
        """The next `size` samples, int64 (size,), whatever the batch size.

        Where the epoch ends, the next one is started. This is how one sampler draws from another.
        """
        self._turn = None
        if self._schedules:
            self._follow_schedules()
        parts: list[NDArray[np.int64]] = []
        while size > 0:
            left = self.samples_per_epoch - self._drawn
            part = self._drawn_now(min(size, left)) if left > 0 else np.empty(0, np.int64)
            if part.size == 0:
                self._start_epoch()
            parts.append(part)
            size -= part.size
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

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
        self._block = Sampler._block

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was yielded, with all settings, as plain JSON."""
        return {
            "sampler": type(self).__name__,
            "n": self.n,
            "epoch": self._epoch,
            "drawn": self._drawn,
            "parameters": {name: getattr(self, name) for name in parameters_of(self)},
            "schedules": {name: plan.as_dict() for name, plan in self._schedules.items()},
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
        before = [(sampler, dict(vars(sampler))) for sampler in self._family()]
        try:
            self._take_state(state)
        except Exception as error:
            for sampler, attributes in before:
                vars(sampler).clear()
                vars(sampler).update(attributes)
            reason = f"it has no {error}." if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{type(self).__name__}: cannot load this state: {reason}") from error

    def members(self) -> tuple[Sampler, ...]:
        """The samplers that this one draws from, if any."""
        return ()

    def _family(self) -> list[Sampler]:
        return [self, *(each for member in self.members() for each in member._family())]

    def _take_state(self, state: dict[str, Any]) -> None:
        name = type(self).__name__
        if not isinstance(state, dict):
            raise TypeError(f"a state is a dict, got {type(state).__name__}.")
        for key, own in (("sampler", name), ("n", self.n)):
            if state[key] != own:
                raise ValueError(
                    f"it belongs to another sampler: its {key} is {state[key]!r}, here it is "
                    f"{own!r}. Build the sampler as it was when the state was taken."
                )
        declared = parameters_of(self)
        if set(state["parameters"]) != set(declared):
            odd = sorted(set(state["parameters"]) ^ set(declared))
            raise ValueError(f"its parameters differ from the sampler's in {odd}.")
        for key, value in state["parameters"].items():
            vars(self)[key] = declared[key].check(value)
            self.parameter_changed(key)
        self._schedules = {key: Schedule(**plan) for key, plan in state["schedules"].items()}
        place = {key: Parameter(0, low=0, name=key) for key in ("epoch", "drawn")}
        self._epoch, self._drawn = (place[key].check(state[key]) for key in place)
        self._continue_epoch, self._turn, self._block = True, None, Sampler._block
        self.load_extra_state(state)
        # Last, because the limits may depend on what was loaded.
        for key in declared:
            self.check_parameter(key, getattr(self, key))
        if self._drawn > max(self.n, self.samples_per_epoch):
            raise ValueError(f"it has drawn {self._drawn} of {self.samples_per_epoch} samples.")
        if not set(self._schedules) <= set(declared):
            raise ValueError(f"its schedules are for {sorted(self._schedules)}.")

    def __repr__(self) -> str:
        settings = {name: getattr(self, name) for name in parameters_of(self)}
        inside = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        return f"{type(self).__name__}(n={self.n}, {inside})"
