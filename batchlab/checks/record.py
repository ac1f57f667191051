"""What came, epoch by epoch, in the memory of a few epochs; and what its order says."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, chdtr, chdtrc

from batchlab.checks.report import Finding, fault, note, passed, warning

FALSE_ALARM = 1e-6  # of each statistical test, for batches without fault
_FEW = 13  # 13! orders: the chance that two of 50 epochs are alike is below FALSE_ALARM


class Unusable(Exception):
    """The batches cannot be read at all; its argument is the finding that says why."""


class Epoch(NamedTuple):
    """One epoch: all indices, int64 (samples,), and where each batch ends, int64 (batches,)."""

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    single: bool = False  # whether indices came one by one

    @property
    def sizes(self) -> NDArray[np.int64]:
        return np.diff(self.ends, prepend=0)


def read_epoch(
    batches: Any, at_most: int, epoch: int = 0, beat: Callable[[], None] = lambda: None
) -> Epoch:
    """One epoch of index batches, or of single indices, which count as one batch."""
    order, ends = array("q"), array("q")
    single, before = False, None
    for number, batch in enumerate(batches):
        beat()
        place = {"epoch": epoch, "batch": number}
        if number == at_most:
            says = f"the epoch did not end after {at_most} batches. Give it an end."
            raise Unusable(fault("batches/endless", says, **place))
        values = np.array(batch)  # a copy: the sampler may use its buffer again
        if values.size and (values.dtype.kind not in "iu" or values.ndim > 1):
            says = (
                f"batch {number} has shape {values.shape} and dtype {values.dtype}, but a batch is "
                "a one-dimensional array of whole numbers, such as np.array([4, 0, 7])."
            )
            raise Unusable(fault("batches/unreadable", says, **place))
        if before is not None and not np.array_equal(*before):
            says = "a batch changes after it was handed out: yield a new array each time."
            raise Unusable(fault("batches/reused", says, epoch=epoch, batch=number - 1))
        before = None if values.ndim == 0 else (values, batch)
        single |= values.ndim == 0
        order.frombytes(values.astype(np.int64).tobytes())
        ends.append(len(order))
    whole = np.frombuffer(order, np.int64) if order else np.empty(0, np.int64)
    cuts = np.array([whole.size]) if single else np.array(ends, np.int64)
    return Epoch(whole, cuts, single)


class Record:
    """What came in the epochs so far: counts, the first two orders, a digest of the others."""

    def __init__(
        self, n: int | None, labels: tuple[NDArray[Any], NDArray[np.int64]] | None = None
    ) -> None:
        self.top, self.labels = n, labels
        self.visits = np.zeros(n or 0, np.int64)
        self.first: list[Epoch] = []  # the first two epochs
        self.count = 0  # epochs
        self.covered = 0  # different samples of each epoch, added up
        self.exact = 0  # epochs without repeats
        self.permutes = True  # no epoch shows a sample twice, nor leaves out one of the first
        self.repeated = np.zeros(2, np.int64)  # within batches, within epochs
        self.shared = np.zeros(2, np.int64)  # samples of a batch that are in the next, next but one
        self.replay: tuple[int, int] | None = None  # an epoch, and the earlier one it repeats
        self.constant = True  # every epoch is the first one again
        self.steady = np.empty(0, bool)  # places of an epoch that always held one sample
        self.sizes: set[int] = set()  # of all batches but the last of an epoch
        self.lasts: set[int] = set()
        self.samples: set[int] = set()  # of an epoch
        self.batches = self.of_one_class = 0
        self._digests: dict[bytes, int] = {}

    @property
    def n(self) -> int:
        """Number of samples: as stated, else from the largest index."""
        return self.visits.size

    @property
    def share(self) -> float:
        """Share of the samples that an epoch shows, on average."""
        return self.covered / self.count / self.n

    def add(self, epoch: Epoch) -> None:
        """Take in the next epoch."""
        self._check(epoch)
        order, sizes, distinct = epoch.order, epoch.sizes, np.unique(epoch.order)
        if self.count == 0:
            self._distinct, self.steady = distinct, np.ones(order.size, bool)
        if self.count < 2:
            self.first.append(epoch)
        self.permutes &= distinct.size == order.size and np.array_equal(distinct, self._distinct)
        counts = np.bincount(order, minlength=self.n)
        counts[: self.n] += self.visits
        self.visits = counts
        self.covered += distinct.size
        earlier = self._digests.setdefault(hashlib.sha256(order).digest(), self.count)
        if earlier != self.count and self.replay is None:
            self.replay = self.count, earlier
        self.constant &= earlier == 0
        both = min(order.size, self.steady.size)
        self.steady = self.steady[:both] & (order[:both] == self.first[0].order[:both])
        self.exact += distinct.size == order.size
        if distinct.size < order.size:
            self._count_repeats(epoch, distinct.size)
        self.sizes |= set(sizes[:-1].tolist())
        self.lasts.add(int(sizes[-1]))
        self.samples.add(order.size)
        self.batches += sizes.size
        if self.labels is not None:
            codes, starts = self.labels[1][order], epoch.ends - sizes
            alike = np.maximum.reduceat(codes, starts) == np.minimum.reduceat(codes, starts)
            self.of_one_class += int(alike.sum())
        self.count += 1

    def _check(self, epoch: Epoch) -> None:
        if not epoch.order.size:
            says = f"epoch {self.count} was empty. A generator can be run only once:"
            mend = "write __iter__ so that every call starts a new epoch."
            raise Unusable(fault("batches/empty epoch", says, mend, self.count))
        if not epoch.sizes.all():
            says = "there are empty batches; a loss over nothing is NaN."
            batch = int(epoch.sizes.argmin())
            raise Unusable(fault("batches/empty batch", says, "", self.count, batch))
        wrong = (epoch.order < 0) | (epoch.order >= (self.top or 2**62))
        if wrong.any():
            place = int(wrong.argmax())
            index, batch = int(epoch.order[place]), int(np.searchsorted(epoch.ends, place, "right"))
            span = f"the {self.top} samples are numbered from 0 to {(self.top or 0) - 1}"
            says = (
                f"index {index} came in epoch {self.count}, batch {batch}, but "
                f"{span if self.top else 'samples are numbered from 0'}. (Negative indices would "
                "silently count from the end.)"
            )
            raise Unusable(fault("batches/out of range", says, "", self.count, batch, index))

    def _count_repeats(self, epoch: Epoch, distinct: int) -> None:
        """Count what came twice, and what batches in a row have in common."""
        lanes = epoch.ends.size + 2  # a sample's lanes do not touch the next sample's
        batch = np.repeat(np.arange(epoch.ends.size), epoch.sizes)
        keys = np.unique(epoch.order * lanes + batch)
        self.repeated += (epoch.order.size - keys.size, epoch.order.size - distinct)
        for apart in (1, 2):
            self.shared[apart - 1] += np.isin(keys + apart, keys, assume_unique=True).sum()

    @property
    def overlaps(self) -> bool:
        """Whether batches in a row share more samples than batches two apart, beyond chance."""
        near, far = self.shared.tolist()
        return near > 3 * far and bdtrc(near - 1, near + far, 0.5) < FALSE_ALARM

    @property
    def lost(self) -> int:
        """Samples that every epoch left out because they would not fill a batch."""
        if len(self.samples) > 1 or len(self.sizes) != 1 or self.sizes != self.lasts:
            return 0
        left = self.n - max(self.samples)
        return left if not self.repeated[1] and left == self.n % max(self.sizes) else 0


def epochs_needed(samples: int, batches: int) -> int:
    """For 200 batches or a million samples, and to tell always at one place from by chance."""
    chance = 2 - np.log(FALSE_ALARM) / np.log(max(samples, 2))
    return min(max(3, int(np.ceil(chance)), min(-(-200 // batches), 10**6 // samples)), 50)


def judge_order(
    record: Record, *, fixed: bool = False, random: bool = False, even: bool = True
) -> Iterator[Finding]:
    """Is it shuffled, and anew in every epoch?

    `fixed` and `random` say what was promised; `even` that all samples are alike, so that none
    has a reason to come first.
    """
    order = record.first[0].order
    size, count = order.size, record.count
    if fixed and not record.constant:
        yield fault("epochs/not fixed", "the order changes, but it was to stay the same.")
    elif fixed:
        yield passed("epochs/fixed", "the order is the same in all of them, as stated.")
    elif record.constant and np.array_equal(order, np.arange(size)):
        says = "samples always come in the order of the data, unshuffled."
        yield (fault if random else note)("epochs/unshuffled", says)
    elif count < 2:
        yield note("epochs/too few", "one epoch says nothing of the order of the next.")
    elif np.unique(order).size < _FEW:
        says = "too few different samples to tell one order from another."
        yield note("epochs/too few", says)
    else:
        yield from _judge_shuffle(record, order, even)
    if not fixed and record.permutes and even and size >= _FEW and not record.constant:
        moved = _moved(order)
        # Spearman's footrule of a random order has mean n²/3 and variance 2n³/45 (Diaconis & Graham
        # 1977); 4.75 standard deviations are FALSE_ALARM.
        if moved < size / 3 - 4.75 * np.sqrt(2 * size / 45):
            says = f"shuffled only locally: a sample moves {moved:.0f} of {size} places on average,"
            says += f" where a full shuffle moves it {size / 3:.0f}."
            mend = "Shuffle all samples, or let the buffer hold all of them."
            yield (fault if random else warning)("epochs/local", says, mend, epoch=0)


def _judge_shuffle(record: Record, order: NDArray[np.int64], even: bool) -> Iterator[Finding]:
    # By chance, a place keeps its sample in `count` orders once in size ** (count - 2) times.
    steady = record.permutes and even and order.size ** (2.0 - record.count) <= FALSE_ALARM
    if record.replay is not None:
        later, earlier = record.replay
        says = f"epochs repeat each other exactly: epoch {later} is epoch {earlier} again."
        mend = "Draw a new order in every __iter__, e.g. with np.random.default_rng([seed, epoch])."
        yield fault("epochs/replayed", says, mend, later)
    elif record.permutes and _shared_steps(*(each.order for each in record.first)) > 0.5:
        yield fault("epochs/shifted", "an epoch is the one before, only shifted or cut anew.")
    elif steady and record.steady.any():
        place = int(record.steady.argmax())
        index = int(order[place])
        says = f"sample {index} is at place {place} of every epoch: it is not shuffled."
        yield fault("epochs/same place", says, index=index)
    else:
        yield passed("epochs/new order", "no two are alike.")


def _shared_steps(one: NDArray[np.int64], two: NDArray[np.int64]) -> float:
    """Share of the neighbours in one order that are neighbours in the other too."""
    steps = [order[:-1] * (order.max() + 1) + order[1:] for order in (one, two)]
    return np.intersect1d(*steps).size / (one.size - 1)


def _moved(order: NDArray[np.int64]) -> float:
    """How many places samples are away from their place in the data, on average."""
    ranks = np.empty(order.size, np.int64)
    ranks[np.argsort(order)] = np.arange(order.size)
    return float(np.abs(ranks - np.arange(order.size)).mean())


def judge_frequency(observed: NDArray[Any], expected: NDArray[np.float64], topic: str) -> Finding:
    """Chi-square of counts against expected counts, from cells of at least ten draws each."""
    impossible = (observed > 0) & (expected == 0)
    if impossible.any():
        index = int(impossible.argmax())
        return fault(f"{topic}/impossible", f"sample {index} came, but never should.", index=index)
    expected = expected / expected.sum() * observed.sum()
    order = np.argsort(expected, kind="stable")
    cells = (np.cumsum(expected[order]) / 10).astype(int)
    cells = np.minimum(cells, max(int(observed.sum() // 10) - 1, 0))
    came, meant = np.bincount(cells, observed[order]), np.bincount(cells, expected[order])
    came, meant = came[meant > 0], meant[meant > 0]
    if meant.size < 2:
        return note(f"{topic}/too few", "too few draws to compare.")
    value = float(((came - meant) ** 2 / meant).sum())
    numbers = f"chi-square {value:.1f} with {meant.size - 1} degrees of freedom"
    if chdtrc(meant.size - 1, value) < FALSE_ALARM:
        says = f"what came does not follow what was stated ({numbers}; by chance: 1 in 10⁶)."
        return fault(f"{topic}/frequency", says)
    return passed(f"{topic}/frequency", f"what came agrees with what was stated ({numbers}).")


def judge_coverage(
    record: Record,
    *,
    once: bool = False,
    possible: NDArray[np.bool_] | None = None,
    promised: bool = False,
    may_drop: bool = False,
    even: bool = False,
) -> Iterator[Finding]:
    """Which samples never came, and which came twice?

    `once` and `promised` say that every sample, and that none twice, was promised; `possible`, (n,),
    which may come at all, `may_drop` that a smaller last batch is left out on purpose, and `even`
    that visits that are more even than by chance come from epochs that run into each other.
    """
    n, visits, (in_batch, in_epoch) = record.n, record.visits, record.repeated.tolist()
    never = np.flatnonzero((visits == 0) & (True if possible is None else possible))
    seen = f"{in_batch} within batches and {in_epoch} within epochs, of {record.count} epochs"
    chance = chdtr(n - 1, ((visits - visits.mean()) ** 2).sum() / visits.mean()) if even else 1.0
    if in_epoch and promised:
        yield fault("duplicates/promised", f"{seen}, although replacement is False.")
    elif record.overlaps:
        says = f"{seen}; batches in a row share samples. Do batches overlap?"
        yield (fault if once else warning)("duplicates/overlap", says)
    elif in_epoch and chance < FALSE_ALARM:
        says = f"{seen}, yet all come equally often in the end: epochs run into each other."
        yield warning("duplicates/mixed epochs", says)
    elif not record.exact and 0.85 < record.share < 1 and max(record.samples) <= n:
        says = f"{seen}: nearly every sample once, but not quite. Do batches overlap?"
        yield warning("duplicates/nearly once", says)
    else:
        yield note("duplicates/count", f"{seen}.")
    if never.size and (record.permutes or once):
        says = f"sample {never[0]} never comes ({never.size} of {n} do not)."
        yield fault("coverage/never", says, index=int(never[0]))
    elif record.lost and not may_drop:
        says = f"every epoch leaves out {record.lost} samples: those of a smaller last batch."
        yield (fault if once else warning)("coverage/lost", says, "Yield what is left, too.")
    elif once and not (record.permutes or record.lost):
        counts = np.bincount(record.first[0].order, minlength=n)
        index = int(np.abs(counts - 1).argmax())
        says = f"not every sample comes once in every epoch: {index} came {counts[index]} times."
        yield fault("coverage/not once", says, index=index)
    else:
        ever = f"{np.count_nonzero(visits) / n:.1%} over {record.count}"
        yield note("coverage/share", f"{record.share:.1%} of the samples per epoch, {ever}.")


def class_mix(record: Record) -> Iterator[Finding]:
    """Classes as they came against the data's, where labels are known."""
    if record.labels is None:
        return
    classes, codes = record.labels
    drawn = np.bincount(codes, record.visits, minlength=classes.size)
    table = zip(classes.tolist(), drawn / drawn.sum(), np.bincount(codes) / codes.size)
    mix = [f"{name} {share:.1%} (data {own:.1%})" for name, share, own in table]
    yield note("class mix/shares", ", ".join(mix[:20]) + ".")
    for name in classes[drawn == 0].tolist():
        says = f"class {name!r} never comes; it cannot be learned."
        yield warning("class mix/absent class", says)
