"""Notebook 08: rare events."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.exercises.judging import (
    Exercise,
    by_number,
    number_of,
    read_epochs,
    require,
    require_audit,
    require_once,
    require_seeded,
    require_sizes,
)


def _stratified(answer: Any) -> None:
    for n, rare, batch_size in ((100, 10, 20), (120, 8, 30), (64, 16, 8)):
        labels = np.zeros(n, np.int64)
        labels[np.random.default_rng(n).choice(n, rare, replace=False)] = 1

        def make(seed: int, labels: Any = labels, batch_size: int = batch_size) -> Any:
            return answer(labels.copy(), batch_size, seed=seed)

        epochs = read_epochs(make(0), n, 4)
        for epoch, batches in enumerate(epochs):
            _judge_shares(batches, labels, batch_size, epoch)
            require_sizes(batches, n, batch_size, f"epoch {epoch}")
            require_once(batches, n, f"epoch {epoch}")
        for epoch, (one, two) in enumerate(zip(epochs, epochs[1:])):
            require(
                not np.array_equal(np.concatenate(one), np.concatenate(two)),
                f"epoch {epoch + 1} repeats epoch {epoch}.",
                "Shuffle both classes anew in every epoch.",
            )
        require_seeded(make, n)
        require_audit(make(3), labels=labels)


def _judge_shares(batches: Any, labels: Any, batch_size: int, epoch: int) -> None:
    wanted = labels.mean() * batch_size
    for number, batch in enumerate(batches):
        if len(batch) < batch_size:
            continue
        events = int(labels[batch].sum())
        hint = "Share out the events evenly over the batches, do not draw them by chance."
        if epoch and not events:
            hint = "What gives out the events is used up after an epoch: fill it again."
        require(
            abs(events - wanted) < 1,
            f"epoch {epoch}, batch {number}: {events} events among {len(batch)}, not about {wanted:g} "
            f"(n = {len(labels)}).",
            hint,
        )


def _recall_at(answer: Any) -> None:
    rng = np.random.default_rng(0)
    for usual, events, alarms in ((400, 200, 0.2), (200, 20, 0.05), (1000, 30, 0.01), (400, 4, 0.1)):
        labels = np.repeat([0, 1], [usual, events])
        scores = np.concatenate([rng.normal(0, 1, usual), rng.normal(1.5, 1, events)])
        order = rng.permutation(len(labels))
        labels, scores = labels[order], 1 / (1 + np.exp(3 - scores[order]))
        of_usual = np.sort(scores[labels == 0])[::-1]
        allowed = int(np.floor(alarms * usual + 1e-9))
        wanted = np.mean(scores[labels == 1] > of_usual[allowed])
        came = number_of(answer(labels, scores, alarms), "the recall")
        hint = "The threshold is the score that the stated share of the *usual* samples exceeds."
        if np.isclose(came, np.mean(scores[labels == 1] > 0.5)):
            hint = "The threshold 0.5 has nothing to do with the stated false alarms."
        elif np.isclose(came, np.mean(scores[labels == 1] > np.quantile(scores, 1 - alarms))):
            hint = "False alarms are counted among the usual samples, not among all."
        elif any(np.isclose(came, _recall(labels, scores, other)) for other in (0.01, 0.05, 0.1)):
            hint = "Is a share of false alarms written into the code?"
        elif np.isclose(came, _recall(labels, scores, 1 - alarms)):
            hint = "That quantile lets nearly all usual samples raise an alarm: 1 - alarms is meant."
        elif np.isclose(came, np.mean(scores[labels == 1] > np.quantile(scores[labels == 1], 1 - alarms))):
            hint = "The threshold comes from the usual samples: they are those who raise false alarms."
        elif np.isclose(came, 1 - wanted):
            hint = "That is the share of the events that are missed."
        require(
            abs(came - wanted) <= 1.01 / events * (events > 4) + 1e-9,
            f"{events} events among {usual + events}, false alarms {alarms:.0%}: recall {came:.3f}, "
            f"not {wanted:.3f}.",
            hint,
        )


def _recall(labels: Any, scores: Any, alarms: float) -> float:
    return float(np.mean(scores[labels == 1] > np.quantile(scores[labels == 0], 1 - alarms)))


def _smallest_batch(answer: Any) -> None:
    for share, chance in ((0.01, 0.05), (0.02, 0.05), (0.1, 0.5), (0.001, 0.01)):
        size = number_of(answer(share, chance), "the size")
        case = f"events {share:.1%}, chance {chance:.0%}"
        require(
            size == int(size), f"{case}: {size:.1f} samples; a batch has a whole number of them."
        )
        without, one_less = ((1 - share) ** each for each in (size, size - 1))
        require(
            without <= chance + 1e-12,
            f"{case}: {without:.1%} of the batches of {size:g} hold no event.",
            "Round up, not down." if (1 - share) ** (size + 1) <= chance else "",
        )
        require(
            one_less > chance,
            f"{case}: {size:g} is enough, but a smaller batch would be, too.",
            "A batch holds no event with chance (1 - share) ** size. Solve for the size.",
        )


EXERCISES = by_number(
    Exercise(
        "08.1",
        "write a sampler whose batches all hold the classes in the shares of the data.",
        _stratified,
        (
            "Shuffle each class by itself, then share both out over the batches.",
            "Give each sample of a class of c the place (rank + 0.5) / c, and sort all by place.",
            "in epoch_started or draw: new permutations of both classes; np.argsort of the places",
        ),
        "every batch is a small picture of the data, in every epoch.",
    ),
    Exercise(
        "08.2",
        "compute recall at a stated false-alarm rate.",
        _recall_at,
        (
            "Find the threshold first: which score does only that share of the usual samples exceed?",
            "np.quantile(scores[labels == 0], 1 - alarms)",
            "np.mean(scores[labels == 1] > threshold)",
        ),
        "right, for four detectors.",
    ),
    Exercise(
        "08.3",
        "compute the smallest random batch that rarely lacks an event.",
        _smallest_batch,
        (
            "With what chance does a batch of `size` hold no event at all?",
            "(1 - share) ** size <= chance. Take logarithms, and mind the sign.",
            "math.ceil(math.log(chance) / math.log(1 - share))",
        ),
        "the smallest size that is enough.",
    ),
)
