"""Easy samples first: which part of the data is open, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import SHAPES, Parameter
from batchlab.samplers.base import Sampler, overridden
from batchlab.samplers.draws.permutation import shuffled, swap_in_turn
from batchlab.samplers.draws.state import decode_array, encode_array
from batchlab.samplers.draws.stream import generator_of
from batchlab.validation import check_finite, check_losses


class _Pacing(Parameter):
    """A pacing by name, or a function of the epochs gone by, which then counts as "custom"."""

    def __set__(self, instance: CurriculumSampler, value: Any) -> None:
        if callable(value):
            instance.custom_pacing = value
            value = "custom"
        super().__set__(instance, value)


class CurriculumSampler(Sampler):
    """Random batches from the open part of the data, which grows from the easy to the hard.

    At time t, in epochs, the open part is the easiest ``g(t) * n`` samples, with
    ``g(t) = start + (1 - start) * shape(t / pacing_epochs)`` and then 1 (Bengio et al., 2009; the
    shapes of :class:`Schedule`). It is dealt without replacement, and shuffled anew whenever more is
    opened: a batch is a random part of all that is open, and once that is everything an epoch is a
    plain random permutation.

    Whether the order matters at all is what ``order="random"`` tells: the same pacing over a random
    order. Wu, Dyer & Neyshabur (2020, arXiv:2012.03107) found it to do as well in most cases.

    Parameters
    ----------
    difficulty : array_like of float, shape (n,)
        Scores, larger for harder; ties are broken at random. May be assigned anew at any time.
    batch_size, seed, drop_last
        See :class:`Sampler`.
    pacing : {"linear", "root", "step", "exponential"} or callable, default "linear"
        A callable takes the time in epochs and returns the open share, above 0 and up to 1.
    order : {"easy-first", "hard-first", "random"}
        What comes first.
    start : float, default 0.2
        The share that is open at the beginning.
    pacing_epochs : float, default 5.0
        When everything is open.
    self_paced : bool, default False
        Whether reported losses replace the scores (self-paced learning, Kumar et al., 2010). They
        are sorted at the start of every epoch.

    Examples
    --------
    >>> sampler = CurriculumSampler(np.arange(100), batch_size=10, start=0.2, pacing_epochs=2)
    >>> [int(batch.max()) for batch in sampler][:2], round(sampler.open_share, 2)
    ([18, 22], 0.6)
    """

    pacing = _Pacing(
        "linear",
        "how the open part grows",
        choices=(*SHAPES, "custom"),
        source="Wu et al. 2020, arXiv:2012.03107",
    )
    order = Parameter(
        "easy-first", "what comes first", choices=("easy-first", "hard-first", "random")
    )
    start = Parameter(0.2, "share of the data that is open at first", low=1e-9, high=1)
    pacing_epochs = Parameter(5.0, "epochs until all is open", low=1e-9, slider=(0.5, 20))
    self_paced = Parameter(
        False, "whether the losses are the difficulty", source="Kumar et al. 2010"
    )

    def __init__(
        self,
        difficulty: ArrayLike,
        batch_size: int,
        pacing: str | Callable[[float], float] = "linear",
        *,
        order: str = "easy-first",
        start: float = 0.2,
        pacing_epochs: float = 5.0,
        self_paced: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self._difficulty = check_finite(difficulty, type(self).__name__, "difficulty")
        self.custom_pacing: Callable[[float], float] | None = None
        self._cards: NDArray[np.int64] | None = None  # open: dealt ones, then the others
        self._dealt = self._open = 0
        super().__init__(self._difficulty.size, batch_size, seed=seed, drop_last=drop_last)
        self.order = order
        self.start = start
        self.pacing_epochs = pacing_epochs
        self.self_paced = self_paced
        self.pacing = pacing

    @property
    def difficulty(self) -> NDArray[np.float64]:
        """The scores, a copy, float64 (n,); assign a whole new array to change them."""
        return self._difficulty.copy()

    @difficulty.setter
    def difficulty(self, difficulty: ArrayLike) -> None:
        name = type(self).__name__
        self._difficulty = check_finite(difficulty, name, "difficulty", length=self.n)
        self._cards = None

    def update(self, indices: ArrayLike, losses: ArrayLike) -> None:
        """Where `self_paced`, let the losses, (batch,), of `indices` be their difficulty."""
        checked, values = check_losses(indices, losses, self.n, type(self).__name__)
        if self.self_paced:
            self._difficulty[checked] = values

    @property
    def listens(self) -> bool:
        """Whether losses replace the scores: as long as it is `self_paced`."""
        return self.self_paced or overridden(self, "update", CurriculumSampler)

    def check_parameter(self, name: str, value: Any) -> None:
        super().check_parameter(name, value)
        if name == "pacing" and value == "custom" and self.custom_pacing is None:
            raise ValueError(
                f"{type(self).__name__}: pacing 'custom' needs its function. Pass it as pacing=."
            )

    def parameter_changed(self, name: str) -> None:
        super().parameter_changed(name)
        if name in {"order", "seed"}:
            self._cards = None

    @property
    def open_share(self) -> float:
        """Which share of the data is open for the next batch."""
        return self._share_at(self.progress)

    def _share_at(self, progress: float) -> float:
        if self.pacing != "custom":
            way = SHAPES[self.pacing](min(progress / self.pacing_epochs, 1.0))
            return self.start + (1.0 - self.start) * way
        share = self.custom_pacing(progress)
        if not 0 < share <= 1:
            raise ValueError(
                f"{type(self).__name__}: pacing must return a share above 0 and up to 1, got "
                f"{share!r} at {progress:g} epochs."
            )
        return float(share)

    def _sorted(self) -> NDArray[np.int64]:
        ties = shuffled(self.n, generator_of(self._entropy, 0, 0, 0))
        if self.order == "random":
            return ties
        sign = -1 if self.order == "hard-first" else 1
        return ties[np.argsort(sign * self._difficulty[ties], kind="stable")]

    def _number_open(self, progress: float) -> int:
        return max(1, round(self._share_at(progress) * self.n))

    def _opened(self) -> tuple[NDArray[np.int64], int, int]:
        """The cards, how many of them are dealt, and how many open for the next batch."""
        wanted = self._number_open(self.progress)
        if self._cards is None or wanted < self._open:
            return self._sorted(), 0, wanted
        # Dealing on where more is open would give the newest alone, as the older ones are used up.
        anew = wanted > self._open or self._dealt >= wanted or self._drawn >= self.n
        return self._cards, 0 if anew else self._dealt, wanted

    def epoch_started(self) -> None:
        self._dealt = 0
        if self.self_paced:
            self._cards = None

    def draw(self, size: int) -> NDArray[np.int64]:
        return self._deal(1, size)[0]

    def draw_batches(self, count: int, size: int) -> NDArray[np.int64]:
        return self._deal(count, size)

    def _deal(self, count: int, size: int) -> NDArray[np.int64]:
        self._cards, dealt, self._open = self._opened()
        rounds = [(dealt, self._open), *self._rounds_ahead(count - 1, size, dealt)]
        dealt_before, open_ = np.array(rounds).T[:, :, np.newaxis]
        # A Fisher-Yates shuffle that stops after a batch and goes on in the next one.
        places = (dealt_before + np.arange(size)) % open_
        uniforms = self.uniforms(places.size).reshape(places.shape)
        others = places + (uniforms * (open_ - places)).astype(np.int64)
        self._dealt, self._open = int(places[-1, -1]) + 1, rounds[-1][1]
        return swap_in_turn(self._cards, places, others)

    def _rounds_ahead(self, count: int, size: int, dealt: int) -> Iterator[tuple[int, int]]:
        """How many are dealt and how many open for each batch, at most `count`, after the next one.

        Up to where fewer are open than before, so that the cards are sorted anew, or pacing fails.
        """
        open_ = self._open
        for place in range(self.position + size, self.position + (count + 1) * size, size):
            try:
                wanted = self._number_open(self.epoch + place / self.n)
            except Exception:  # to be raised when its batch is due
                return
            if wanted < open_:
                return
            dealt = 0 if wanted > open_ else dealt + size
            open_ = wanted
            yield dealt, open_

    @property
    def probabilities(self) -> NDArray[np.float64]:
        cards, dealt, wanted = self._opened()
        chances = np.zeros(self.n)
        chances[cards[dealt:wanted]] = 1 / (wanted - dealt)
        return chances

    @property
    def statistics(self) -> dict[str, Any]:
        return {**super().statistics, "open share": self.open_share}

    def extra_state(self) -> dict[str, Any]:
        return {
            "difficulty": encode_array(self._difficulty),
            "cards": None if self._cards is None else encode_array(self._cards),
            "dealt": self._dealt,
            "open": self._open,
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        difficulty = decode_array(state["difficulty"], like=self._difficulty)
        self._difficulty = check_finite(difficulty, type(self).__name__, "difficulty")
        self._cards = None
        if state["cards"] is not None:
            self._cards = decode_array(state["cards"], like=np.arange(self.n))
            if not np.array_equal(np.sort(self._cards), np.arange(self.n)):
                raise ValueError("its cards do not name every sample once.")
        place = {name: Parameter(0, low=0, high=self.n, name=name) for name in ("dealt", "open")}
        self._dealt, self._open = (place[name].check(state[name]) for name in place)
