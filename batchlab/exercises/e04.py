"""Notebook 04: the loader class."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.exercises.judging import (
    Exercise,
    Wrong,
    by_number,
    read_batches,
    read_epochs,
    require,
    require_audit,
    require_once,
    require_sizes,
)
from batchlab.samplers import RandomSampler


def _backwards(answer: Any) -> None:
    for n, batch_size in ((10, 4), (12, 5), (50, 50), (7, 1)):
        for epoch, batches in enumerate(read_epochs(answer(n=n, batch_size=batch_size), n, 3)):
            place = f"epoch {epoch}"
            require_sizes(batches, n, batch_size, place)
            wanted = np.arange(n)[::-1]
            row = np.concatenate(batches)
            if np.array_equal(row, wanted):
                continue
            first = int((row != wanted).argmax())
            batch = first // batch_size
            inside = np.array_equal(np.concatenate([b[::-1] for b in batches]), np.arange(n))
            turned = np.array_equal(np.concatenate([b[::-1] for b in batches]), wanted)
            hint = ""
            if epoch and first == 0:
                hint = (
                    "Something you count is not set back when an epoch begins: `self.position` is."
                )
            elif inside:
                hint = "Each batch is turned round, but the batches come in the old order."
            elif turned:
                hint = "The batches are right, but each is turned round."
            raise Wrong(
                f"{place}, batch {batch}: sample {row[first]} comes where {wanted[first]} belongs "
                f"(n = {n}, batches of {batch_size}).",
                hint,
            )
    changed = answer(n=20, batch_size=3)
    walk = iter(changed)
    row = [next(walk)]
    changed.batch_size = 7  # a live change
    row += list(walk)
    require(
        np.array_equal(np.concatenate(row), np.arange(20)[::-1]),
        "when batch_size is changed during an epoch, samples get lost or come twice.",
        "Do not count batches: `self.position` counts samples.",
    )
    require_audit(answer(n=30, batch_size=8), fixed_order=True)


def _loader_class(answer: Any) -> None:
    for n, batch_size in ((50, 16), (40, 10)):
        x, y = np.arange(n * 2.0).reshape(n, 2), np.arange(n) * 3
        loader, twin = answer(x, y, RandomSampler(n, batch_size)), RandomSampler(n, batch_size)
        require(hasattr(loader, "__iter__"), "a loader needs __iter__, so that `for` can use it.")
        first: Any = None
        for epoch in range(3):
            chosen = list(twin)
            if hasattr(type(loader), "__len__"):
                require(
                    len(loader) == len(chosen),
                    f"len(loader) is {len(loader)}, but an epoch has {len(chosen)} batches.",
                    "The sampler knows how many batches it has.",
                )
            else:
                raise Wrong(
                    "the loader has no len().", "Write __len__; the sampler knows the number."
                )
            batches = list(zip(range(len(chosen) + 2), loader))
            require(
                len(batches) == len(chosen),
                f"epoch {epoch}: {len(batches)} batches came, not {len(chosen)}.",
                "Start `iter(self.sampler)` anew in every __iter__, not once in __init__.",
            )
            for number, pair in batches:
                _judge_pair(pair, x, y, chosen[number], first, f"epoch {epoch}, batch {number}")
            first = chosen if first is None else first


def _judge_pair(pair: Any, x: Any, y: Any, wanted: Any, first: Any, place: str) -> None:
    require(
        isinstance(pair, (tuple, list)) and len(pair) == 2,
        f"{place}: a batch must be a pair (x, y).",
        "yield self.x[indices], self.y[indices]",
    )
    rows, labels = (np.asarray(part) for part in pair)
    require(
        rows.shape == (len(wanted), 2),
        f"{place}: x of the batch has shape {rows.shape}, not {(len(wanted), 2)}.",
        "Take the rows that the sampler's indices name: self.x[indices].",
    )
    require(
        labels.shape == (len(wanted),),
        f"{place}: y of the batch has shape {labels.shape}, not {(len(wanted),)}.",
        "Take the labels by the same indices as the rows.",
    )
    came = (rows[:, 0] / 2).astype(int)
    apart = np.flatnonzero(labels != came * 3)
    require(
        not apart.size,
        f"{place}: row {apart[:1].sum()} holds x of one sample and y of another.",
        "Take x and y by the same indices.",
    )
    require(
        np.array_equal(came, wanted),
        f"{place}: the samples are not those that the sampler chose.",
        "Each __iter__ starts one new epoch of the sampler, no more and no fewer."
        if first
        else "Go through the sampler's batches in their order.",
    )


def _two_sources(answer: Any) -> None:
    for many, few, batch_size, ratio in ((200, 10, 20, 0.25), (90, 33, 16, 0.5), (64, 5, 10, 0.1)):
        steps, wanted = 40, round(ratio * batch_size)
        case = f"batches of {batch_size}, ratio {ratio}"
        rows: dict[str, list[Any]] = {"many": [], "few": []}
        came = list(zip(range(steps + 1), answer(many, few, batch_size, ratio, steps, 1)))
        require(
            len(came) == steps, f"{case}: {steps} batches were asked for, {len(came)} came.", _END
        )
        for number, pair in came:
            require(
                isinstance(pair, (tuple, list)) and len(pair) == 2,
                f"batch {number} must be a pair: indices of the large source, and of the small one.",
            )
            sizes = [np.size(part) for part in pair]
            require(
                sizes == [batch_size - wanted, wanted],
                f"{case}, batch {number}: {sizes[0]} of the large and {sizes[1]} of the small "
                f"source, not {batch_size - wanted} and {wanted}.",
                _END if number and sizes[1] < wanted else "",
            )
            for name, indices, n in zip(rows, pair, (many, few)):
                (read,) = read_batches([indices], n, f"batch {number}, {name}")
                rows[name].append(read)
        for name, n in (("many", many), ("few", few)):
            _judge_source(np.concatenate(rows[name]), n, name)
        again = answer(many, few, batch_size, ratio, steps, 2)
        other = np.concatenate([np.concatenate(pair) for _, pair in zip(range(2), again)])
        own = np.concatenate([np.concatenate(pair) for _, pair in came[:2]])
        require(
            not np.array_equal(own, other), "seeds 1 and 2 give the same batches.", "Use the seed."
        )


_END = "The small source ends first: start it again, in a new order, and go on."


def _judge_source(row: Any, n: int, name: str) -> None:
    passes = [row[start : start + n] for start in range(0, len(row) - n + 1, n)]
    for number, part in enumerate(passes):
        require_once(part, n, f"pass {number} of the source of {n}")
    for number, (one, two) in enumerate(zip(passes, passes[1:])):
        require(
            not np.array_equal(one, two),
            f"pass {number + 1} of the source of {n} repeats the order of the one before.",
            "Draw a new permutation whenever a source starts again.",
        )
    require(
        not passes or not np.array_equal(passes[0], np.arange(n)),
        f"the source of {n} comes in the order of the data.",
        "Shuffle each source.",
    )


EXERCISES = by_number(
    Exercise(
        "04.1",
        "write draw for a sampler that walks backwards through the data.",
        _backwards,
        (
            "`self.position` samples of this epoch were drawn. Which sample comes next?",
            "The first index of a batch is self.n - 1 - self.position.",
            "np.arange(first, first - size, -1)",
        ),
        "from the last sample to the first, in every epoch.",
    ),
    Exercise(
        "04.2",
        "write a loader: x, y and a sampler in, batches out, epoch after epoch.",
        _loader_class,
        (
            "A loader keeps x, y and the sampler, and does its work in __iter__.",
            "for indices in self.sampler: what is to be yielded?",
            "yield self.x[indices], self.y[indices]; and __len__ returns len(self.sampler)",
        ),
        "the samples that the sampler chose, with their labels, in every epoch.",
    ),
    Exercise(
        "04.3",
        "fill each batch from two sources, at a stated ratio.",
        _two_sources,
        (
            "Each source has its own order and its own place in it.",
            "When a source has too few left, add a new permutation of it to its row.",
            "two long rows of permutations, cut into pieces of batch_size - k and k",
        ),
        "the ratio holds in every batch, and no source runs dry.",
    ),
)
