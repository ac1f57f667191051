"""Is this sampler what it says it is? A report that names what is wrong, and why it matters."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import json
import random
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.checks.record import (
    Epoch,
    Record,
    Unusable,
    class_mix,
    epochs_needed,
    judge_frequency,
    judge_order,
    read_epoch,
)
from batchlab.checks.report import Finding, Report, fault, note, passed, warning
from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler
from batchlab.validation import check_labels, check_weights

CONTRACT = ("fixed", "random", "once", "seeded", "live")


def check_sampler(
    sampler: Any,
    labels: ArrayLike | None = None,
    *,
    epochs: int | None = None,
    expected: ArrayLike | None = None,
    contract: Collection[str] = (),
    patience: float = 60.0,
) -> Report:
    """Run copies of a sampler and compare what they do with what a sampler should do.

    Statistical tests raise a false alarm in one of a million runs each. The sampler itself is not
    touched, unless it cannot be copied. Whatever it raises is answered in the report; it runs in a
    thread of its own, which is left behind if it waits for ever.

    Parameters
    ----------
    sampler : iterable
        One of batchlab's, or any iterable of index arrays, of lists of indices or of single
        indices, such as PyTorch's samplers.
    labels : array_like of int or str, shape (n,), optional
        Adds the class mix to the report.
    epochs : int, optional
        How many epochs to look at; by default at least 3, and enough for 200 batches.
    expected : array_like of float, shape (n,), optional
        How often you mean each sample to come, relatively. By default what the sampler itself says
        in ``probabilities`` or ``weights``.
    contract : collection of str, optional
        What the sampler must keep to: ``"fixed"`` (every epoch in one order) or ``"random"``
        (shuffled anew), ``"once"`` (every sample once an epoch), ``"seeded"`` (it has a seed, which
        decides), ``"live"`` (``batch_size`` may be set within an epoch).
    patience : float, default 60
        Seconds to wait for one batch, or for any other answer.

    Returns
    -------
    Report
        With ``ok``, ``faults``, ``warnings`` and all ``findings``.

    Raises
    ------
    ValueError, TypeError
        If another argument than the sampler is wrong.

    Examples
    --------
    >>> from batchlab.samplers import SequentialSampler, WeightedSampler
    >>> report = check_sampler(WeightedSampler(np.arange(1, 41), batch_size=4, replacement=False))
    >>> report.ok, report.warnings[0][-69:]
    (True, 'Draw with replacement (replacement=True), or fewer samples per epoch.')
    >>> check_sampler(SequentialSampler(40, batch_size=4), contract=["random"]).faults
    ['epochs: samples always come in the order of the data, unshuffled.']
    """
    Parameter(1.0, low=0.01, name="patience").check(patience, "check_sampler")
    subject = _Subject(sampler, labels, epochs, expected, contract)
    report = Report(type(sampler).__name__)
    with global_state_kept():
        thread = threading.Thread(target=_run, args=(subject, report), daemon=True)
        thread.start()
        beats = -1
        while thread.is_alive() and beats != subject.beats:
            beats = subject.beats
            thread.join(patience)
    if not thread.is_alive():
        return report
    # The thread goes on until its next line of Python: a loop without end must not run for ever.
    end = ctypes.py_object(SystemExit)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), end)
    epoch, batch = subject.place
    answered = Report(report.name, list(report.findings))
    says = f"no answer for {patience:g} s, after batch {batch} of epoch {epoch}."
    answered.add(fault("batches/blocked", says, "", epoch, batch))
    return answered


def _run(subject: _Subject, report: Report) -> None:
    """All checks, one by one; a sampler's error is reported where it first appears."""
    errors: set[str] = set()
    for check in _CHECKS:
        try:
            for finding in check(subject):
                report.add(finding)
        except Unusable as unusable:
            report.add(unusable.args[0])
            return  # the rest would only repeat it
        except BaseException as error:  # SystemExit too: it is the sampler's
            says = f"the sampler failed with {type(error).__name__}: {error}"
            if says not in errors:
                topic = check.__name__.strip("_").replace("_", " ")
                report.add(fault(f"{topic}/failed", says, "", *subject.place))
            errors.add(says)
            if check is _batches or isinstance(error, SystemExit):
                return


@contextlib.contextmanager
def global_state_kept() -> Iterator[None]:
    """Put the global random states of Python and NumPy back afterwards."""
    kept = np.random.get_state(), random.getstate()  # noqa: NPY002 (looked at, not used)
    try:
        yield
    finally:
        np.random.set_state(kept[0])  # noqa: NPY002
        random.setstate(kept[1])


class _Subject:
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
        for name, given in (
            ("expected", self.expected),
            ("labels", self.labels and self.labels[1]),
        ):
            n = given.size if n is None and given is not None else n
            if given is not None and given.size != n:
                raise ValueError(
                    f"{owner}: {name} must have one entry for each of the {n} samples, got "
                    f"{given.size}."
                )
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
        if self.expected is not None or np.shape(own) != (self.record.n,):
            return self.expected
        return np.asarray(own, float)

    @cached_property
    def stated(self) -> _Stated:
        """What the sampler said before a batch, compared with the first sample that then came."""
        runner, seen, noise = self.fresh(), _Stated(), np.random.default_rng(0)
        if getattr(runner, "probabilities", None) is None:
            return seen
        wanted = int(np.clip(2e7 / self.record.n, 40, 400))
        while seen.count < wanted:
            epoch, before = iter(runner), seen.count
            while seen.count < wanted:
                chances = np.array(runner.probabilities, float)
                batch = next(epoch, None)
                self.beat()
                if batch is None:
                    break
                came = int(np.ravel(batch)[0])
                seen.fault = _wrong_chances(chances, came, self.record.n)
                if seen.fault is not None:
                    return seen
                seen.add(chances, came, noise.random())
            if seen.count == before:
                break
        return seen


@dataclass
class _Stated:
    """What ``probabilities`` said before each of some draws, and how well the draws agree."""

    count: int = 0
    constant: bool = True  # always the same chances
    certain: bool = True  # always one sample with chance 1
    first: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    possible: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(8, np.int64))
    fault: Finding | None = None

    def add(self, chances: NDArray[np.float64], came: int, noise: float) -> None:
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
        self.bins[min(int((below + noise * own) * 8), 7)] += 1


def _wrong_chances(chances: NDArray[np.float64], came: int, n: int) -> Finding | None:
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


# -- the checks: each yields findings ------------------------------------------------------------


def _batches(subject: _Subject) -> Iterator[Finding]:
    original, record = subject.original, subject.record
    kind = type(original).__name__
    if isinstance(original, type):
        says = f"{original.__name__} is a class: pass {original.__name__}(...)."
        raise Unusable(fault("batches/no sampler", says))
    if not hasattr(original, "__iter__"):
        says = f"{kind} cannot be iterated, but a sampler's __iter__ yields an epoch of batches."
        raise Unusable(fault("batches/no sampler", says))
    runner = subject.fresh()
    record.add(subject.read(runner))
    first = record.first[0]
    for number in range(1, subject.wanted or epochs_needed(first.order.size, first.ends.size)):
        record.add(subject.read(runner, number))
    if record.top is None:
        says = f"the sampler has no n; taken to be {record.n} from the indices."
        yield note("indices/no n", says)
    yield passed("indices/all", f"all from 0 to {record.n - 1}, in {record.count} epochs.")
    if isinstance(original, Sampler) and first.ends.size > 1:
        drawer = subject.fresh()
        next(iter(drawer))
        drawn = np.asarray(drawer.draw(1)).dtype
        if drawn.kind not in "iu":
            says = f"draw() returns {drawn}: fractions are cut off silently."
            yield fault("indices/float", says, "Return whole numbers.")


def _batch_sizes(subject: _Subject) -> Iterator[Finding]:
    record, scheduled = subject.record, getattr(subject.original, "_schedules", {})
    if len(record.sizes) > 1 and not scheduled:
        found = ", ".join(map(str, sorted(record.sizes)))
        says = f"within an epoch they vary ({found}): small ones weigh more."
        yield warning("batch sizes/uneven", says)
    else:
        says = f"{record.sizes or record.lasts}, the last of an epoch {record.lasts}."
        yield passed("batch sizes/even", says)
    if hasattr(subject.original, "__len__") and not scheduled:
        stated, last = len(subject.original), record.first[-1]
        seen = last.order.size if last.single else last.ends.size
        if seen != stated:
            yield fault("length/length", f"len() says {stated}, but an epoch has {seen}.")


def _coverage(subject: _Subject) -> Iterator[Finding]:
    record, once = subject.record, "once" in subject.contract
    dropped = getattr(subject.original, "drop_last", False) is True
    declared = {getattr(subject.original, "samples_per_epoch", None)} == record.samples
    never = np.flatnonzero(record.visits == 0)
    missed = never[subject.stated.possible[never]] if subject.stated.count else never
    if missed.size and (record.permutes or once):
        says = f"sample {missed[0]} never comes ({missed.size} of {record.n} do not)."
        yield fault("coverage/never", says, index=int(missed[0]))
    elif record.lost and not dropped and not declared:
        says = f"every epoch leaves out {record.lost} samples: those of a smaller last batch."
        yield (fault if once else warning)("coverage/lost", says, "Yield what is left, too.")
    elif once and not record.permutes and not (dropped and record.lost):
        counts = np.bincount(record.first[0].order, minlength=record.n)
        index = int(np.abs(counts - 1).argmax())
        says = f"not every sample comes once in every epoch: {index} came {counts[index]} times."
        yield fault("coverage/not once", says, index=index)
    else:
        over = f"{1 - never.size / record.n:.1%} over {record.count}"
        yield note("coverage/share", f"{record.share:.1%} of the samples per epoch, {over}.")


def _duplicates(subject: _Subject) -> Iterator[Finding]:
    record = subject.record
    in_batch, in_epoch = record.repeated.tolist()
    seen = f"{in_batch} within batches and {in_epoch} within epochs, of {record.count} epochs"
    nearly = 0.85 < record.share < 1 and max(record.samples) <= record.n
    if in_epoch and getattr(subject.original, "replacement", True) is False:
        yield fault("duplicates/promised", f"{seen}, although replacement is False.")
    elif record.overlaps:
        says = f"{seen}; batches in a row share samples. Do batches overlap?"
        yield (fault if "once" in subject.contract else warning)("duplicates/overlap", says)
    elif in_epoch and nearly:
        says = f"{seen}: nearly every sample once, but not quite. Do batches overlap?"
        yield warning("duplicates/nearly once", says)
    else:
        yield note("duplicates/count", f"{seen}.")


def _weights(subject: _Subject) -> Iterator[Finding]:
    weights, record = subject.weights, subject.record
    if weights is None:
        return
    positive = weights[record.first[0].order]
    if record.permutes and positive.min() < positive.max():
        says = (
            "every epoch shows each sample exactly once, so these weights change the order, not "
            "the frequency: nothing is rebalanced."
        )
        mend = "Draw with replacement (replacement=True), or fewer samples per epoch."
        yield warning("weights/order only", says, mend)
    elif subject.expected is not None:
        yield judge_frequency(record.visits, weights, "expected frequency")


def _probabilities(subject: _Subject) -> Iterator[Finding]:
    topic, stated = "probabilities", subject.stated
    if stated.fault is not None:
        yield stated.fault
    elif not stated.count:
        yield note(f"{topic}/none", "the sampler does not state any.")
    elif subject.can_be_copied:
        if stated.constant:
            yield judge_frequency(subject.record.visits, stated.first, topic)
        yield judge_frequency(stated.bins, np.ones(8), "probabilities before each batch")


def _class_mix(subject: _Subject) -> Iterator[Finding]:
    return class_mix(subject.record)


def _epochs(subject: _Subject) -> Iterator[Finding]:
    record, stated, weights = subject.record, subject.stated, subject.weights
    says = stated.first[stated.possible] if stated.count else np.ones(1)
    even = (weights is None or np.ptp(weights) == 0) and np.ptp(says) == 0
    random = "random" in subject.contract
    declared = getattr(subject.original, "shuffle", True) is False
    certain = stated.count > 0 and stated.certain and record.constant
    fixed = "fixed" in subject.contract or (not random and (declared or certain))
    return judge_order(record, fixed=fixed, random=random, even=bool(even))


def _seed(subject: _Subject) -> Iterator[Finding]:
    orders, seed = [each.order for each in subject.record.first], subject.seed
    if "seeded" in subject.contract and seed is None:
        mend = "Take seed=0 and keep it as self.seed."
        yield fault("seed/none", "the sampler has no seed.", mend)
    if subject.record.constant or np.unique(orders[0]).size < 10:
        return
    if not subject.can_be_copied:
        yield note("seed/no copy", "the sampler cannot be copied, so its seed was not tested.")
        return
    again, other = subject.fresh(), subject.fresh()
    if not all(np.array_equal(subject.read(again).order, order) for order in orders):
        says = "two equal copies give different batches: something outside the sampler decides."
        yield fault("seed/from outside", says)
    elif seed is not None:
        other.seed = seed + 1
        others = [subject.read(other).order for _ in orders]
        if all(map(np.array_equal, others, orders)):
            yield fault("seed/unused", "another seed gives the same batches: it is not used.")
        elif np.array_equal(others[0], orders[-1]):
            says = "seed 1 begins with the second epoch of seed 0: they are added."
            mend = "Use np.random.SeedSequence(seed, spawn_key=(epoch,))."
            yield fault("seed/added", says, mend)
        else:
            yield passed("seed/used", "equal seeds give equal batches, other seeds give others.")


def _global_random_state(subject: _Subject) -> Iterator[Finding]:
    def states() -> tuple[Any, ...]:
        name, keys, *place = np.random.get_state()  # noqa: NPY002 (looked at, not used)
        return name, keys.tobytes(), *place, random.getstate()

    with global_state_kept():
        # A state that no sampler sets: one that sets the state to its epoch's shows, too.
        np.random.seed(0xBA7C41AB)  # noqa: NPY002
        random.seed(0xBA7C41AB)
        before, runner = states(), subject.fresh()
        for _ in range(2):
            subject.read(runner)
        untouched = states() == before
    if untouched:
        yield passed("global random state/untouched", "neither read nor changed.")
        return
    says = (
        "np.random or random was used: another part of the program changes your batches, and "
        "yours change theirs."
    )
    mend = "Use a np.random.Generator of your own."
    yield fault("global random state/used", says, mend)


def _independence(subject: _Subject) -> Iterator[Finding]:
    if not subject.can_be_copied:
        return
    one, two = subject.fresh(), subject.fresh()
    if subject.seed is not None:
        two.seed = two.seed + 1
    beside = subject.read(first for first, _ in zip(one, two)).order
    if not np.array_equal(beside, subject.read(subject.fresh()).order[: beside.size]):
        says = "a second sampler beside it changes its batches: they share something."
        yield fault("independence/shared", says)


def _state_dict(subject: _Subject) -> Iterator[Finding]:
    topic = "state_dict"
    if not hasattr(subject.original, topic) or not subject.can_be_copied:
        yield note(f"{topic}/none", "cannot be saved and resumed.")
        return
    whole, runner, resumed = subject.read(subject.fresh()), subject.fresh(), subject.fresh()
    half, epoch = max(1, whole.ends.size // 2), iter(runner)
    for _ in range(half):
        next(epoch)
    state = runner.state_dict()
    try:
        saved = json.dumps(state)
    except TypeError as error:
        yield fault(f"{topic}/no JSON", f"is not plain JSON ({error}), so it cannot be saved.")
        return
    rest = subject.read(epoch).order
    if json.dumps(state) != saved:
        says = "changes while the sampler goes on: return copies, not the sampler's own arrays."
        yield fault(f"{topic}/moves", says)
    resumed.load_state_dict(json.loads(saved))
    # Where the state is that of an epoch's end, the next one is what is left.
    rest = rest if rest.size else subject.read(runner).order
    got = subject.read(resumed).order
    if np.array_equal(got if got.size else subject.read(resumed).order, rest):
        yield passed(f"{topic}/resumes", "resumes within an epoch with the very next batch.")
        return
    says = f"a sampler resumed after {half} batches does not go on with batch {half}."
    if np.array_equal(got, whole.order):
        says += " It starts the epoch again: save the position too."
    yield fault(f"{topic}/elsewhere", says, batch=half)


def _live(subject: _Subject) -> Iterator[Finding]:
    if "live" not in subject.contract:
        return
    record, runner = subject.record, subject.fresh()
    size = getattr(runner, "batch_size", None)
    if not isinstance(size, int) or record.first[0].ends.size < 3:
        says = "it needs a batch_size, and three batches, to change it within an epoch."
        yield fault("live/no batch size", says)
        return
    epoch, wanted = iter(runner), size // 2 or 2
    begun = np.ravel(next(epoch))
    runner.batch_size = wanted
    rest = subject.read(epoch)
    came = np.sort(np.concatenate([begun, rest.order]))
    if rest.sizes[:1].tolist() != [wanted]:
        says = f"batch_size was set to {wanted}, but the next batches have {rest.sizes[:1]}."
        yield fault("live/ignored", says, batch=1)
    elif record.permutes and not np.array_equal(came, np.sort(record.first[0].order)):
        says = "after a change of batch_size within an epoch, samples are lost or come twice."
        yield fault("live/lost", says, "Count samples, not batches.", batch=1)
    else:
        yield passed("live/follows", "a change of batch_size acts on the next batch.")


def _update(subject: _Subject) -> Iterator[Finding]:
    # Duck-typed samplers have no `listens`: they listen if they can be told.
    if not getattr(subject.original, "listens", hasattr(subject.original, "update")):
        yield note("update/deaf", "does not listen to losses.")
        return
    silent, told, changed = subject.fresh(), subject.fresh(), False
    for _ in range(3):
        heard = []
        for batch in map(np.atleast_1d, told):
            subject.beat()
            heard.append(batch.copy())
            losses = np.where(batch % 5 == 0, 10.0, 0.1).astype(np.float32)
            given = losses.copy()
            told.update(batch, losses)
            if not (np.array_equal(heard[-1], batch) and np.array_equal(given, losses)):
                says = "writes into the arrays it is given: they are the caller's."
                yield fault("update/writes", says)
                return
        changed |= not np.array_equal(np.concatenate(heard), subject.read(silent).order)
    yield from _importance(told)
    effect = "changes which samples come" if changed else "changed no batch in three epochs"
    yield note("update/effect", f"{effect}.")
    try:
        told.update(heard[-1], np.full(heard[-1].shape, np.nan, np.float32))
    except (ValueError, FloatingPointError):
        yield passed("update/refuses NaN", "refuses losses that are not finite.")
        return
    chances = getattr(told, "probabilities", None)
    if chances is not None and not np.isfinite(chances).all():
        yield fault("update/takes NaN", "a loss of NaN spoils every later draw: refuse it.")


def _importance(runner: Any) -> Iterator[Finding]:
    batch = np.atleast_1d(next(iter(runner)))
    weigh = getattr(runner, "importance_weights", None)
    weights = None if weigh is None else weigh(batch)
    if weights is None:
        return
    weights = np.asarray(weights)
    if weights.shape == batch.shape and np.isfinite(weights).all() and (weights > 0).all():
        yield passed("importance weights/positive", "one positive factor per sample of the batch.")
    else:
        says = "not one positive factor per sample of the batch."
        yield fault("importance weights/odd", says)


_CHECKS: tuple[Callable[[_Subject], Iterator[Finding]], ...] = (
    _batches,
    _batch_sizes,
    _coverage,
    _duplicates,
    _weights,
    _probabilities,
    _class_mix,
    _epochs,
    _seed,
    _global_random_state,
    _independence,
    _state_dict,
    _live,
    _update,
)
