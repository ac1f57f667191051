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
from scipy.special import bdtrc, chdtr

from batchlab.checks.record import (
    FALSE_ALARM,
    Epoch,
    Record,
    class_mix,
    judge_frequency,
    judge_order,
)
from batchlab.checks.report import Finding, Report, fault, note, passed, warning
from batchlab.checks.sampler import global_state_kept
from batchlab.parameters import Parameter
from batchlab.validation import check_labels, check_weights

_SHUFFLE = "tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(batch_size)"
_MENDS = {
    "epochs/replayed": f"Reshuffle every epoch: {_SHUFFLE}",
    "epochs/unshuffled": f"Shuffle: {_SHUFFLE}",
    "epochs/local": "Let the buffer hold all rows: dataset.shuffle(len(x)), before batch().",
    "epochs/same place": f"Shuffle all rows: {_SHUFFLE}",
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
        A Keras model's ``fit``, followed by its arguments; a loader (a ``tf.data`` pipeline, a
        ``PyDataset``, Grain's, PyTorch's), followed by those that train beside it, one for each
        worker; or a function that makes one from a seed.
    rows : array, or tuple ``(x, y)`` of arrays or of dicts of arrays, each of shape (n, ...)
        The data, as it leaves the pipeline: rows are recognised by their bytes, and told apart from
        equal ones by `y`, else counted in turn. Not needed for ``fit(x, y)``, whose rows are
        numbered; without it a loader's batches are taken for row numbers.
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
        Given to the function, or to ``keras.utils.set_random_seed`` before ``fit``; and it is looked
        whether `seed` + 1 makes a difference. Keras stays seeded.
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
    if labels is None:
        labels = training.targets
    classes = None if labels is None else check_labels(labels, "audit")
    record, reader = Record(training.n, classes), training.reader
    report = Report(f"audit of {training.name}")
    with global_state_kept():
        training.play(record.add, epochs, seed)
        wanted = _wanted(expected, classes, record.n)
        found = itertools.chain(
            judge_order(record, fixed="fixed" in contract, random="random" in contract),
            _coverage(record, "once" in contract, wanted is not None, training.shards),
            _batches(record),
            class_mix(record),
            [] if wanted is None else [judge_frequency(record.visits, wanted, "frequency")],
            _order_of_batches(training.numbers, "fixed" in contract),
            reader.findings(),
            [] if seed is None else _seeds(training, seed, record.first[0].order),
            _resume(training),
        )
        for finding in found:
            report.add(replace(finding, mend=_MENDS.get(finding.code, finding.mend)))
    report.pictures = _pictures(record)
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
        self.shards: tuple[Any, ...] = () if self.fit else (what, *args)
        self.options, self.data, self.name = options, what, type(what).__name__
        own = getattr(what, "x", None), getattr(what, "y", None)
        if self.fit:
            given = inspect.signature(what).bind(*args, **options).arguments
            self.options = {key: given[key] for key in _FIT if key in given}
            self.data, y = given["x"], given.get("y")
            self.name = f"fit({type(self.data).__name__})"
            own = getattr(self.data, "x", None), getattr(self.data, "y", None)
            if hasattr(self.data, "shape") or isinstance(self.data, (list, dict)):
                self.y, self.targets = y, y
                if rows is None:  # numbered: only how many there are matters
                    self.targets, self.data = y, np.arange(len(_leaves(self.data)[0]))
                    own = (None, None)
        elif set(options) - {"steps_per_epoch"}:
            raise TypeError(f"audit: {sorted(options)} are no options of a loader.")
        if rows is None and all(each is not None for each in own):
            rows = own
        self.reader = _Reader(rows)
        self.n = len(self.data) if rows is None and self.fit else self.reader.n
        targets = self.reader.y if rows is not None else getattr(self, "targets", None)
        kind = np.asarray(targets).dtype.kind if targets is not None else ""
        self.targets = targets if kind in tuple("biuUS") and np.ndim(targets) == 1 else None

    def play(self, sink: Callable[[Epoch], None], epochs: int, seed: int | None) -> None:
        """Hand `sink` each epoch as row numbers."""
        if self.fit:
            self._play_fit(sink, epochs, seed)
            return
        made = self.data(seed) if callable(self.data) else self.data
        runs = [_copied(each) for each in (made, *self.shards[1:])]
        steps = self.options.get("steps_per_epoch")
        endless = [iter(run) for run in runs] if steps else runs
        for _ in range(epochs):
            parts = [itertools.islice(each, steps) if steps else each for each in endless]
            sink(self.reader.epoch(itertools.chain(*parts)))

    def _play_fit(self, sink: Callable[[Epoch], None], epochs: int, seed: int | None) -> None:
        from batchlab.backend import keras

        if seed is not None:
            keras.utils.set_random_seed(seed)
        data, batches, numbers, reader = _copied(self.data), [], self.numbers, self.reader

        class Numbered(keras.utils.PyDataset):
            """A PyDataset whose batches tell which they are."""

            def __len__(self) -> int:
                return len(data)

            def __getitem__(self, number: int) -> Any:
                return tuple(data[number]), np.array([number])

            def on_epoch_begin(self) -> None:
                data.on_epoch_begin()

            def on_epoch_end(self) -> None:
                data.on_epoch_end()

        numbered = isinstance(data, keras.utils.PyDataset)

        class StandIn(keras.Model):
            """Trains on nothing: looks at its batches."""

            def train_step(self, batch: Any) -> dict[str, float]:
                if numbered:
                    batch, number = batch
                    numbers[-1].append(int(number[0]))
                batches.append(batch)
                return {"loss": 0.0}

            def test_step(self, batch: Any) -> dict[str, float]:
                return {"loss": 0.0}

        def begin(epoch: int, logs: Any) -> None:
            batches.clear()
            numbers.append([])

        def end(epoch: int, logs: Any) -> None:
            sink(reader.epoch(batches))

        model = StandIn()
        model.compile(run_eagerly=True)
        watch = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)
        y = None if reader.rows is None or numbered else getattr(self, "y", None)
        data = data if not numbered else data
        model.fit(
            Numbered() if numbered else data,
            y, epochs=epochs, verbose=0, callbacks=[watch], **self.options,
        )  # fmt: skip


def _copied(data: Any) -> Any:
    """A copy with a sampler of its own, where there is one: the training is left as it was."""
    if not hasattr(data, "sampler") or hasattr(data, "batch_sampler"):
        return data
    copied = copy.copy(data)
    copied.sampler = copy.deepcopy(data.sampler)
    return copied


# -- recognising rows ------------------------------------------------------------------------------


def _leaves(part: Any) -> list[NDArray[Any]]:
    """The arrays of a batch, in order, from dicts and tuples of whatever NumPy can read."""
    if isinstance(part, Mapping):
        return [leaf for key in sorted(part) for leaf in _leaves(part[key])]
    if isinstance(part, (tuple, list)) and part and hasattr(part[0], "shape"):
        return [leaf for each in part for leaf in _leaves(each)]
    return [np.asarray(part)]


def _keys(leaves: list[NDArray[Any]], kinds: list[np.dtype[Any]]) -> list[bytes]:
    """The bytes of each row."""
    flat = [np.reshape(a, (len(a), -1)).astype(kind) for a, kind in zip(leaves, kinds)]
    return [b"".join(a[row].tobytes() for a in flat) for row in range(len(flat[0]))]


class _Reader:
    """Says which rows a batch holds, and counts what it cannot place."""

    def __init__(self, rows: Any) -> None:
        self.rows, self.y = rows, None
        self.x, self.y = rows if isinstance(rows, tuple) and len(rows) == 2 else (rows, None)
        self.n = None if rows is None else len(_leaves(self.x)[0])
        self.places: dict[bytes, list[int]] = {}
        self.apart: list[int] = []  # rows of x that came with a y of another row
        self.unknown = self.seen = 0
        self.partners: list[bytes] = []

    def epoch(self, batches: Iterable[Any]) -> Epoch:
        turns: dict[bytes, int] = {}
        limit = 4 * (self.n or 10**6)
        parts: list[NDArray[np.int64]] = []
        count = 0
        for batch in batches:
            parts.append(self._numbers(batch, turns))
            count += parts[-1].size
            if count > limit:
                raise ValueError(
                    f"audit: the batches go on after {count} samples. Say where an epoch ends: "
                    "audit(..., steps_per_epoch=...)."
                )
        ends = np.cumsum([part.size for part in parts], dtype=np.int64)
        return Epoch(np.concatenate(parts) if parts else np.empty(0, np.int64), ends)

    def _numbers(self, batch: Any, turns: dict[bytes, int]) -> NDArray[np.int64]:
        pair = isinstance(batch, (tuple, list)) and len(batch) > 1
        x = _leaves(batch[0] if isinstance(batch, (tuple, list)) else batch)
        if self.rows is None:
            return x[0].astype(np.int64).ravel()
        y = _leaves(batch[1]) if pair and self.y is not None else None
        if not self.places:  # rows as they look in this type
            for number, key in enumerate(_keys(_leaves(self.x), [a.dtype for a in x])):
                self.places.setdefault(key, []).append(number)
            if y is not None:
                self.partners = _keys(_leaves(self.y), [a.dtype for a in y])
        keys = _keys(x, [a.dtype for a in x])
        partners = [None] * len(keys) if y is None else _keys(y, [a.dtype for a in y])
        numbers = [self._place(*pair, turns) for pair in zip(keys, partners)]
        known = [number for number in numbers if number >= 0]
        self.seen += len(keys)
        self.unknown += len(keys) - len(known)
        if self.unknown > self.seen / 2:
            raise ValueError(
                f"audit: {self.unknown} of the first {self.seen} samples are no rows of `rows`. "
                "Give rows as they leave the pipeline, or run it on np.arange(n) without rows."
            )
        return np.array(known, np.int64)

    def _place(self, key: bytes, partner: bytes | None, turns: dict[bytes, int]) -> int:
        alike = self.places.get(key, [])
        if not alike:
            return -1
        if partner is not None:
            fitting = [number for number in alike if self.partners[number] == partner]
            if not fitting:
                self.apart.append(alike[0])
            alike, key = fitting or alike, key + partner
        turns[key] = turns.get(key, -1) + 1
        return alike[turns[key] % len(alike)]

    def findings(self) -> Iterator[Finding]:
        twins = sum(len(each) - 1 for each in self.places.values())
        if twins:
            yield note("rows/alike", f"{twins} rows are the same as another: counted in turn.")
        if self.unknown:
            says = (
                f"{self.unknown} of {self.seen} samples are no rows of the data: changed, or new."
            )
            yield warning("rows/unknown", says)
        if self.apart:
            says = f"row {self.apart[0]} of x came with the y of another row ({len(self.apart)} of "
            mend = (
                "Shuffle x and y by the same order: order = rng.permutation(n); x[order], y[order]"
            )
            yield fault("pairs/apart", f"{says}{self.seen}).", mend, index=self.apart[0])


# -- judging ---------------------------------------------------------------------------------------


def _coverage(
    record: Record, once: bool, weighted: bool, shards: tuple[Any, ...]
) -> Iterator[Finding]:
    never, n = np.flatnonzero(record.visits == 0), record.n
    twice = int(record.repeated[1])
    says = f"{record.share:.1%} of the rows per epoch; {never.size} of {n} never came"
    says += f", such as row {never[0]}" if never.size else ""
    says += f"; {twice} came again within an epoch."
    mean = record.visits.mean()
    spread = float(((record.visits - mean) ** 2).sum() / mean)
    if len(shards) > 1 and twice:
        index = int(np.bincount(record.first[0].order, minlength=n).argmax())
        mend = "Split before shuffling, alike for all: dataset.shard(count, worker).shuffle(n)"
        yield fault("shards/overlap", f"workers share rows, such as row {index}: {says}", mend)
    elif record.permutes and (never.size or record.lost):
        lost = " They are a smaller last batch." if record.lost else ""
        always = never.size > 0 or once
        mend = "Check the split, drop_remainder and steps_per_epoch."
        index = int(never[0]) if never.size else None
        yield (fault if always else warning)("coverage/never", says + lost, mend, index=index)
    elif twice and not weighted and (record.overlaps or chdtr(n - 1, spread) < FALSE_ALARM):
        says = f"rows come equally often in the long run, but epochs run into each other: {says}"
        if record.overlaps:
            says = f"batches in a row share rows: {says}"
        yield warning("epochs/mixed", says, "Repeat last: dataset.shuffle(n).repeat().batch(size)")
    elif once and (twice or never.size):
        yield fault("coverage/not once", says)
    else:
        yield note("coverage/share", says)


def _batches(record: Record) -> Iterator[Finding]:
    size, last = max(record.sizes | record.lasts), min(record.lasts)
    says = f"{record.batches} of {size}, the last of an epoch of {last}"
    if last < size:
        says += f": each of its samples weighs {size / last:.1f} times as much in a step"
    yield note("batches/sizes", says + ".")
    if record.labels is None:
        return
    shares = np.bincount(record.labels[1], record.visits) / record.visits.sum()
    chance = float((shares**last).sum())
    single, count = record.of_one_class, record.batches
    if single and bdtrc(single - 1, count, chance) < FALSE_ALARM:
        says = f"{single} of {count} batches hold one class only: each step forgets the others."
        mend = "Shuffle all rows, or use StratifiedSampler(labels, batch_size)."
        yield warning("class mix/one class", says, mend)


def _order_of_batches(numbers: list[list[int]], fixed: bool) -> Iterator[Finding]:
    for epoch, asked in enumerate(numbers):
        if asked != sorted(asked):
            says = f"fit takes the batches in another order than they were made: {asked[:4]}, …"
            says += " A curriculum is lost."
            mend = "model.fit(loader, shuffle=False)"
            yield (fault if fixed else warning)("batches/reordered", says, mend, epoch)
            return


def _seeds(training: _Training, seed: int, order: NDArray[np.int64]) -> Iterator[Finding]:
    again: list[Epoch] = []
    training.play(again.append, 1, seed)
    training.play(again.append, 1, seed + 1)
    if not np.array_equal(again[0].order, order):
        yield warning(
            "seed/from outside", "the same seed gives other batches: a run cannot be redone."
        )
    elif np.array_equal(again[1].order, order):
        yield fault("seed/unused", "another seed gives the same batches: it is not used.")
    else:
        yield passed("seed/used", "equal seeds give equal batches, another seed gives others.")


def _resume(training: _Training) -> Iterator[Finding]:
    def holder(data: Any) -> Any:
        return data if hasattr(data, "state_dict") else getattr(data, "sampler", None)

    if training.fit or callable(training.data) or not hasattr(holder(training.data), "state_dict"):
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


# -- pictures --------------------------------------------------------------------------------------


def _pictures(record: Record) -> list[str]:
    pictures = []
    for number, epoch in enumerate(record.first):
        place = np.arange(epoch.order.size)
        cells = np.histogram2d(epoch.order, place, bins=min(20, record.n))[0]
        pictures.append(_picture(cells, f"epoch {number}: row (down) by place (across)"))
    if record.labels is not None:
        codes = record.labels[1][record.first[0].order]
        bins = (record.labels[0].size, 20)
        shares = np.histogram2d(codes, np.arange(codes.size), bins=bins)[0]
        pictures.append(_picture(shares, "epoch 0: class (down) by place (across)"))
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
