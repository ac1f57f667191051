"""Every sample in proportion to a weight of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler
from batchlab.samplers.draws.inversion import CumulativeTable
from batchlab.samplers.draws.state import (
    check_fingerprint,
    decode_array,
    encode_array,
    fingerprint,
)
from batchlab.validation import check_weights, check_whole


class WeightedSampler(Sampler):
    """Every sample in proportion to its weight.

    With replacement each draw is sample i with chance ``p_i = w_i / sum(w)``, by inversion of the
    cumulative sum (one number in [0, 1) per draw).

    Without replacement an epoch of `num_samples` different samples is drawn one after the other,
    each in proportion to the weights of those that are left. That is done with exponential keys:
    sort ``e_i / w_i`` with ``e_i`` from the exponential distribution (Efraimidis & Spirakis, 2006).
    Mind the difference: the first draw follows the weights, but the chance to be *anywhere* in the
    epoch does not (see the example). With ``num_samples = n`` every sample is drawn exactly once
    and the weights only change the order, not the frequency. Samples of weight 0 are never drawn.

    Parameters
    ----------
    weights : array_like of float, shape (n,)
        Relative weights: finite, not negative, not all zero. May be assigned anew at any time.
    batch_size, seed, drop_last
        See :class:`Sampler`.
    replacement : bool, default True
        Whether a sample may come again within an epoch.
    num_samples : int, optional
        Draws per epoch. By default n; without replacement, the samples of weight above 0.

    Examples
    --------
    >>> sampler = WeightedSampler([1, 1, 8], batch_size=1000, num_samples=1000)
    >>> counts = np.bincount(next(iter(sampler)))
    >>> bool(counts[2] > 700)
    True
    >>> sampler.probabilities.tolist()
    [0.1, 0.1, 0.8]

    Two of five without replacement: sample i is first with chance ``p_i``, or second after some
    other j with chance ``p_j * p_i / (1 - p_j)``. That is not ``2 * p_i``, which would be 1.0, 0.4,
    0.3, 0.2, 0.1:

    >>> p = np.array([10, 4, 3, 2, 1]) / 20
    >>> (p + p * ((p / (1 - p)).sum() - p / (1 - p))).round(3).tolist()
    [0.795, 0.468, 0.362, 0.248, 0.127]
    """

    foreseen = True
    replacement = Parameter(True, "whether a sample may come again within an epoch")

    def __init__(
        self,
        weights: ArrayLike,
        batch_size: int,
        replacement: bool = True,
        num_samples: int | None = None,
        *,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        owner = type(self).__name__
        self._weights = check_weights(weights, owner)
        self._positive = int(np.count_nonzero(self._weights))
        self._changed = False  # since the sampler was built
        if num_samples is not None:
            num_samples = Parameter(1, low=1, name="num_samples").check(num_samples, owner)
        self._num_samples = num_samples
        self._table: CumulativeTable | None = None
        # Without replacement: the order, and from which place of the epoch on it holds (-1: none).
        # It is drawn anew from the samples that are left when the weights change.
        self._keyed_order: tuple[tuple[int, int, int], NDArray[np.int64]] | None = None
        self._ordered_from = -1
        self._drawn_before = np.empty(0, np.int64)
        # Before batch_size, whose limit depends on it.
        self.replacement = replacement
        super().__init__(self._weights.size, batch_size, seed=seed, drop_last=drop_last)

    @property
    def samples_per_epoch(self) -> int:
        if self._num_samples is not None:
            return self._num_samples
        if self.replacement:
            return self._weights.size
        return self._positive + self._drawn_before.size

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights, float64 (n,), read-only; assign a whole new array to change them."""
        view = self._weights.view()
        view.flags.writeable = False
        return view

    @weights.setter
    def weights(self, weights: ArrayLike) -> None:
        new = check_weights(weights, type(self).__name__, length=self.n)
        self._check_enough(int(np.count_nonzero(new)), self.replacement)
        if not self.replacement and self._drawn > 0:
            fresh = self._order_by_keys()[: self._drawn - self._ordered_from]
            self._drawn_before = np.concatenate([self._drawn_before, fresh])
            self._ordered_from = self._drawn
        self._weights, self._changed = new, True
        self.parameter_changed("weights")

    def _check_enough(self, positive: int, replacement: bool) -> None:
        if not replacement and self._num_samples is not None and self._num_samples > positive:
            raise ValueError(
                f"{type(self).__name__}: without replacement an epoch cannot have "
                f"num_samples={self._num_samples} draws from {positive} samples of weight above 0. "
                f"Use replacement=True or num_samples={positive} or less."
            )

    def check_parameter(self, name: str, value: Any) -> None:
        super().check_parameter(name, value)
        if name == "replacement":
            self._check_enough(int(np.count_nonzero(self._weights)), value)

    def parameter_changed(self, name: str) -> None:
        super().parameter_changed(name)
        if name == "replacement" and self.replacement != (self._ordered_from < 0):
            self._ordered_from = -1 if self.replacement else self._drawn
            self._drawn_before = np.empty(0, np.int64)
        if name == "weights":
            self._table = self._keyed_order = None
            self._positive = int(np.count_nonzero(self._open_weights()))

    def epoch_started(self) -> None:
        self._ordered_from = -1 if self.replacement else 0
        self._drawn_before = np.empty(0, np.int64)
        self._positive = int(np.count_nonzero(self._weights))

    def _open_weights(self) -> NDArray[np.float64]:
        if self._drawn_before.size == 0:
            return self._weights
        weights = self._weights.copy()
        weights[self._drawn_before] = 0.0
        return weights

    def draw(self, size: int) -> NDArray[np.int64]:
        if not self.replacement:
            start = self._drawn - self._ordered_from
            return self._order_by_keys()[start : start + size]
        if self._table is None:
            self._table = CumulativeTable(self._weights)
        return self._table.find(self.uniforms(size))

    def _order_by_keys(self) -> NDArray[np.int64]:
        key = (self.seed, self._epoch, self._ordered_from)
        if self._keyed_order is None or self._keyed_order[0] != key:
            weights = self._open_weights()
            # Fresh keys after a change: of those that are left, the old ones are no longer random.
            keys = self.generator(self._ordered_from).standard_exponential(self.n)
            # In logarithms, which hold any two weights apart: 1e300 and 1e-300, too.
            with np.errstate(divide="ignore"):
                keys = np.log(keys) - np.log(weights)
            self._keyed_order = key, np.argsort(keys)[: np.count_nonzero(weights)]
        return self._keyed_order[1]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        chances = self._weights / self._weights.max()
        if not self.replacement and self._drawn < self.samples_per_epoch:
            chances[self._drawn_before] = 0.0
            chances[self._order_by_keys()[: self._drawn - self._ordered_from]] = 0.0
        chances /= chances.sum()
        return chances

    def extra_state(self) -> dict[str, Any]:
        # The weights that the sampler was built with will be there again; live ones will not.
        own = encode_array(self._weights) if self._changed else fingerprint(self._weights)
        return {
            "weights": own,
            "ordered_from": self._ordered_from,
            "drawn_before": self._drawn_before.tolist(),
        }

    def load_extra_state(self, state: dict[str, Any]) -> None:
        if isinstance(state["weights"], dict):
            decoded = decode_array(state["weights"], like=self._weights)
            self._weights, self._changed = check_weights(decoded, type(self).__name__), True
        else:
            check_fingerprint(state, "weights", fingerprint(self._weights))
        self._drawn_before = check_whole(state["drawn_before"], "drawn_before", 0, self.n - 1)
        self._ordered_from = int(
            check_whole([state["ordered_from"]], "ordered_from", -1, self._drawn)[0]
        )
        self.parameter_changed("weights")
