"""Strategies that learn from the losses: what was hard comes again sooner."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter, Schedule
from batchlab.samplers.base import Sampler
from batchlab.samplers.draws.state import decode_array, encode_array
from batchlab.samplers.draws.sumtree import SumTree
from batchlab.validation import check_indices, check_losses

_REPLAY = "Schaul et al. 2015, arXiv:1511.05952"
_LARGEST = float(np.finfo(np.float32).max)
_AT_ONCE = 2**13  # draws expected between two updates, at most


class FeedbackSampler(Sampler):
    """Base of the strategies that choose by the latest known loss of every sample.

    The first epoch shows every sample once, in random order, so that each has a loss of its own
    before any is preferred. A sample whose loss was never reported counts as the hardest one. Losses
    are kept as float32; one beyond its range counts as its largest number. A state holds them and
    when they were reported: 50 to 155 MB at n = 10**7, which take some seconds.
    """

    def __init__(self, n: int, batch_size: int, *, seed: int = 0, drop_last: bool = False) -> None:
        super().__init__(n, batch_size, seed=seed, drop_last=drop_last)
        self._losses = np.full(self.n, np.nan, np.float32)
        self._measured_at = np.full(self.n, -1, np.int64)  # in draws since the beginning

    @property
    def losses(self) -> NDArray[np.float32]:
        """The latest loss of every sample, float32 (n,); NaN where none was reported."""
        return self._losses.copy()

    @property
    def staleness(self) -> NDArray[np.float64]:
        """How many epochs ago every loss was reported, float64 (n,); infinite where none was."""
        age = (self._draws - self._measured_at) / self.samples_per_epoch
        return np.where(self._measured_at < 0, np.inf, age)

    @property
    def _draws(self) -> int:
        return self._epoch * self.samples_per_epoch + self._drawn

    @property
    def statistics(self) -> dict[str, Any]:
        known = self.staleness[self._measured_at >= 0]
        return {
            **super().statistics,
            "never reported": self.n - known.size,
            "stale for more than an epoch": int((known > 1).sum()),
            "median staleness in epochs": round(float(np.median(known)), 3) if known.size else None,
        }

    def update(self, indices: ArrayLike, losses: ArrayLike) -> None:
        """Take the losses, float (batch,), of the samples `indices`, int (batch,).

        Raises
        ------
        TypeError, ValueError, IndexError
            If the shapes differ, an index is out of range or a loss is not finite. Nothing changes.
        """
        checked, values = check_losses(indices, losses, self.n, type(self).__name__)
        self._keep(checked, values, self._draws)
        self.losses_changed(checked)

    def _keep(self, indices: NDArray[np.int64], losses: NDArray[Any], reported_at: Any) -> None:
        # What float32 cannot hold counts as the largest number that it can.
        self._losses[indices] = losses.clip(-_LARGEST, _LARGEST)
        self._measured_at[indices] = reported_at

    def losses_changed(self, indices: NDArray[np.int64]) -> None:
        """Called after the losses of the samples `indices`, (batch,), were updated."""

    @property
    def _warming_up(self) -> bool:
        return self._epoch == 0 and self._drawn < self.n

    def extra_state(self) -> dict[str, Any]:
        return {
            "losses": encode_array(self._losses),
            "measured_at": encode_array(self._measured_at),
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self._losses = decode_array(state["losses"], like=self._losses)
        self._measured_at = decode_array(state["measured_at"], like=self._measured_at)


class PrioritizedSampler(FeedbackSampler):
    """In proportion to a power of the latest loss, with the weights that undo the bias.

    With ``p_i = |loss_i| + epsilon``, sample i is drawn with chance ``P(i) = p_i**alpha / sum
    p**alpha``, with replacement, and its loss is to be scaled by ``w_i = (n * P(i))**-beta``,
    divided by the largest of its batch: proportional prioritized replay (Schaul et al., 2015,
    arXiv:1511.05952). Every sample is seen once, in random order, before that begins; a sample
    whose loss was never reported counts as much as the hardest one so far. A batch, or an update,
    costs O(batch * log n); with ``train(lag=1)`` and XLA both are done inside the compiled function.

    Parameters
    ----------
    n, batch_size, seed, drop_last
        See :class:`Sampler`.
    alpha : float or Schedule, default 0.6
        0: all samples alike; 1: in proportion to the loss.
    beta : float or Schedule, default 0.4
        0: no correction; 1: the full correction. It is usual to end at 1.
    epsilon : float, default 1e-6
        Keeps samples of loss 0 in the game.

    Examples
    --------
    >>> sampler = PrioritizedSampler(n=4, batch_size=4, alpha=1.0, beta=1.0)
    >>> sorted(next(iter(sampler)).tolist())
    [0, 1, 2, 3]
    >>> sampler.update([0, 1, 2, 3], [1.0, 1.0, 2.0, 4.0])
    >>> sampler.probabilities.round(3).tolist()
    [0.125, 0.125, 0.25, 0.5]
    >>> batch = next(iter(sampler))  # the second epoch
    >>> sampler.importance_weights([0, 2, 3]).round(3).tolist()
    [1.0, 0.5, 0.25]
    """

    foreseen = True  # until losses come
    alpha = Parameter(
        0.6, "0: all samples alike, 1: in proportion to the loss", low=0, high=3, source=_REPLAY
    )
    beta = Parameter(0.4, "how much of the bias the weights undo", low=0, high=1, source=_REPLAY)
    epsilon = Parameter(
        1e-6, "keeps samples of loss 0 in the game", low=1e-12, slider=(1e-6, 1.0), log=True
    )

    def __init__(
        self,
        n: int,
        batch_size: int,
        alpha: float | Schedule = 0.6,
        beta: float | Schedule = 0.4,
        *,
        epsilon: float | Schedule = 1e-6,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self._tree: SumTree | None = None  # built when first drawn from
        self._hardest = 0.0  # the largest loss ever reported, which unreported samples have
        self._updated_at = 0  # in draws since the beginning
        self._changes = 0  # of the priorities, but for what `drawn_elsewhere` told
        super().__init__(n, batch_size, seed=seed, drop_last=drop_last)
        self.alpha = alpha
        self.beta = beta
        self.epsilon = epsilon

    def parameter_changed(self, name: str) -> None:
        super().parameter_changed(name)
        if name in {"alpha", "epsilon"}:
            self._tree = None
            self._changes += 1

    def _priorities(self, losses: NDArray[np.float32]) -> NDArray[np.float64]:
        return (np.abs(losses.astype(np.float64)) + self.epsilon) ** self.alpha

    def _new_tree(self) -> SumTree:
        losses = np.where(np.isnan(self._losses), np.float32(self._hardest), self._losses)
        return SumTree(self._priorities(losses))

    def losses_changed(self, indices: NDArray[np.int64]) -> None:
        hardest = float(np.abs(self._losses[indices]).max())
        rises, self._hardest = hardest > self._hardest, max(hardest, self._hardest)
        if self._tree is not None:
            if rises:  # those that were never reported count as much
                unknown = np.flatnonzero(np.isnan(self._losses))
                self._tree.set(unknown, self._priorities(np.full(unknown.size, hardest)))
            self._tree.set(indices, self._priorities(self._losses[indices]))
        # As many draws as came between two updates are likely to come before the next one, and a
        # block of them costs little more than a batch.
        self.forget_ahead(min(self._draws - self._updated_at, _AT_ONCE))
        self._updated_at = self._draws
        self._changes += 1

    def draw(self, size: int) -> NDArray[np.int64]:
        if self._warming_up:
            return self.permuted(size)
        if self._tree is None:
            self._tree = self._new_tree()
        return self._tree.find(self.uniforms(size))

    # -- for a compiled loop that keeps the priorities itself, and draws by them ------------------

    def undrawn(self, most: int, ahead: int = 0) -> list[tuple[NDArray[Any], ...]]:
        """The next batches of this epoch, as far as they do not depend on the losses before them.

        Or the first batches of the epoch that will come so many epochs `ahead`.

        Nothing moves: :meth:`drawn_elsewhere` is to be told what became of them.

        Returns
        -------
        list of tuples
            At most `most` batches, a smaller last one apart. While every sample is shown once,
            ``(indices,)``, int64 (steps, batch). Then ``(numbers, betas)``: what the samples are
            drawn by, float64 (steps, batch) in [0, 1), and float64 (steps,). Empty where alpha,
            epsilon or the batch size follow a schedule, or a loss is not known yet.
        """
        size, epoch, begin = self.batch_size, self._epoch + ahead, 0 if ahead else self._drawn
        known = not ahead if self._warming_up else not np.isnan(self._losses).any()
        if not known or self._schedules.keys() - {"beta"}:
            return []
        left = self.samples_per_epoch - begin
        steps = min(most, left // size)
        rest = 0 if self.drop_last or steps == most else left % size
        count = steps * size + rest
        if self._warming_up:
            draws = self.permuted(count)
        else:
            draws = self._stream.at(self._entropy, epoch, begin, count).random(count)
        full, last = np.split(draws, [steps * size])
        parts: list[tuple[NDArray[Any], ...]] = [(full.reshape(steps, size),), (last[np.newaxis],)]
        if not self._warming_up:
            progress = epoch + (begin + size * np.arange(steps + 1)) / self.n
            beta = self._schedules.get("beta", lambda progress: self.beta)
            betas = np.split(np.array([beta(epochs) for epochs in progress], float), [steps])
            parts = [(*part, its_betas) for part, its_betas in zip(parts, betas)]
        return [part for part in parts if part[0].size]

    def drawn_elsewhere(self, batches: NDArray[np.int64], losses: NDArray[np.float32]) -> None:
        """Count `batches` as drawn, and each one's losses as reported before the next was drawn.

        Both are of shape (steps, batch), the batches those that :meth:`undrawn` is about, in turn.
        """
        size = batches.shape[1]
        if self._drawn + size > self.samples_per_epoch:
            self._start_epoch()
        ends = self._draws + size * np.arange(1, len(batches) + 1)
        self._drawn += batches.size - size
        self._follow_schedules()  # to where the last batch saw them
        self._drawn += size
        self._goes_on, self._updated_at = False, self._draws
        self._keep(batches.reshape(-1), losses.reshape(-1), np.repeat(ends, size))
        self._hardest = max(self._hardest, float(np.abs(losses).max()))
        self._tree = None  # to be grown anew where it is drawn from here
        self.forget_ahead()

    @property
    def heard(self) -> tuple[int, int]:
        """What the priorities depend on: another value where they may be others."""
        return self._changes, self._draws

    def importance_weights(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Factors for the losses of `indices`, float32 (..., batch), the largest of a batch 1."""
        batches = np.asarray(indices)
        check_indices(batches.reshape(-1), self.n, type(self).__name__)
        if self._epoch == 0:  # these draws were uniform
            return np.ones(batches.shape, np.float32)
        tree = self._tree or self._new_tree()
        weights = (tree.weights[batches] * (self.n / tree.total)) ** -self.beta
        return (weights / weights.max(axis=-1, keepdims=True)).astype(np.float32)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        if self._warming_up:
            return self.left_of_permutation()
        tree = self._tree or self._new_tree()
        return tree.weights / tree.total

    def extra_state(self) -> dict[str, Any]:
        return {**super().extra_state(), "hardest": self._hardest}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        self._tree, self._hardest = None, float(state["hardest"])
        self._changes += 1


class RankSampler(FeedbackSampler):
    """By the rank of the latest loss, with exponentially falling chances.

    The sample with the i-th largest loss (i from 0) is drawn with chance ``~ pressure**(-i / n)``:
    the hardest one about `pressure` times as often as the easiest one. This is online batch
    selection (Loshchilov & Hutter, 2015, arXiv:1511.06343), which lets the pressure fall
    exponentially. Ranks need no tree and do not care about the scale of the loss. Draws are with
    replacement; every sample is seen once, in random order, before ranks are used.

    Parameters
    ----------
    n, batch_size, seed, drop_last
        See :class:`Sampler`.
    pressure : float or Schedule, default 100.0
        1: all samples alike.
    resort : float, default 0.1
        Epochs from one sorting of the losses to the next; a sorting costs O(n log n).

    Examples
    --------
    >>> sampler = RankSampler(n=4, batch_size=4, pressure=16.0)
    >>> _ = next(iter(sampler))
    >>> sampler.update([0, 1, 2, 3], [0.1, 0.2, 0.3, 0.4])
    >>> sampler.probabilities.round(3).tolist()
    [0.067, 0.133, 0.267, 0.533]
    """

    pressure = Parameter(
        100.0,
        "how often the hardest for one of the easiest",
        low=1,
        slider=(1, 1000),
        log=True,
        source="Loshchilov & Hutter 2015, arXiv:1511.06343",
    )
    resort = Parameter(0.1, "epochs from one sorting to the next", low=1e-6, slider=(0.01, 2))

    def __init__(
        self,
        n: int,
        batch_size: int,
        pressure: float | Schedule = 100.0,
        *,
        resort: float = 0.1,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(n, batch_size, seed=seed, drop_last=drop_last)
        self.pressure = pressure
        self.resort = resort
        self._ranking = np.arange(self.n)  # the hardest first
        self._ranked_at = -1  # in draws since the beginning

    @property
    def _resorts_at(self) -> float:
        return self._ranked_at + self.resort * self.n

    def _present_ranking(self) -> NDArray[np.int64]:
        if self.n <= self._ranked_at and self._draws < self._resorts_at:
            return self._ranking
        return _hardest_first(self._losses)

    def draw(self, size: int) -> NDArray[np.int64]:
        if self._warming_up:
            return self.permuted(size)
        # The sum of a geometric series, solved for its number of terms.
        log_ratio = -np.log(self.pressure) / self.n
        uniforms = self.uniforms(size)
        if log_ratio == 0:
            ranks = uniforms * self.n
        else:
            ranks = np.log1p(uniforms * np.expm1(log_ratio * self.n)) / log_ratio
        ranking = self._present_ranking()
        if ranking is not self._ranking:
            self._ranking, self._ranked_at = ranking, self._draws
        return ranking[np.minimum(ranks.astype(np.int64), self.n - 1)]

    def draw_batches(self, count: int, size: int) -> NDArray[np.int64]:
        if not self._warming_up and self.n <= self._ranked_at:  # as many as this ranking is for
            starts = self._draws + size * np.arange(count)
            count = max(int((starts < self._resorts_at).sum()), 1)
        elif not self._warming_up:
            count = 1
        return self.draw(count * size).reshape(count, size)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        if self._warming_up:
            return self.left_of_permutation()
        chances = np.empty(self.n)
        chances[self._present_ranking()] = self.pressure ** -(np.arange(self.n) / self.n)
        return chances / chances.sum()

    def extra_state(self) -> dict[str, Any]:
        ranking = encode_array(self._ranking)
        return {**super().extra_state(), "ranking": ranking, "ranked_at": self._ranked_at}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state)
        ranking = decode_array(state["ranking"], like=self._ranking)
        if not np.array_equal(np.sort(ranking), np.arange(self.n)):
            raise ValueError("its ranking does not name every sample once.")
        self._ranking, self._ranked_at = ranking, int(state["ranked_at"])


def _hardest_first(losses: NDArray[np.float32]) -> NDArray[np.int64]:
    """The samples by falling loss, unreported ones first; of equals, the lower number first.

    As a stable sort would give them, but made by sorting words: the loss above, the number below.
    """
    hardness = np.where(np.isnan(losses), np.float32(np.inf), losses) + np.float32(0)  # no -0.0
    bits = (-hardness).view(np.uint32)
    # Floats as whole numbers of the same order: of negative ones all bits turn, of others the first.
    bits = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    words = bits.astype(np.uint64) << np.uint64(32) | np.arange(losses.size, dtype=np.uint64)
    words.sort()
    return (words & np.uint64(0xFFFFFFFF)).view(np.int64)
