"""Strategies that give every sample, or every class, a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.samplers.base import Sampler
from batchlab.samplers.parameters import Parameter
from batchlab.samplers.state import decode_array, encode_array
from batchlab.samplers.validation import check_labels, check_weights


class WeightedSampler(Sampler):
    """Every sample in proportion to its weight.

    With replacement each draw is sample i with chance ``p_i = w_i / sum(w)``, by inversion of the
    cumulative sum (one number in [0, 1) per draw).

    Without replacement an epoch of `num_samples` different samples is drawn one after the other,
    each in proportion to the weights of those that are left. That is done with exponential keys:
    sort ``e_i / w_i`` with ``e_i`` from the exponential distribution (Efraimidis & Spirakis, 2006).
    Mind the difference: the first draw follows the weights, but the chance to be *anywhere* in the
    epoch does not. With ``num_samples = n`` every sample is drawn exactly once and the weights only
    change the order, not the frequency. Samples of weight 0 are never drawn.

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
    """

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
        self._weights = check_weights(weights, type(self).__name__)
        if num_samples is not None:
            declared = Parameter(1, low=1, name="num_samples")
            num_samples = declared.check(num_samples, type(self).__name__)
        self._num_samples = num_samples
        self._cumulative: NDArray[np.float64] | None = None
        self._upcoming: NDArray[np.int64] | None = None  # without replacement: what is left, in order
        self._taken = np.zeros(self._weights.size, dtype=bool)  # without replacement: seen this epoch
        # Before batch_size, whose limit depends on it.
        self.replacement = replacement
        super().__init__(self._weights.size, batch_size, seed=seed, drop_last=drop_last)

    @property
    def samples_per_epoch(self) -> int:
        if self._num_samples is not None:
            return self._num_samples
        return self._weights.size if self.replacement else np.count_nonzero(self._weights)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights, float64 (n,), read-only; assign a whole new array to change them."""
        view = self._weights.view()
        view.flags.writeable = False
        return view

    @weights.setter
    def weights(self, weights: ArrayLike) -> None:
        new = check_weights(weights, type(self).__name__)
        if new.size != self.n:
            raise ValueError(
                f"{type(self).__name__}: weights must have one entry for each of the {self.n} "
                f"samples, got {new.size}."
            )
        self._check_enough(new, self.replacement)
        self._weights = new
        self.parameter_changed("weights")

    def _check_enough(self, weights: NDArray[np.float64], replacement: bool) -> None:
        positive = np.count_nonzero(weights)
        if not replacement and self._num_samples is not None and self._num_samples > positive:
            raise ValueError(
                f"{type(self).__name__}: without replacement an epoch cannot have "
                f"num_samples={self._num_samples} draws from {positive} samples of weight above 0. "
                f"Use replacement=True or num_samples={positive} or less."
            )

    def check_parameter(self, name: str, value: Any) -> None:
        super().check_parameter(name, value)
        if name == "replacement":
            self._check_enough(self._weights, value)

    def parameter_changed(self, name: str) -> None:
        self._cumulative = self._upcoming = None

    def epoch_started(self) -> None:
        self._upcoming = None
        self._taken[:] = False

    def draw(self, size: int) -> NDArray[np.int64]:
        if self.replacement:
            return self._draw_by_inversion(size)
        if self._upcoming is None:
            self._upcoming = self._order_of_keys()
        chosen, self._upcoming = self._upcoming[:size], self._upcoming[size:]
        self._taken[chosen] = True
        return chosen

    def _draw_by_inversion(self, size: int) -> NDArray[np.int64]:
        if self._cumulative is None:
            # Divided by the largest first: a sum of huge weights must not overflow.
            self._cumulative = np.cumsum(self._weights / self._weights.max())
        cumulative = self._cumulative
        heights = self.uniforms(size) * cumulative[-1]
        # side="right" passes over entries of weight 0; the limit guards against rounding up.
        last = np.searchsorted(cumulative, cumulative[-1])
        return np.minimum(np.searchsorted(cumulative, heights, side="right"), last)

    def _order_of_keys(self) -> NDArray[np.int64]:
        open_ones = np.flatnonzero((self._weights > 0) & ~self._taken)
        keys = self.generator().standard_exponential(self.n)[open_ones] / self._weights[open_ones]
        return open_ones[np.argsort(keys, kind="stable")]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        left = np.where(self._taken, 0.0, self._weights / self._weights.max())
        return left / max(left.sum(), np.finfo(float).tiny)

    def extra_state(self) -> dict[str, Any]:
        return {"weights": encode_array(self._weights), "taken": encode_array(self._taken)}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        weights = check_weights(decode_array(state["weights"]), type(self).__name__)
        taken = decode_array(state["taken"])
        if weights.shape != (self.n,) or taken.shape != (self.n,):
            raise ValueError(f"{type(self).__name__}: the state's arrays are not of length {self.n}.")
        self._weights, self._taken = weights, taken
        self.parameter_changed("weights")


class ClassBalancedSampler(WeightedSampler):
    """Draw the classes more evenly than they occur, as far as `balance` says.

    A class with ``count`` samples is drawn with chance ``p(class) ~ count ** (1 - balance)``, and
    all samples within a class are alike: 0 follows the data, 1 gives every class the same share,
    0.5 is square-root sampling (Mahajan et al., 2018, arXiv:1805.00932). Draws are with replacement.

    Parameters
    ----------
    labels : array_like of int or str, shape (n,)
        The class of every sample.
    batch_size, seed, drop_last
        See :class:`Sampler`.
    balance : float, default 1.0
        From 0 (as the data) to 1 (all classes alike). May be changed at any time.

    Examples
    --------
    >>> sampler = ClassBalancedSampler(["common"] * 90 + ["rare"] * 10, batch_size=10)
    >>> sampler.class_probabilities
    {'common': 0.5, 'rare': 0.5}
    >>> sampler.balance = 0.0
    >>> sampler.class_probabilities
    {'common': 0.9, 'rare': 0.1}
    """

    balance = Parameter(1.0, "0: classes as in the data, 1: all classes alike", low=0, high=1)

    def __init__(
        self,
        labels: ArrayLike,
        batch_size: int,
        balance: float = 1.0,
        *,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.classes, self._codes = check_labels(labels, type(self).__name__)
        self._counts = np.bincount(self._codes)
        super().__init__(
            np.ones(self._codes.size), batch_size, seed=seed, drop_last=drop_last
        )
        self.balance = balance

    def parameter_changed(self, name: str) -> None:
        if name == "balance":
            self._weights = (self._counts ** -float(self.balance))[self._codes]
        super().parameter_changed(name)

    @property
    def class_probabilities(self) -> dict[Any, float]:
        """Chance of every class in the next draw, by class name, rounded to 12 digits."""
        shares = np.bincount(self._codes, weights=self.probabilities)
        return {name: round(float(share), 12) for name, share in zip(self.classes.tolist(), shares)}
