"""What the exercises share: how batches are read, and what is said of them: symptom, place, hint."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.checks import check_sampler

Epoch = list[NDArray[np.int64]]


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    number, task : str
        Such as ``"04.1"``, and in one sentence what is to be written.
    judge : callable
        Takes the answer, and raises :class:`Wrong` if it is not right.
    hints : tuple of str
        From the gentlest to the one that nearly tells. The first is given with every fault that has
        no hint of its own.
    praise : str
        What is said of a right answer.
    seconds : float
        How long an answer may take; a right one takes a few at most, unless it has to train.
    """

    number: str
    task: str
    judge: Callable[[Any], None]
    hints: tuple[str, ...]
    praise: str
    seconds: float = 30.0


class Wrong(Exception):
    """An answer is not right: the `symptom` with its place, and perhaps a `hint` of its own."""

    def __init__(self, symptom: str, hint: str = "") -> None:
        super().__init__(symptom)
        self.symptom, self.hint = symptom, hint


def by_number(*exercises: Exercise) -> dict[str, Exercise]:
    """A notebook's table of exercises."""
    return {each.number: each for each in exercises}


def require(holds: Any, symptom: str, hint: str = "") -> None:
    """Raise :class:`Wrong` unless `holds`."""
    if not holds:
        raise Wrong(symptom, hint)


# -- numbers -------------------------------------------------------------------------------------


def number_of(value: Any, what: str) -> float:
    """`value` as a float; a symptom if it is no finite number."""
    array = np.asarray(value)
    fine = array.ndim == 0 and array.dtype.kind in "iuf" and np.isfinite(array)
    require(fine, f"{what} must be a number, but it is {_short(value)}.")
    return float(array)


def array_of(value: Any, what: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """`value` as an array of finite numbers of that shape; a symptom if it is none."""
    array = np.asarray(value)
    fine = array.shape == shape and array.dtype.kind in "iuf"
    require(
        fine,
        f"{what} must be {'numbers' if shape else 'a number'} of shape {shape}, but "
        f"it is {_short(value)}" + (f" of shape {array.shape}." if array.dtype != object else "."),
    )
    require(np.isfinite(array).all(), f"{what} holds numbers that are not finite.")
    return array


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    # An address in memory differs from run to run.
    return type(value).__name__ if " at 0x" in text or len(text) > 60 else text


# -- batches of indices --------------------------------------------------------------------------


def read_batches(batches: Iterable[Any], n: int, place: str = "", most: int = 1000) -> Epoch:
    """The index batches of one epoch, each int64 (batch,); a symptom at the first odd one."""
    start = f"{place}, " if place else ""
    read: Epoch = []
    require(
        hasattr(batches, "__iter__"),
        f"{start or 'the answer '}must be batches of indices, but it is {_short(batches)}.",
        "Return a list of index arrays, or `yield` one after the other.",
    )
    for number, batch in enumerate(batches):
        where = f"{start}batch {number}"
        require(
            number < most,
            f"{start}the batches do not end: more than {most} came for {n} samples.",
            "Stop when every sample of the epoch was shown.",
        )
        try:
            array = np.asarray(batch)
        except ValueError:  # rows of different lengths
            array = np.empty(0)
        require(
            array.ndim == 1 and array.dtype.kind in "iu" and array.size,
            f"{where}: a batch must be a row of whole numbers, but it is {_short(batch)}.",
            "A batch is an array of sample numbers, such as np.array([4, 0, 7]).",
        )
        wrong = array[(array < 0) | (array >= n)]
        if wrong.size:
            raise Wrong(
                f"{where}: index {wrong[0]}, but the {n} samples have the numbers 0 to {n - 1}.",
                "" if n and number == 0 and place in ("", "epoch 0") else _COUNTER,
            )
        read.append(array.astype(np.int64))
    require(
        read,
        f"{start or 'the answer '}holds no batch.",
        "A generator can be run only once: start anew in every __iter__.",
    )
    return read


_COUNTER = (
    "Something you count is not set back when an epoch begins, or a number of samples is written "
    "into the code. Look at what `self.position` and `self.n` say."
)


def read_epochs(sampler: Any, n: int, epochs: int = 3) -> list[Epoch]:
    """Several epochs of a sampler."""
    return [read_batches(sampler, n, f"epoch {epoch}") for epoch in range(epochs)]


def require_sizes(batches: Epoch, n: int, batch_size: int, place: str = "") -> None:
    """Batches are full but for the last, and hold n samples together."""
    start = f"{place}, " if place else ""
    for number, batch in enumerate(batches):
        wanted = min(batch_size, n - number * batch_size)
        require(
            wanted > 0 and len(batch) == wanted,
            f"{start}batch {number} holds {len(batch)} samples, not {max(wanted, 0)} "
            f"(n = {n}, batches of {batch_size}).",
            "Cut the epoch into pieces of batch_size; the last one is what is left.",
        )
    total = sum(map(len, batches))
    require(
        total == n,
        f"{start}the batches hold {total} samples together, not {n} (batches of {batch_size}).",
        "The last batch may be smaller than the others, but it is not left out.",
    )


def require_once(epoch: Epoch | NDArray[np.int64], n: int, place: str = "the epoch") -> None:
    """Every sample comes exactly once."""
    joined = np.concatenate(epoch) if isinstance(epoch, list) else epoch
    visits = np.bincount(joined, minlength=n)
    if visits.max() > 1:
        twice = int(visits.argmax())
        raise Wrong(
            f"{place}: sample {twice} comes {visits[twice]} times (n = {n}).",
            "Every sample is to come once per epoch: draw without replacement.",
        )
    require(
        visits.min() == 1,
        f"{place}: sample {int(visits.argmin())} never comes (n = {n}).",
        "No sample may get lost. Is a number of samples written into the code?",
    )


def require_shuffled(orders: Sequence[NDArray[np.int64]]) -> None:
    """Epochs are shuffled thoroughly, and each anew."""
    for epoch, order in enumerate(orders):
        n = len(order)
        in_place = np.mean(order == np.arange(n))
        beside = np.mean(np.diff(order) == 1)
        require(
            beside < 0.3,
            f"epoch {epoch}: most samples come right after their neighbour in the data.",
            "Samples are to be shuffled, not batches, and not just a few of them.",
        )
        moved = np.abs(order - np.arange(n)).mean()
        require(
            in_place < 0.3 and moved > 0.22 * n,  # a third of n is expected of a permutation
            f"epoch {epoch}: samples stay near their old place.",
            "Whatever shuffles must have all samples at hand. How large is its buffer?",
        )
    for one, two in itertools.combinations(range(len(orders)), 2):
        require(
            not np.array_equal(orders[one], orders[two]),
            f"epoch {two} has the same order as epoch {one}.",
            "A new order is needed in every epoch: draw again, with randomness that goes on.",
        )


def require_seeded(make: Callable[[int], Any], n: int, epochs: int = 2) -> None:
    """Equal seeds give equal batches, other seeds give others, and nothing outside decides."""

    def seen(seed: int) -> list[list[int]]:
        return [np.concatenate(epoch).tolist() for epoch in read_epochs(make(seed), n, epochs)]

    first = seen(1)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002 (does an answer draw from it?)
    again = seen(1)
    np.random.set_state(state)  # noqa: NPY002
    require(
        again == first,
        "seed 1 twice: the batches differ.",
        "All randomness must come from the seed: no np.random.…, no unseeded default_rng().",
    )
    require(
        seen(2) != first,
        "seeds 1 and 2 give the same batches.",
        "The seed is not used. Is one written into the code?",
    )


def require_audit(
    sampler: Any,
    *,
    labels: ArrayLike | None = None,
    expected: ArrayLike | None = None,
    epochs: int = 3,
    fixed_order: bool = False,
) -> None:
    """No fault in what :func:`batchlab.check_sampler` reports; a fixed order may repeat."""
    report = check_sampler(sampler, labels, epochs=epochs, expected=expected)
    for finding in report.findings:
        if finding.level == "fault" and not (fixed_order and finding.topic in ("epochs", "seed")):
            raise Wrong(f"{finding.topic}: {finding.message}")
