"""Other chances for draws that were made already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batchlab.samplers.draws.inversion import CumulativeTable


def coupled(
    draws: NDArray[np.int64],
    chances: NDArray[np.float64],
    factors: NDArray[np.float64],
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], float]:
    """Draws with chances ``~ chances * factors``, of which as many as can be are those given.

    With the mean factor ``m = sum(chances * factors)`` a draw is kept with chance ``min(1, factor /
    m)``, and else replaced by one with chances ``~ chances * max(factors - m, 0)``: the maximal
    coupling of the two distributions (Thorisson, 2000). Where that leaves no choice,
    what has factor 0 is replaced by anything that may come, and nothing else.

    Parameters
    ----------
    draws : ndarray of int64, shape (batch,)
        Draws with chances `chances`.
    chances, factors : ndarray of float64, shape (n,)
        Add up to 1; 0 or more, and not 0 wherever the chance is not.

    Returns
    -------
    draws : ndarray of int64, shape (batch,)
    mean : float

    Examples
    --------
    >>> half, factors = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    >>> coupled(np.array([0, 1, 1, 0]), half, factors, np.random.default_rng(0))
    (array([0, 0, 0, 0]), 0.5)
    """
    wanted = chances * factors
    mean = float(wanted.sum())
    surplus = chances * np.maximum(factors - mean, 0)
    if surplus.any():
        replaced = generator.random(draws.size) * mean >= factors[draws]
    else:
        surplus, replaced = wanted, factors[draws] == 0
    result = draws.copy()
    result[replaced] = CumulativeTable(surplus).find(generator.random(int(replaced.sum())))
    return result, mean
