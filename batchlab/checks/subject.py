"""The sampler under test: makes copies, runs them, and compares what they say with what they do."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.checks.record import Epoch, Record, read_epoch
from batchlab.checks.report import Finding, fault
from batchlab.parameters import Parameter
from batchlab.validation import check_labels, check_weights

CONTRACT = ("fixed", "random", "once", "seeded", "live")


class Subject:
    """The sampler under test: makes copies, runs them, keeps what was seen."""

    def __init__(
        self, sampler: Any, labels: Any, epochs: Any, expected: Any, contract: Collection[str]
    ) -> None:
        owner, self.original = "check_sampler", sampler
        n = getattr(sampler, "n", None)
        n = int(n) if isinstance(n, (int, np.integer)) and n > 0 else None
        self.expected = self.labels = None
        if expected is not None:
            self.expected = check_weights(expected, owner, "expected")
        if labels is not None:
            self.labels = check_labels(labels, owner)
        codes = None if self.labels is None else self.labels[1]
        for name, given in (("expected", self.expected), ("labels", codes)):
            n = given.size if n is None and given is not None else n
            if given is not None and given.size != n:
                came = f"samples, got {given.size}."
                raise ValueError(f"{owner}: {name} must have one entry for each of the {n} {came}")
        self.wanted = epochs
        if epochs is not None:
            Parameter(1, low=1, name="epochs").check(epochs, owner)
        self.contract = {contract} if isinstance(contract, str) else set(contract)
        if not self.contract < set(CONTRACT) or {"fixed", "random"} <= self.contract:
            raise ValueError(
                f"{owner}: contract may hold {', '.join(CONTRACT)}, and not both fixed and random, "
                f"got {sorted(map(str, self.contract))}."
            )
        self.record = Record(n, self.labels)
        self.place = (0, -1)  # epoch and batch that came last
        self.beats = 0

    def fresh(self) -> Any:
        """A copy that knows nothing of the other copies; the sampler itself where that fails."""
        try:
            return copy.deepcopy(self.original)
        except Exception:
            return self.original

    @cached_property
    def can_be_copied(self) -> bool:
        return self.fresh() is not self.original

    @cached_property
    def seed(self) -> int | None:
        seed = getattr(self.original, "seed", None)
        return seed if isinstance(seed, int) else None

    @cached_property
    def at_most(self) -> int:
        """So many batches are no epoch any more."""
        known = [getattr(self.original, "samples_per_epoch", None), self.record.top]
        with contextlib.suppress(Exception):
            known.append(len(self.original))
        numbers = [each for each in known if isinstance(each, int)]
        return max(10**5, 4 * max(numbers)) if numbers else 10**6

    def beat(self) -> None:
        self.beats += 1
        self.place = self.place[0], self.place[1] + 1

    def read(self, sampler: Any, epoch: int = 0) -> Epoch:
        """One epoch of a copy."""
        self.place = epoch, -1
        return read_epoch(sampler, self.at_most, epoch, self.beat)

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """How often samples should come, as meant or as the sampler says."""
        own = getattr(self.original, "weights", None)
        says = self.expected is None and np.shape(own) == (self.record.n,)
        return np.asarray(own, float) if says else self.expected

    @cached_property
    def stated(self) -> Stated:
        """What the sampler said before a batch, compared with the first sample that then came."""
        runner, seen, epoch = self.fresh(), Stated(), iter(())
        if getattr(runner, "probabilities", None) is None:
            return seen
        wanted = int(np.clip(2e7 / self.record.n, 40, 400))
        while seen.count < wanted and seen.fault is None:
            chances = np.array(runner.probabilities, float)
            batch = next(epoch, None)
            if batch is None:  # the next epoch, with its own chances
                epoch = iter(runner)
                chances = np.array(runner.probabilities, float)
                batch = next(epoch)
            self.beat()
            seen.add(chances, int(np.ravel(batch)[0]), self.record.n)
        return seen


@dataclass
class Stated:
    """What ``probabilities`` said before each of some draws, and how well the draws agree."""

    count: int = 0
    constant: bool = True  # always the same chances
    certain: bool = True  # always one sample with chance 1
    first: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    possible: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(8, np.int64))
    noise: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    fault: Finding | None = None

    def add(self, chances: NDArray[np.float64], came: int, n: int) -> None:
        """Compare chances with the first sample that came then."""
        self.fault = _wrong(chances, came, n)
        if self.fault is not None:
            return
        if self.count == 0:
            self.first, self.possible = chances, chances > 0
        self.count += 1
        self.constant &= np.array_equal(self.first, chances)
        self.certain &= bool(chances.max() == 1)
        self.possible |= chances > 0
        # The share of the chances below the sample that came, plus a random part of its own, is
        # uniform if the chances are true, however they change from batch to batch.
        own = chances[came]
        below = chances[chances < own].sum() + own * (chances[:came] == own).sum()
        self.bins[min(int((below + self.noise.random() * own) * 8), 7)] += 1


def _wrong(chances: NDArray[np.float64], came: int, n: int) -> Finding | None:
    topic = "probabilities"
    if chances.shape != (n,):
        says = f"they have shape {chances.shape}, but there are {n} samples."
        return fault(f"{topic}/shape", says)
    wrong = ~(np.isfinite(chances) & (chances >= 0))
    if wrong.any():
        index = int(wrong.argmax())
        says = f"that of sample {index} is {chances[index]:.6g}, but chances lie from 0 to 1."
        return fault(f"{topic}/no chance", says, index=index)
    if abs(chances.sum() - 1) > 1e-6:
        return fault(f"{topic}/sum", f"they add up to {chances.sum():.6g}, not to 1.")
    if chances[came] == 0:
        says = f"sample {came} came although its stated probability was 0."
        return fault(f"{topic}/impossible", says, index=came)
    return None
