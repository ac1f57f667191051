"""Classes more evenly than they occur."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchlab.parameters import Parameter
from batchlab.samplers.base import Sampler
from batchlab.samplers.draws.state import check_fingerprint, fingerprint
from batchlab.validation import check_labels


class ClassBalancedSampler(Sampler):
    """Draw the classes more evenly than they occur, as far as `balance` says, with replacement.

    A class with ``count`` samples is drawn with chance ``p(class) ~ count * w(class) ** balance``,
    and all samples within a class are alike. The scheme is the weight w:

    - ``"inverse"``: ``1 / count``, so that ``p(class) ~ count ** (1 - balance)``: balance 0 follows
      the data, 1 gives every class the same share;
    - ``"square-root"``: ``1 / sqrt(count)`` (Mahajan et al., 2018, arXiv:1805.00932);
    - ``"effective"``: ``(1 - b) / (1 - b ** count)``, one over the effective number of samples
      (Cui et al., 2019, arXiv:1901.05555), with b = `effective_beta`.

    Changing a setting costs O(classes), a batch O(batch): the class and then the sample are found
    from one number in [0, 1).

    Parameters
    ----------
    labels : array_like of int or str, shape (n,)
        The class of every sample.
    batch_size, seed, drop_last
        See :class:`Sampler`.
    balance : float, default 1.0
        From 0 (as the data) to 1 (as far as the scheme goes). May be changed at any time.
    scheme : {"inverse", "square-root", "effective"}
        What `balance` leads to.
    effective_beta : float, default 0.999
        From 0 (as the data) towards 1 (as "inverse").

    Examples
    --------
    >>> sampler = ClassBalancedSampler(["common"] * 90 + ["rare"] * 10, batch_size=10)
    >>> sampler.class_probabilities
    {'common': 0.5, 'rare': 0.5}
    >>> sampler.scheme = "square-root"
    >>> sampler.class_probabilities
    {'common': 0.75, 'rare': 0.25}
    >>> sampler.balance = 0.0
    >>> sampler.class_probabilities
    {'common': 0.9, 'rare': 0.1}
    """

    foreseen = True
    balance = Parameter(1.0, "0: classes as in the data, 1: as the scheme says", low=0, high=1)
    scheme = Parameter(
        "inverse", "what balance leads to", choices=("inverse", "square-root", "effective")
    )
    effective_beta = Parameter(
        0.999,
        "effective number of samples: 0 as the data",
        low=0,
        high=1 - 1e-9,
        slider=(0, 0.9999),
        source="Cui et al. 2019, arXiv:1901.05555",
        when=("scheme", "effective"),
    )

    def __init__(
        self,
        labels: ArrayLike,
        batch_size: int,
        balance: float = 1.0,
        *,
        scheme: str = "inverse",
        effective_beta: float = 0.999,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.classes, self._codes = check_labels(labels, type(self).__name__)
        self._counts = np.bincount(self._codes)
        self._members = np.argsort(self._codes, kind="stable")  # class after class
        self._starts = np.cumsum(self._counts) - self._counts
        super().__init__(self._codes.size, batch_size, seed=seed, drop_last=drop_last)
        self.balance = balance
        self.scheme = scheme
        self.effective_beta = effective_beta

    @property
    def _shares(self) -> NDArray[np.float64]:
        """Chance of every class, float64 (classes,)."""
        if self.scheme == "effective":
            beta = self.effective_beta
            weights = (1 - beta) / (1 - beta**self._counts)
        else:
            weights = self._counts ** (-1.0 if self.scheme == "inverse" else -0.5)
        shares = self._counts * weights**self.balance
        return shares / shares.sum()

    def draw(self, size: int) -> NDArray[np.int64]:
        ends = np.cumsum(self._shares)
        heights = self.uniforms(size) * ends[-1]
        codes = np.minimum(np.searchsorted(ends, heights, side="right"), ends.size - 1)
        # How far into its class the number fell says which sample of the class.
        share = self._shares[codes]
        counts = self._counts[codes]
        places = ((heights - ends[codes] + share) / share * counts).astype(np.int64)
        return self._members[self._starts[codes] + places.clip(0, counts - 1)]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        return (self._shares / self._counts)[self._codes]

    @property
    def class_probabilities(self) -> dict[Any, float]:
        """Chance of every class in the next draw, by class name, rounded to 12 digits."""
        return {
            name: round(float(share), 12)
            for name, share in zip(self.classes.tolist(), self._shares)
        }

    @cached_property
    def _labels_fingerprint(self) -> str:
        return fingerprint(self._codes)

    def extra_state(self) -> dict[str, Any]:
        return {"labels": self._labels_fingerprint}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        check_fingerprint(state, "labels", self._labels_fingerprint)
