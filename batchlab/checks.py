"""Is this sampler what it says it is? A report that names what is wrong, and why it matters."""

from __future__ import annotations

import copy
import html
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.samplers.base import Sampler
from batchlab.validation import check_labels, check_weights

FALSE_ALARM = 1e-6  # of each statistical test, for a sampler without fault
_LIMIT = 4.75  # the standard normal quantile that belongs to it
_MARKS = {"fault": "✗", "warning": "!", "passed": "✓", "note": "·"}


@dataclass(frozen=True)
class Finding:
    """One line of a report: its `level` (fault, warning, passed or note), `topic` and `message`."""

    level: str
    topic: str
    message: str


@dataclass
class SamplerReport:
    """What :func:`check_sampler` found. Printed as text, and shown as a table in a notebook.

    Attributes
    ----------
    name : str
        The class of the sampler.
    findings : list of Finding
        Faults first.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """The messages of all faults."""
        return [f"{each.topic}: {each.message}" for each in self.findings if each.level == "fault"]

    @property
    def warnings(self) -> list[str]:
        """The messages of what is probably not what was meant."""
        return [
            f"{each.topic}: {each.message}" for each in self.findings if each.level == "warning"
        ]

    def _title(self) -> str:
        faults, warnings = len(self.faults), len(self.warnings)
        return f"{self.name}: {faults or 'no'} faults, {warnings or 'no'} warnings"

    def __str__(self) -> str:
        lines = [f"{_MARKS[f.level]} {f.topic}: {f.message}" for f in self.findings]
        return "\n".join([self._title(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_MARKS[f.level]} {f.level}</td><td>{html.escape(f.topic)}</td>"
            f"<td style='text-align:left'>{html.escape(f.message)}</td></tr>"
            for f in self.findings
        )
        return f"<p><b>{html.escape(self._title())}</b></p><table>{rows}</table>"


def check_sampler(
    sampler: Any,
    labels: ArrayLike | None = None,
    *,
    epochs: int | None = None,
    expected: ArrayLike | None = None,
) -> SamplerReport:
    """Run copies of a sampler and compare what they do with what a sampler should do.

    Statistical tests raise a false alarm in one of a million runs each. The sampler itself is not
    touched, unless it cannot be copied.

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

    Returns
    -------
    SamplerReport
        With ``ok``, ``faults``, ``warnings`` and all ``findings``.

    Examples
    --------
    >>> from batchlab.samplers import WeightedSampler
    >>> report = check_sampler(WeightedSampler(np.arange(1, 41), batch_size=4, replacement=False))
    >>> report.ok, report.warnings[0][-69:]
    (True, 'Draw with replacement (replacement=True), or fewer samples per epoch.')
    """
    report = SamplerReport(type(sampler).__name__)
    weights = None if expected is None else check_weights(expected, "check_sampler", "expected")
    subject = _Subject(sampler, labels, epochs, weights)
    for check in _CHECKS:
        try:
            report.findings.extend(check(subject))
        except _Unusable as fault:
            report.findings.append(Finding("fault", "batches", str(fault)))
            break  # the rest would only repeat it
        except Exception as error:
            topic = check.__name__.strip("_").replace("_", " ")
            message = f"the sampler failed with {type(error).__name__}: {error}"
            report.findings.append(Finding("fault", topic, message))
    report.findings.sort(key=lambda each: list(_MARKS).index(each.level))
    return report


class _Unusable(Exception):
    """The batches cannot be read at all."""


class _Subject:
    """The sampler under test: makes copies, runs them, keeps what was seen."""

    def __init__(
        self, sampler: Any, labels: Any, epochs: int | None, expected: NDArray[np.float64] | None
    ) -> None:
        self.original = sampler
        self.labels = None if labels is None else check_labels(labels, "check_sampler")
        self.wanted_epochs = epochs
        self.expected = expected

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
    def n(self) -> int | None:
        known = getattr(self.original, "n", None)
        for other in (self.labels and self.labels[1], self.expected):
            known = len(other) if known is None and other is not None else known
        return known

    @cached_property
    def epochs(self) -> list[list[NDArray[np.int64]]]:
        """The batches of every epoch."""
        runner = self.fresh()
        first = read_epoch(runner)
        rest = self.wanted_epochs or max(3, min(-(-200 // max(len(first), 1)), 50))
        return [first, *(read_epoch(runner) for _ in range(rest - 1))]

    @cached_property
    def joined(self) -> list[NDArray[np.int64]]:
        """All indices of every epoch."""
        return [np.concatenate(batches) for batches in self.epochs if batches]

    @cached_property
    def permutes(self) -> bool:
        """Whether no epoch shows a sample twice, nor leaves out one that another epoch shows."""
        first = np.sort(self.joined[0])
        distinct = bool((np.diff(first) > 0).all())
        return distinct and all(np.array_equal(first, np.sort(rest)) for rest in self.joined)

    @cached_property
    def stated(self) -> list[tuple[NDArray[np.float64], int]]:
        """What ``probabilities`` said before a batch, and the first sample that then came."""
        runner = self.fresh()
        pairs: list[tuple[NDArray[np.float64], int]] = []
        if getattr(runner, "probabilities", None) is None:
            return pairs
        wanted = int(np.clip(2e7 / len(runner.probabilities), 40, 400))
        while len(pairs) < wanted:
            epoch = iter(runner)
            before = len(pairs)
            while len(pairs) < wanted:
                chances = np.array(runner.probabilities)
                batch = next(epoch, None)
                if batch is None:
                    break
                pairs.append((chances, int(np.ravel(batch)[0])))
            if len(pairs) == before:
                break
        return pairs


def read_epoch(sampler: Any, at_most: int = 10**6) -> list[NDArray[np.int64]]:
    """One epoch as int64 arrays of shape (batch,); single indices count as one batch."""
    batches, singles = [], []
    for number, batch in enumerate(sampler):
        if number == at_most:
            raise _Unusable(f"the epoch did not end after {at_most} batches. Give it an end.")
        array = np.array(batch)  # a copy: the sampler may use its buffer again
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise _Unusable(
                f"batch {number} has shape {array.shape} and dtype {array.dtype}, but a batch is a "
                "one-dimensional array of whole numbers, such as np.array([4, 0, 7])."
            )
        if array.ndim == 0:
            singles.append(int(array))
        else:
            batches.append(array.astype(np.int64))
    return [*batches, np.array(singles, np.int64)] if singles else batches


# -- the checks: each yields findings ------------------------------------------------------------


def _indices(subject: _Subject) -> Iterator[Finding]:
    topic = "indices"
    empty = [number for number, epoch in enumerate(subject.epochs) if not epoch]
    if empty:
        raise _Unusable(
            f"epoch {empty[0]} was empty. A generator can be run only once: write __iter__ so that "
            "every call starts a new epoch."
        )
    n = subject.n
    if n is None:
        n = subject.n = int(max(joined.max() for joined in subject.joined)) + 1
        yield Finding("note", topic, f"the sampler has no n; taken to be {n} from the indices.")
    for number, joined in enumerate(subject.joined):
        wrong = joined[(joined < 0) | (joined >= n)]
        if wrong.size:
            raise _Unusable(
                f"index {wrong[0]} came in epoch {number}, but the {n} samples are numbered from "
                f"0 to {n - 1}. (Negative indices would silently count from the end.)"
            )
    yield Finding("passed", topic, f"all from 0 to {n - 1}, in {len(subject.epochs)} epochs.")


def _batch_sizes(subject: _Subject) -> Iterator[Finding]:
    topic = "batch sizes"
    if any(batch.size == 0 for epoch in subject.epochs for batch in epoch):
        yield Finding("fault", topic, "there are empty batches; a loss over nothing is NaN.")
        return
    sizes = {batch.size for epoch in subject.epochs for batch in epoch[:-1]}
    if len(sizes) > 1 and not getattr(subject.original, "_schedules", {}):
        found = ", ".join(map(str, sorted(sizes)))
        yield Finding(
            "warning", topic, f"within an epoch they vary ({found}): small ones weigh more."
        )
    else:
        last = {epoch[-1].size for epoch in subject.epochs}
        yield Finding("passed", topic, f"{sizes or last}, the last of an epoch {last}.")
    single = np.ndim(next(iter(subject.fresh()))) == 0
    if hasattr(subject.original, "__len__"):
        stated = len(subject.original)
        seen = len(subject.joined[1]) if single else len(subject.epochs[1])
        if seen != stated and not getattr(subject.original, "_schedules", {}):
            yield Finding("fault", "length", f"len() says {stated}, but an epoch has {seen}.")


def _memory(subject: _Subject) -> Iterator[Finding]:
    seen, kept = [], []
    for batch in subject.fresh():
        seen.append(np.array(batch))
        kept.append(batch)
    if any(not np.array_equal(then, now) for then, now in zip(seen, kept)):
        message = "a batch changes after it was handed out: yield a new array each time."
        yield Finding("fault", "batches", message)


def _coverage(subject: _Subject) -> Iterator[Finding]:
    n, joined = subject.n, subject.joined
    visits = np.bincount(np.concatenate(joined), minlength=n)
    share = np.mean([np.unique(epoch).size / n for epoch in joined])
    never = np.flatnonzero(visits == 0)
    message = f"{share:.1%} of the samples per epoch, {1 - never.size / n:.1%} over {len(joined)}."
    allowed = np.zeros(n, dtype=bool)
    if subject.stated:
        allowed = np.max([chances for chances, _ in subject.stated], axis=0) == 0
    missed = never[~allowed[never]]
    if missed.size and subject.permutes:
        yield Finding(
            "fault", "coverage", f"sample {missed[0]} never comes ({missed.size} of {n} do not)."
        )
    else:
        yield Finding("note", "coverage", message)


def _duplicates(subject: _Subject) -> Iterator[Finding]:
    topic = "duplicates"
    in_batch = sum(b.size - np.unique(b).size for epoch in subject.epochs for b in epoch)
    in_epoch = sum(epoch.size - np.unique(epoch).size for epoch in subject.joined)
    coverage = np.mean([np.unique(epoch).size / subject.n for epoch in subject.joined])
    seen = (
        f"{in_batch} within batches and {in_epoch} within epochs, of {len(subject.joined)} epochs"
    )
    promised = getattr(subject.original, "replacement", True) is False
    if in_epoch and promised and not getattr(subject.original, "repeats", False):
        yield Finding("fault", topic, f"{seen}, although replacement is False.")
    elif in_epoch and 0.85 < coverage < 1 and subject.joined[0].size <= subject.n:
        message = f"{seen}: nearly every sample once, but not quite. Do batches overlap?"
        yield Finding("warning", topic, message)
    else:
        yield Finding("note", topic, f"{seen}.")


def _weights(subject: _Subject) -> Iterator[Finding]:
    weights = subject.expected
    if weights is None:
        weights = getattr(subject.original, "weights", None)
    if weights is None or np.ndim(weights) != 1 or len(weights) != subject.n:
        return
    positive = np.asarray(weights, float)[subject.joined[0]]
    if subject.permutes and positive.min() < positive.max():
        yield Finding(
            "warning",
            "weights",
            "every epoch shows each sample exactly once, so these weights change the order, not "
            "the frequency: nothing is rebalanced. Draw with replacement (replacement=True), or "
            "fewer samples per epoch.",
        )
    elif subject.expected is not None:
        yield from _compare(subject.expected, subject.joined, "expected frequency")


def _probabilities(subject: _Subject) -> Iterator[Finding]:
    topic = "probabilities"
    if not subject.stated:
        yield Finding("note", topic, "the sampler does not state any.")
        return
    for chances, came in subject.stated:
        if not np.isfinite(chances).all() or chances.min() < 0 or abs(chances.sum() - 1) > 1e-6:
            yield Finding("fault", topic, f"they add up to {chances.sum():.6g}, not to 1.")
            return
        if chances[came] == 0:
            message = f"sample {came} came although its stated probability was 0."
            yield Finding("fault", topic, message)
            return
    if not subject.can_be_copied:
        return
    first = subject.stated[0][0]
    if all(np.array_equal(first, chances) for chances, _ in subject.stated):
        yield from _compare(first, subject.joined, topic)
    yield from _first_draws(subject.stated)


def _compare(
    weights: NDArray[np.float64], epochs: list[NDArray[np.int64]], topic: str
) -> Iterator[Finding]:
    """Chi-square of all draws, for chances that stay the same."""
    draws = np.concatenate(epochs)
    expected = weights / weights.sum() * draws.size
    observed = np.bincount(draws, minlength=weights.size)
    order = np.argsort(expected, kind="stable")
    # Cells of at least ten expected draws each, from samples of like chances.
    cells = (np.cumsum(expected[order]) / 10).astype(int)
    cells = np.minimum(cells, max(int(draws.size // 10) - 1, 0))
    yield _chi_square(
        np.bincount(cells, observed[order]), np.bincount(cells, expected[order]), topic
    )


def _first_draws(pairs: list[tuple[NDArray[np.float64], int]]) -> Iterator[Finding]:
    """Chi-square of where each draw fell within the chances stated just before it.

    The share of the chances below the sample that came, plus a random part of its own, is uniform
    if the chances are true, however they change from batch to batch.
    """
    noise = np.random.default_rng(0).random(len(pairs))
    places = []
    for (chances, came), part in zip(pairs, noise):
        below = (chances < chances[came]) | (
            (chances == chances[came]) & (np.arange(chances.size) < came)
        )
        places.append(chances[below].sum() + part * chances[came])
    bins = np.clip((np.array(places) * 8).astype(int), 0, 7)
    counts = np.bincount(bins, minlength=8)
    yield _chi_square(counts, np.full(8, len(pairs) / 8), "probabilities before each batch")


def _chi_square(observed: NDArray[Any], expected: NDArray[np.float64], topic: str) -> Finding:
    kept = expected > 0
    freedom = int(kept.sum()) - 1
    if freedom < 1:
        return Finding("note", topic, "too few draws to compare.")
    value = float(((observed[kept] - expected[kept]) ** 2 / expected[kept]).sum())
    # Wilson & Hilferty (1931): the cube root of chi-square is nearly normal.
    spread = 2 / (9 * freedom)
    normal = ((value / freedom) ** (1 / 3) - (1 - spread)) / np.sqrt(spread)
    numbers = f"chi-square {value:.1f} with {freedom} degrees of freedom"
    if normal > _LIMIT:
        message = f"what came does not follow what was stated ({numbers}; by chance: 1 in 10⁶)."
        return Finding("fault", topic, message)
    return Finding("passed", topic, f"what came agrees with what was stated ({numbers}).")


def _class_mix(subject: _Subject) -> Iterator[Finding]:
    if subject.labels is None:
        return
    classes, codes = subject.labels
    drawn = np.bincount(codes[np.concatenate(subject.joined)], minlength=classes.size)
    data = np.bincount(codes) / codes.size
    shares = drawn / drawn.sum()
    mix = ", ".join(
        f"{name} {share:.1%} (data {own:.1%})"
        for name, share, own in list(zip(classes.tolist(), shares, data))[:20]
    )
    yield Finding("note", "class mix", mix + ".")
    for name in classes[drawn == 0].tolist():
        yield Finding("warning", "class mix", f"class {name!r} never comes; it cannot be learned.")


def _seeds_and_epochs(subject: _Subject) -> Iterator[Finding]:
    joined = subject.joined
    ordered = bool((np.diff(joined[0]) > 0).all())
    same = [np.array_equal(one, two) for one, two in itertools.pairwise(joined)]
    if ordered and all(same):
        yield Finding("note", "epochs", "samples always come in the order of the data, unshuffled.")
        return
    if np.unique(joined[0]).size < 10:
        yield Finding("note", "epochs", "too few different samples to tell one order from another.")
        return
    if any(same):
        message = (
            "epochs repeat each other exactly. Draw a new order in every __iter__, e.g. with "
            "np.random.default_rng([seed, epoch])."
        )
        yield Finding("fault", "epochs", message)
    elif subject.permutes and _shared_steps(joined[0], joined[1]) > 0.5:
        yield Finding(
            "fault", "epochs", "an epoch follows the one before, only shifted or cut anew."
        )
    else:
        yield Finding("passed", "epochs", "no two in a row are alike.")
    if not subject.can_be_copied:
        yield Finding("note", "seed", "the sampler cannot be copied, so its seed was not tested.")
        return
    runner = subject.fresh()
    again = [np.concatenate(read_epoch(runner)) for _ in range(2)]
    if not all(np.array_equal(one, two) for one, two in zip(again, joined)):
        message = "two equal copies give different batches: something outside the sampler decides."
        yield Finding("fault", "seed", message)
    elif isinstance(getattr(subject.original, "seed", None), int):
        yield from _other_seed(subject)


def _shared_steps(one: NDArray[np.int64], two: NDArray[np.int64]) -> float:
    """Share of the neighbours in one order that are neighbours in the other too."""
    if one.size < 10:
        return 0.0
    steps = [order[:-1] * (order.max() + 1) + order[1:] for order in (one, two)]
    return np.intersect1d(*steps).size / (one.size - 1)


def _other_seed(subject: _Subject) -> Iterator[Finding]:
    other = subject.fresh()
    other.seed = other.seed + 1
    epochs = [np.concatenate(read_epoch(other)) for _ in range(2)]
    if np.array_equal(epochs[0], subject.joined[0]) and np.array_equal(
        epochs[1], subject.joined[1]
    ):
        yield Finding("fault", "seed", "another seed gives the same batches: it is not used.")
    elif np.array_equal(epochs[0], subject.joined[1]):
        message = (
            "seed 1 begins with the second epoch of seed 0: they are added. Use "
            "np.random.SeedSequence(seed, spawn_key=(epoch,))."
        )
        yield Finding("fault", "seed", message)
    else:
        yield Finding("passed", "seed", "equal seeds give equal batches, other seeds give others.")


def _global_state(subject: _Subject) -> Iterator[Finding]:
    def states() -> tuple[Any, ...]:
        name, keys, *place = np.random.get_state()  # noqa: NPY002 (looked at, not used)
        return name, keys.tobytes(), *place, random.getstate()

    before, runner = states(), subject.fresh()
    read_epoch(runner)
    read_epoch(runner)
    if states() == before:
        yield Finding("passed", "global random state", "neither read nor changed.")
    else:
        message = (
            "np.random or random was used: another part of the program changes your batches, and "
            "yours change theirs. Use a np.random.Generator of your own."
        )
        yield Finding("fault", "global random state", message)


def _side_by_side(subject: _Subject) -> Iterator[Finding]:
    if not subject.can_be_copied:
        return
    one, two = subject.fresh(), subject.fresh()
    if isinstance(getattr(two, "seed", None), int):
        two.seed = two.seed + 1
    beside = [np.ravel(first) for first, _ in zip(one, two)]
    alone = np.concatenate(read_epoch(subject.fresh()))
    if not np.array_equal(np.concatenate(beside), alone[: sum(map(len, beside))]):
        message = "a second sampler beside it changes its batches: they share something."
        yield Finding("fault", "independence", message)


def _state(subject: _Subject) -> Iterator[Finding]:
    topic = "state_dict"
    if not hasattr(subject.original, "state_dict") or not subject.can_be_copied:
        yield Finding("note", topic, "cannot be saved and resumed.")
        return
    whole = [*read_epoch(subject.fresh()), np.array([-1])]
    half = max(1, (len(whole) - 1) // 2)
    runner = subject.fresh()
    epoch = iter(runner)
    for _ in range(half):
        next(epoch)
    state = runner.state_dict()
    try:
        saved = json.dumps(state)
    except TypeError as error:
        yield Finding("fault", topic, f"is not plain JSON ({error}), so it cannot be saved.")
        return
    list(epoch)
    if json.dumps(state) != saved:
        message = "changes while the sampler goes on: return copies, not the sampler's own arrays."
        yield Finding("fault", topic, message)
    resumed = subject.fresh()
    resumed.load_state_dict(json.loads(saved))
    rest = read_epoch(resumed)
    if len(rest) == len(whole) - 1 - half and all(map(np.array_equal, rest, whole[half:])):
        yield Finding(
            "passed", topic, "resumes in the middle of an epoch with the very next batch."
        )
    else:
        message = f"a sampler resumed after {half} batches does not go on with batch {half}."
        if rest and np.array_equal(rest[0], whole[0]):
            message += " It starts the epoch again: save the position too."
        yield Finding("fault", topic, message)


def _feedback(subject: _Subject) -> Iterator[Finding]:
    topic = "update"
    own = getattr(type(subject.original), "update", None)
    if own is None or own is Sampler.update:
        yield Finding("note", topic, "does not listen to losses.")
        return
    silent, told = subject.fresh(), subject.fresh()
    heard = [[], []]
    for _ in range(3):
        for runner, batches in zip((silent, told), heard):
            for batch in runner:
                batches.append(batch)
                if runner is told:
                    losses = np.where(batch % 5 == 0, 10.0, 0.1).astype(np.float32)
                    given = batch.copy(), losses.copy()
                    told.update(batch, losses)
                    if not (np.array_equal(given[0], batch) and np.array_equal(given[1], losses)):
                        message = "writes into the arrays it is given: they are the caller's."
                        yield Finding("fault", topic, message)
                        return
    yield from _importance(told)
    changed = not all(map(np.array_equal, *heard))
    effect = "changes which samples come" if changed else "changed no batch in three epochs"
    yield Finding("note", topic, f"{effect}.")
    poisoned = told.update
    try:
        poisoned(heard[1][-1], np.full(heard[1][-1].shape, np.nan, np.float32))
    except (ValueError, FloatingPointError):
        yield Finding("passed", topic, "refuses losses that are not finite.")
        return
    chances = getattr(told, "probabilities", None)
    if chances is not None and not np.isfinite(chances).all():
        yield Finding("fault", topic, "a loss of NaN spoils every later draw: refuse it.")


def _importance(runner: Any) -> Iterator[Finding]:
    batch = next(iter(runner))
    weigh = getattr(runner, "importance_weights", None)
    weights = None if weigh is None else weigh(batch)
    if weights is None:
        return
    weights = np.asarray(weights)
    fine = weights.shape == batch.shape and np.isfinite(weights).all() and (weights > 0).all()
    level, says = (
        ("passed", "one positive factor") if fine else ("fault", "not one positive factor")
    )
    yield Finding(level, "importance weights", f"{says} per sample of the batch.")


_CHECKS: tuple[Callable[[_Subject], Iterator[Finding]], ...] = (
    _indices,
    _batch_sizes,
    _memory,
    _coverage,
    _duplicates,
    _weights,
    _probabilities,
    _class_mix,
    _seeds_and_epochs,
    _global_state,
    _side_by_side,
    _state,
    _feedback,
)
