"""Is this sampler what it says it is? A report that names what is wrong, and why it matters."""

from __future__ import annotations

import contextlib
import ctypes
import json
import random
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from batchlab.checks.record import (
    Unusable,
    class_mix,
    epochs_needed,
    judge_coverage,
    judge_frequency,
    judge_order,
)
from batchlab.checks.report import Finding, Report, fault, note, passed, warning
from batchlab.checks.subject import Subject
from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler


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
    subject = Subject(sampler, labels, epochs, expected, contract)
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


def _run(subject: Subject, report: Report) -> None:
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


# -- the checks: each yields findings ------------------------------------------------------------


def _batches(subject: Subject) -> Iterator[Finding]:
    original, record = subject.original, subject.record
    if isinstance(original, type) or not hasattr(original, "__iter__"):
        says = f"{type(original).__name__} cannot be iterated, but a sampler yields batches."
        if isinstance(original, type):
            says = f"{original.__name__} is a class: pass {original.__name__}(...)."
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


def _batch_sizes(subject: Subject) -> Iterator[Finding]:
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


def _coverage(subject: Subject) -> Iterator[Finding]:
    record, original = subject.record, subject.original
    declared = {getattr(original, "samples_per_epoch", None)} == record.samples
    yield from judge_coverage(
        record,
        once="once" in subject.contract,
        possible=subject.stated.possible if subject.stated.count else None,
        promised=getattr(original, "replacement", True) is False
        and not getattr(original, "repeats", False),
        may_drop=getattr(original, "drop_last", False) is True or declared,
    )
    yield from class_mix(record)


def _weights(subject: Subject) -> Iterator[Finding]:
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


def _probabilities(subject: Subject) -> Iterator[Finding]:
    topic, stated = "probabilities", subject.stated
    if stated.fault is not None:
        yield stated.fault
    elif not stated.count:
        yield note(f"{topic}/none", "the sampler does not state any.")
    elif subject.can_be_copied:
        if stated.constant:
            yield judge_frequency(subject.record.visits, stated.first, topic)
        yield judge_frequency(stated.bins, np.ones(8), "probabilities before each batch")


def _epochs(subject: Subject) -> Iterator[Finding]:
    record, stated, weights = subject.record, subject.stated, subject.weights
    says = stated.first[stated.possible] if stated.count else np.ones(1)
    even = (weights is None or np.ptp(weights) == 0) and np.ptp(says) == 0
    random = "random" in subject.contract
    declared = getattr(subject.original, "shuffle", True) is False
    certain = stated.count > 0 and stated.certain and record.constant
    fixed = "fixed" in subject.contract or (not random and (declared or certain))
    return judge_order(record, fixed=fixed, random=random, even=bool(even))


def _seed(subject: Subject) -> Iterator[Finding]:
    orders, seed = [each.order for each in subject.record.first], subject.seed
    if "seeded" in subject.contract and seed is None:
        mend = "Take seed=0 and keep it as self.seed."
        yield fault("seed/none", "the sampler has no seed.", mend)
    if subject.record.constant or np.unique(orders[0]).size < 10:
        return
    if not subject.can_be_copied:
        yield note("seed/no copy", "the sampler cannot be copied, so its seed was not tested.")
        return
    again, other, beside = subject.fresh(), subject.fresh(), subject.fresh()
    if seed is not None:
        other.seed = seed + 1
    if not all(np.array_equal(subject.read(again).order, order) for order in orders):
        says = "two equal copies give different batches: something outside the sampler decides."
        yield fault("seed/from outside", says)
        return
    both = subject.read(one for one, _ in zip(subject.fresh(), beside)).order
    if not np.array_equal(both, orders[0][: both.size]):
        says = "a second sampler beside it changes its batches: they share something."
        yield fault("seed/shared", says)
    if seed is None:
        return
    others = [subject.read(other).order for _ in orders]
    if all(map(np.array_equal, others, orders)):
        yield fault("seed/unused", "another seed gives the same batches: it is not used.")
    elif np.array_equal(others[0], orders[-1]):
        says = "seed 1 begins with the second epoch of seed 0: they are added."
        yield fault("seed/added", says, "Use np.random.SeedSequence(seed, spawn_key=(epoch,)).")
    else:
        yield passed("seed/used", "equal seeds give equal batches, other seeds give others.")


def _global_random_state(subject: Subject) -> Iterator[Finding]:
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


def _state_dict(subject: Subject) -> Iterator[Finding]:
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


def _live(subject: Subject) -> Iterator[Finding]:
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


def _update(subject: Subject) -> Iterator[Finding]:
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
    batch = np.atleast_1d(next(iter(told)))
    weights = getattr(told, "importance_weights", lambda _: None)(batch)
    if weights is not None:
        fine = (
            np.shape(weights) == batch.shape and np.isfinite(weights).all() and np.min(weights) > 0
        )
        says = f"{'' if fine else 'not '}one positive factor per sample of the batch."
        yield (passed if fine else fault)("importance weights/factors", says)
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


_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    _batches,
    _batch_sizes,
    _coverage,
    _weights,
    _probabilities,
    _epochs,
    _seed,
    _global_random_state,
    _state_dict,
    _live,
    _update,
)
