"""Which samples does a training really see? Rows are recognised on their way out, and judged."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc

from batchlab.checks import record as judge
from batchlab.checks.record import FALSE_ALARM, Epoch, Record, Unusable
from batchlab.checks.report import Finding, Report, fault, note, passed, warning
from batchlab.checks.sampler import global_state_kept
from batchlab.parameters import Parameter
from batchlab.validation import check_labels, check_weights

_SHUFFLE = "tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch_size)"
_MENDS = {
    "epochs/replayed": f"Reshuffle every epoch: {_SHUFFLE}",
    "epochs/unshuffled": f"Shuffle: {_SHUFFLE}",
    "epochs/same place": f"Shuffle all rows: {_SHUFFLE}",
    "epochs/local": "Let the buffer hold all rows: dataset.shuffle(len(x)), before batch().",
    "duplicates/mixed epochs": "Repeat last: dataset.shuffle(len(x)).repeat().batch(batch_size)",
    "coverage/never": "Look at the split, at drop_remainder and at steps_per_epoch.",
    "coverage/lost": "dataset.batch(batch_size, drop_remainder=False)",
}
_FIT = ("batch_size", "shuffle", "sample_weight", "steps_per_epoch", "validation_split")


def audit(
    what: Any,
    *args: Any,
    rows: Any = None,
    labels: ArrayLike | None = None,
    expected: ArrayLike | Mapping[Any, float] | None = None,
    contract: Collection[str] = ("random",),
    epochs: int = 3,
    seed: int | None = None,
    **options: Any,
) -> Report:
    """Run the batches of a training, without training, and say what happens to the samples.

    Put it before the call that you have: ``audit(model.fit, x, y, batch_size=32)``. A stand-in that
    only looks at its batches takes the model's place. Or give it whatever yields batches:
    ``audit(loader, rows=(x, y))``.

    Parameters
    ----------
    what : ``model.fit``, iterable of batches, or function
        A Keras model's ``fit``, followed by its arguments; a loader (``tf.data``, ``PyDataset``,
        Grain, PyTorch), followed by those that train beside it, one for each worker; or a function
        that makes one from a seed.
    rows : array, or tuple ``(x, y)`` of arrays or of dicts of arrays, each of shape (n, ...)
        The data, as it leaves the pipeline: rows are recognised by their bytes; equal ones are told
        apart by `y`, else counted in turn. Rows of ``fit(x, y)`` are numbered, and a `Loader` knows
        its own; without them a loader's batches are taken for row numbers.
    labels : array_like of int or str, shape (n,), optional
        The classes; by default the targets, if they can be classes.
    expected : array_like of float, shape (n,), or dict from class to share, optional
        How often each sample, or class, was meant to come, relatively.
    contract : collection of str, default ("random",)
        ``"random"`` (shuffled anew in every epoch) or ``"fixed"`` (always in one order), and
        ``"once"`` (every sample once an epoch).
    epochs : int, default 3
        How many to look at.
    seed : int, optional
        Given to the function, or to ``keras.utils.set_random_seed`` before ``fit``; whether `seed`
        + 1 makes a difference is looked at, too. Keras stays seeded.
    **options
        The other arguments of ``fit``; ``steps_per_epoch`` is also for a pipeline without end.

    Returns
    -------
    Report
        With ``ok``, ``faults``, ``warnings``, all ``findings``, and pictures in a notebook.

    Raises
    ------
    ValueError, TypeError
        If rows cannot be recognised, or an argument is wrong.

    Examples
    --------
    >>> x = np.arange(100.0)
    >>> in_order = [x[start : start + 10] for start in range(0, 100, 10)]
    >>> print(audit(in_order, rows=x).faults[0][:65])
    epochs: samples always come in the order of the data, unshuffled.
    """
    Parameter(3, low=1, name="epochs").check(epochs, "audit")
    training = _Training(what, args, rows, options)
    labels = training.targets if labels is None else labels
    classes = None if labels is None else check_labels(labels, "audit")
    record, once = Record(training.n, classes), "once" in contract
    with global_state_kept():
        try:
            training.play(record.add, epochs, seed)
        except Unusable as unusable:
            return Report(f"audit of {training.name}", [unusable.args[0]])
        wanted = _wanted(expected, classes, record.n)
        findings = [
            *judge.judge_order(record, fixed="fixed" in contract, random="random" in contract),
            *judge.judge_coverage(record, once=once, may_drop=not once, even=wanted is None),
            *judge.class_mix(record),
            *([] if wanted is None else [judge.judge_frequency(record.visits, wanted, "stated")]),
            *_batches(record),
            *training.findings(record, fixed="fixed" in contract),
            *training.reader.findings(),
            *([] if seed is None else _seeds(training, seed, record.first[0].order)),
            *_resume(training),
        ]
    report = Report(f"audit of {training.name}", pictures=_pictures(record))
    for finding in findings:
        report.add(replace(finding, mend=_MENDS.get(finding.code, finding.mend)))
    return report


def _wanted(expected: Any, classes: Any, n: int) -> NDArray[np.float64] | None:
    if not isinstance(expected, Mapping):
        return None if expected is None else check_weights(expected, "audit", "expected", length=n)
    names = None if classes is None else classes[0].tolist()
    if names is None or set(names) != set(expected):
        raise ValueError(f"audit: expected must state a share for each class of {names}.")
    shares = np.array([expected[name] for name in names], float)
    return check_weights((shares / np.bincount(classes[1]))[classes[1]], "audit", "expected")


# -- running it ------------------------------------------------------------------------------------


class _Training:
    """Whatever yields batches: runs it, and knows its rows."""

    def __init__(
        self, what: Any, args: tuple[Any, ...], rows: Any, options: dict[str, Any]
    ) -> None:
        self.fit = getattr(what, "__name__", "") == "fit" and hasattr(what, "__self__")
        self.numbers: list[list[int]] = []  # of the batches that fit asked a PyDataset for
        self.workers, self.options, self.y = (what, *args), options, None
        data = what
        if self.fit:
            given = inspect.signature(what).bind(*args, **options).arguments
            self.workers, self.options = (), {key: given[key] for key in _FIT if key in given}
            data, self.y = given["x"], given.get("y")
        elif set(options) - {"steps_per_epoch"}:
            raise TypeError(f"audit: {sorted(options)} are no options of a loader.")
        self.name = f"fit({type(data).__name__})" if self.fit else type(data).__name__
        arrays = self.fit and (hasattr(data, "shape") or isinstance(data, (list, tuple, dict)))
        own = getattr(data, "x", None), getattr(data, "y", None)
        if rows is None and not arrays and all(each is not None for each in own):
            rows = own
        self.reader = _Reader(rows)
        self.n, targets = self.reader.n, self.reader.y
        if arrays and rows is None:  # numbered: only how many there are matters
            self.n, targets, self.y = len(_leaves(data)[0]), self.y, None
            data = np.arange(self.n)
        self.data, targets = data, np.asarray(targets)
        self.targets = targets if targets.ndim == 1 and targets.dtype.kind in "biuUS" else None

    def play(self, sink: Callable[[Epoch], None], epochs: int, seed: int | None) -> None:
        """Hand `sink` each epoch as row numbers."""
        if self.fit:
            self._play_fit(sink, epochs, seed)
            return
        made = self.data(seed) if callable(self.data) else self.data
        runs: list[Any] = [_copied(each) for each in (made, *self.workers[1:])]
        steps = self.options.get("steps_per_epoch")
        runs = [iter(run) for run in runs] if steps else runs
        for _ in range(epochs):
            parts = [_pass_over(run, steps) for run in runs]
            sink(self.reader.epoch(itertools.chain(*parts)))

    def _play_fit(self, sink: Callable[[Epoch], None], epochs: int, seed: int | None) -> None:
        from batchlab.backend import keras

        data, batches, numbers, reader = _copied(self.data), [], self.numbers, self.reader
        own = isinstance(data, keras.utils.PyDataset)
        if own:

            class Numbered(type(data)):  # the same, but its batches tell which they are
                def __getitem__(self, number: int) -> Any:
                    return tuple(super().__getitem__(number)), np.array([number])

            data.__class__ = Numbered

        class StandIn(keras.Model):
            """Trains on nothing: looks at its batches."""

            def train_step(self, *given: Any) -> Any:
                batch = given[-1]
                if own:
                    batch, number = batch
                    numbers[-1].append(int(number[0]))
                batches.append(batch)
                return self.test_step(*given)

            def test_step(self, *given: Any) -> Any:
                logs = {"loss": 0.0}
                return (logs, given[0]) if len(given) > 1 else logs  # JAX hands a state round

        def begin(epoch: int, logs: Any) -> None:
            batches.clear()
            numbers.append([])

        watch = keras.callbacks.LambdaCallback(
            on_epoch_begin=begin, on_epoch_end=lambda epoch, logs: sink(reader.epoch(batches))
        )
        if seed is not None:
            keras.utils.set_random_seed(seed)
        model, y, options = StandIn(), self.y, self.options
        model.compile(run_eagerly=True)
        model.built = True  # JAX and PyTorch would call it once
        model.fit(data, y, epochs=epochs, verbose=0, callbacks=[watch], **options)

    def findings(self, record: Record, fixed: bool) -> Iterator[Finding]:
        """What only this way of running can do wrong."""
        for epoch, asked in enumerate(self.numbers):
            if asked != sorted(asked):
                says = f"fit takes the batches in another order than they were made, {asked[:4]}: "
                says += "a curriculum is lost."
                mend = "model.fit(loader, shuffle=False)"
                yield (fault if fixed else warning)("batches/reordered", says, mend, epoch)
                break
        if len(self.workers) > 1 and record.repeated[1]:
            index = int(np.bincount(record.first[0].order).argmax())
            says = f"workers share rows, such as row {index}: an epoch has some twice, some never."
            mend = "Split first, alike for all: dataset.shard(count, worker).shuffle(len(x))"
            yield fault("shards/overlap", says, mend, index=index)


def _copied(data: Any) -> Any:
    """A copy that shares only the arrays: a training that has a state is left as it was."""
    own = getattr(data, "__dict__", {})
    if not {"sampler", "state_dict", "on_epoch_end"} & set(dir(data)) or "batch_sampler" in own:
        return data
    arrays = [
        own.get("x"),
        own.get("y"),
        *(each for each in own.values() if hasattr(each, "shape")),
    ]
    try:
        return copy.deepcopy(data, {id(each): each for each in arrays})
    except Exception:  # an open file, a generator under way
        return copy.copy(data)


def _pass_over(data: Any, steps: int | None) -> Iterator[Any]:
    """The batches of one epoch; a PyDataset is told that it ended."""
    yield from itertools.islice(data, steps)
    getattr(data, "on_epoch_end", lambda: None)()


# -- recognising rows ------------------------------------------------------------------------------


def _leaves(part: Any) -> list[NDArray[Any]]:
    """The arrays of a batch, in order, from dicts and tuples of whatever NumPy can read."""
    if isinstance(part, Mapping):
        return [leaf for key in sorted(part) for leaf in _leaves(part[key])]
    if isinstance(part, (tuple, list)) and part and hasattr(part[0], "shape"):
        return [leaf for each in part for leaf in _leaves(each)]
    return [np.asarray(part)]


def _keys(part: Any, like: Any) -> list[bytes]:
    """The bytes of each row, in the type that the rows of `like` have."""
    kinds = [leaf.dtype for leaf in _leaves(like)]
    flat = [np.reshape(a, (len(a), -1)).astype(kind) for a, kind in zip(_leaves(part), kinds)]
    return [b"".join(a[row].tobytes() for a in flat) for row in range(len(flat[0]))]


class _Reader:
    """Says which rows a batch holds, and counts what it cannot place."""

    def __init__(self, rows: Any) -> None:
        self.x, self.y = rows if isinstance(rows, tuple) and len(rows) == 2 else (rows, None)
        self.n = None if rows is None else len(_leaves(self.x)[0])
        self.places: dict[bytes, list[int]] = {}
        self.partners: list[bytes] = []
        self.apart: list[int] = []  # rows of x that came with the y of another row
        self.unknown = self.seen = 0

    def epoch(self, batches: Iterable[Any]) -> Epoch:
        """The row numbers of an epoch's batches."""
        parts, turns, left = [np.empty(0, np.int64)], dict[bytes, int](), 4 * (self.n or 10**7)
        for batch in batches:
            parts.append(self._numbers(batch, turns))
            left -= parts[-1].size
            if left < 0:
                raise ValueError(
                    "audit: the batches go on after four times the data. Say where an epoch ends: "
                    "audit(..., steps_per_epoch=...)."
                )
        ends = np.cumsum([part.size for part in parts[1:]], dtype=np.int64)
        return Epoch(np.concatenate(parts), ends)

    def _numbers(self, batch: Any, turns: dict[bytes, int]) -> NDArray[np.int64]:
        x, *others = batch if isinstance(batch, (tuple, list)) else (batch,)
        if self.n is None:
            return _leaves(x)[0].astype(np.int64).ravel()
        y = others[0] if others and self.y is not None else None
        if not self.places:  # at the first batch: now the types are known
            for number, key in enumerate(_keys(self.x, x)):
                self.places.setdefault(key, []).append(number)
            self.partners = [] if y is None else _keys(self.y, y)
        keys = _keys(x, x)
        partners = [b""] * len(keys) if y is None else _keys(y, y)
        numbers = np.array([self._place(*pair, turns) for pair in zip(keys, partners)])
        self.seen += len(keys)
        self.unknown += int((numbers < 0).sum())
        if self.unknown > self.seen / 2:
            raise ValueError(
                f"audit: {self.unknown} of the first {self.seen} samples are no rows of `rows`. "
                "Give rows as they leave the pipeline, or run it on np.arange(n) without rows."
            )
        return numbers[numbers >= 0]

    def _place(self, key: bytes, partner: bytes, turns: dict[bytes, int]) -> int:
        alike = self.places.get(key, [])
        if alike and self.partners:
            fitting = [number for number in alike if self.partners[number] == partner]
            if not fitting:
                self.apart.append(alike[0])
            alike, key = fitting or alike, key + partner
        turns[key] = turns.get(key, -1) + 1
        return alike[turns[key] % len(alike)] if alike else -1

    def findings(self) -> Iterator[Finding]:
        """What could not be told, and pairs that do not belong together."""
        twins = sum(len(each) - 1 for each in self.places.values())
        if twins:
            yield note("rows/alike", f"{twins} rows are the same as another: counted in turn.")
        if self.unknown:
            says = f"{self.unknown} of {self.seen} samples are no rows of the data."
            yield warning("rows/unknown", says)
        if self.apart:
            says = f"{len(self.apart)} of {self.seen} samples came with the y of another row, such "
            mend = (
                "Shuffle both by one order: order = rng.permutation(n); x, y = x[order], y[order]"
            )
            yield fault("pairs/apart", f"{says}as {self.apart[0]}.", mend, index=self.apart[0])


# -- judging ---------------------------------------------------------------------------------------


def _batches(record: Record) -> Iterator[Finding]:
    size, last = max(record.sizes | record.lasts), min(record.lasts)
    says = f"{record.batches} of {size}, the last of an epoch of {last}"
    if last < size:
        says += f": each of its samples weighs {size / last:.1f} times as much in a step"
    yield note("batches/sizes", says + ".")
    if record.labels is None or not record.of_one_class:
        return
    shares = np.bincount(record.labels[1], record.visits) / record.visits.sum()
    if bdtrc(record.of_one_class - 1, record.batches, (shares**last).sum()) < FALSE_ALARM:
        says = f"{record.of_one_class} of {record.batches} batches hold one class only: each step "
        mend = "Shuffle all rows, or use StratifiedSampler(labels, batch_size)."
        yield warning("class mix/one class", says + "forgets the others.", mend)


def _seeds(training: _Training, seed: int, order: NDArray[np.int64]) -> Iterator[Finding]:
    epochs: list[Epoch] = []
    training.play(epochs.append, 1, seed)
    training.play(epochs.append, 1, seed + 1)
    if not np.array_equal(epochs[0].order, order):
        yield warning("seed/from outside", "the same seed gives other batches in another run.")
    elif np.array_equal(epochs[1].order, order):
        yield fault("seed/unused", "another seed gives the same batches: it is not used.")
    else:
        yield passed("seed/used", "equal seeds give equal batches, another seed gives others.")


def _resume(training: _Training) -> Iterator[Finding]:
    def holder(data: Any) -> Any:
        return data if hasattr(data, "state_dict") else getattr(data, "sampler", None)

    if training.fit or not hasattr(holder(training.data), "state_dict"):
        return
    run, resumed, read = _copied(training.data), _copied(training.data), training.reader.epoch
    half, batches = len(read(run).ends) // 2, iter(run)
    read(itertools.islice(batches, half))
    holder(resumed).load_state_dict(holder(run).state_dict())
    rest, got = read(batches).order, read(resumed).order
    if np.array_equal(rest, got):
        yield passed("resume/exact", "a resumed run goes on with the very next batch.")
        return
    skips, repeats = np.setdiff1d(rest, got).size, np.setdiff1d(got, rest).size
    says = f"after batch {half}, a resumed run skips {skips} rows and repeats {repeats}."
    yield fault("resume/elsewhere", says, "Save the position too.", batch=half)


def _pictures(record: Record) -> list[str]:
    pictures, place = [], "(down) by place in the epoch (across)"
    for number, epoch in enumerate(record.first):
        across = np.arange(epoch.order.size)
        cells = np.histogram2d(epoch.order, across, bins=min(20, record.n))[0]
        pictures.append(_picture(cells, f"epoch {number}: row {place}"))
    if record.labels is not None:
        codes = record.labels[1][epoch.order]
        cells = np.histogram2d(codes, across, bins=(record.labels[0].size, 20))[0]
        pictures.append(_picture(cells, f"epoch {number}: class {place}"))
    return pictures


def _picture(cells: NDArray[np.float64], title: str) -> str:
    """A table of numbers as squares, the larger the darker."""
    high, wide = 120 / cells.shape[0], 120 / cells.shape[1]
    squares = "".join(
        f'<rect x="{column * wide:.1f}" y="{row * high:.1f}" width="{wide:.1f}" '
        f'height="{high:.1f}" fill-opacity="{cells[row, column] / cells.max():.2f}"/>'
        for row, column in np.argwhere(cells)
    )
    return (
        f'<figure style="display:inline-block"><svg width="120" height="120" role="img" fill='
        f'"currentColor">{squares}</svg><figcaption>{title}</figcaption></figure>'
    )
