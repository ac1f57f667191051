"""Small data, real and synthetic, from scikit-learn or made here: nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.datasets import load_breast_cancer, load_digits, make_blobs, make_moons
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from batchlab.parameters import Parameter
from batchlab.validation import check_labels

_SETTINGS = {
    setting.name: setting
    for setting in (
        Parameter(20.0, low=1, high=100, name="imbalance"),
        Parameter(1.0, low=1, name="ratio"),
        Parameter(1000, low=20, high=10**8, name="n"),
        Parameter(0.1, low=0.005, high=0.5, name="share"),
        Parameter(0.2, low=0, name="noise"),
        Parameter(4, low=2, name="centers"),
        Parameter(1.5, low=0, name="spread"),
        Parameter(0, low=0, high=2**32 - 1, name="seed"),
    )
}


@dataclass(frozen=True)
class Dataset:
    """Training and test data for a classifier.

    Attributes
    ----------
    name : str
        What it is.
    x_train, x_test : ndarray of float32, shape (n, ...)
        The inputs, scaled by what is known from the training part alone.
    y_train, y_test : ndarray of int64, shape (n,)
        Class numbers from 0.
    classes : tuple of str
        The names of the classes.
    """

    name: str
    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def class_counts(self) -> dict[str, int]:
        """Training samples per class, by name."""
        counts = np.bincount(self.y_train, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist()))

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, train={self.x_train.shape}, test={self.x_test.shape}, "
            f"classes={len(self.classes)})"
        )


def digits_long_tailed(imbalance: float = 20, seed: int = 0) -> Dataset:
    """Handwritten digits (8 x 8 pixels) with few samples of the high digits.

    Digit ``c`` keeps a share ``imbalance ** (-c / 9)`` of its training samples, the exponential
    profile of Cui et al. (2019, arXiv:1901.05555): there are `imbalance` times as many zeros as
    nines. The test part stays balanced, as nature made it.

    Parameters
    ----------
    imbalance : float, default 20
        Samples of the commonest class per sample of the rarest, from 1 to 100.
    seed : int, default 0
        Which samples are kept, and which are test data.

    Returns
    -------
    Dataset
        Images of shape (n, 8, 8, 1), from 0 to 1. Source: ``sklearn.datasets.load_digits``
        (Alpaydin & Kaynak, 1998).
    """
    _check("digits_long_tailed", imbalance=imbalance, seed=seed)
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8, 1)
    x_train, x_test, y_train, y_test = _split(images, labels, seed)
    rng = np.random.default_rng(seed)
    commonest = np.bincount(y_train).min()  # so that digit 0 has no more than any digit could have
    chosen = rng.permutation(_thinned(y_train, _profile(commonest, imbalance, 10), rng))
    names = tuple(str(digit) for digit in range(10))
    return _dataset(
        f"long-tailed digits, {imbalance:g} : 1",
        x_train[chosen],
        y_train[chosen],
        x_test,
        y_test,
        names,
    )


def breast_cancer(seed: int = 0) -> Dataset:
    """Breast cancer Wisconsin (diagnostic): 30 measurements of cell nuclei, standardised.

    Parameters
    ----------
    seed : int, default 0
        Which samples are test data.

    Returns
    -------
    Dataset
        Inputs of shape (n, 30); class 1, "malignant", is the rarer one (37 %). Source:
        ``sklearn.datasets.load_breast_cancer`` (Street et al., 1993).
    """
    _check("breast_cancer", seed=seed)
    features, labels = load_breast_cancer(return_X_y=True)
    # scikit-learn calls malignant 0; the class one looks for is 1 here, as metrics expect.
    split = _split(features, 1 - labels, seed)
    return _standardised("breast cancer", split, ("benign", "malignant"))


def moons(n: int = 1000, noise: float = 0.2, share: float = 0.1, seed: int = 0) -> Dataset:
    """Two interleaved half circles in the plane; class 1 is the rarer one.

    Parameters
    ----------
    n : int, default 1000
        Number of samples, training and test together; from 20 to 10⁸.
    noise : float, default 0.2
        Standard deviation of the points around the half circles.
    share : float, default 0.1
        Share of class 1 among the samples, from 0.005 to 0.5.
    seed : int, default 0
        Seed of the points and of the split.

    Returns
    -------
    Dataset
        Inputs of shape (n, 2).
    """
    _check("moons", n=n, noise=noise, share=share, seed=seed)
    rare = _rare_count(n, share, "moons")
    points, labels = make_moons((n - rare, rare), noise=noise, random_state=seed)
    return _standardised("moons", _split(points, labels, seed), ("outer", "inner"))


def blobs(n: int = 1000, centers: int = 4, spread: float = 1.5, seed: int = 0) -> Dataset:
    """Round clouds of points in the plane, all of the same size.

    Parameters
    ----------
    n : int, default 1000
        Number of samples, training and test together; from 20 to 10⁸.
    centers : int, default 4
        Number of clouds, one class each.
    spread : float, default 1.5
        Standard deviation of a cloud.
    seed : int, default 0
        Seed of the points and of the split.

    Returns
    -------
    Dataset
        Inputs of shape (n, 2).
    """
    _check("blobs", n=n, centers=centers, spread=spread, seed=seed)
    if n < 4 * centers:
        raise ValueError(
            f"blobs: {n} samples of {centers} clouds are too few to split into training and test "
            f"data. Use n={4 * centers} or more."
        )
    points, labels = make_blobs(n, centers=centers, cluster_std=spread, random_state=seed)
    names = tuple(f"cloud {number}" for number in range(centers))
    return _standardised("blobs", _split(points, labels, seed), names)


def rare_events(n: int = 4000, share: float = 0.02, seed: int = 0) -> Dataset:
    """Sparse anomalies in the plane: a broad cloud, and small groups of rare events at its edge.

    Parameters
    ----------
    n : int, default 4000
        Number of samples, training and test together; from 20 to 10⁸.
    share : float, default 0.02
        Share of rare events among the samples, from 0.005 to 0.5.
    seed : int, default 0
        Seed of the points and of the split.

    Returns
    -------
    Dataset
        Inputs of shape (n, 2); class 1 is the rare event.
    """
    _check("rare_events", n=n, share=share, seed=seed)
    rare = _rare_count(n, share, "rare_events")
    rng = np.random.default_rng(seed)
    usual = rng.normal(size=(n - rare, 2))
    groups = np.array([[2.2, 1.2], [-1.8, 1.8], [0.4, -2.4]])
    events = groups[rng.integers(len(groups), size=rare)] + rng.normal(scale=0.35, size=(rare, 2))
    points = np.concatenate([usual, events])
    labels = np.repeat([0, 1], [n - rare, rare])
    return _standardised("rare events", _split(points, labels, seed), ("usual", "rare"))


def imbalanced(y: ArrayLike, ratio: float, seed: int = 0) -> NDArray[np.int64]:
    """Which samples to keep so that classes become rare one after the other.

    Of the class that is k-th in frequency (k from 0, of C classes) no more than
    ``count of the commonest * ratio ** (-k / (C - 1))`` samples are kept, drawn at random, but at
    least one: the exponential profile of Cui et al. (2019, arXiv:1901.05555). A class that is
    rarer than that already stays whole.

    Parameters
    ----------
    y : array_like of int or str, shape (n,)
        The class of every sample.
    ratio : float
        Samples of the commonest class per sample of the rarest, 1 (as the data are) or more.
    seed : int, default 0
        Which samples are kept.

    Returns
    -------
    ndarray of int64, shape (kept,)
        Indices in rising order.

    Examples
    --------
    >>> y = np.repeat(["a", "b", "c"], 100)
    >>> kept = imbalanced(y, ratio=25)
    >>> np.unique(y[kept], return_counts=True)[1].tolist()
    [100, 20, 4]
    """
    _check("imbalanced", ratio=ratio, seed=seed)
    _, codes = check_labels(y, "imbalanced", "y")
    counts = np.bincount(codes)
    allowed = np.empty_like(counts)
    allowed[np.argsort(-counts, kind="stable")] = _profile(counts.max(), ratio, counts.size)
    return np.sort(_thinned(codes, np.minimum(counts, allowed), np.random.default_rng(seed)))


def with_label_noise(y: ArrayLike, share: float, seed: int = 0) -> NDArray[Any]:
    """A copy of `y` in which a share of the labels is wrong: each of these is another class.

    Symmetric noise: which samples and which of the other classes is left to chance. With one seed
    the wrong labels of a smaller share are among those of a larger one.

    Parameters
    ----------
    y : array_like of int or str, shape (n,)
        The class of every sample; two classes at least, unless `share` is 0.
    share : float
        From 0 to 1; ``round(share * n)`` labels are wrong.
    seed : int, default 0
        Which ones.

    Returns
    -------
    ndarray, shape (n,)

    Examples
    --------
    >>> y = np.zeros(100, int)
    >>> y[50:] = 1
    >>> int((with_label_noise(y, 0.2) != y).sum())
    20
    """
    Parameter(0.0, low=0, high=1, name="share").check(share, "with_label_noise")
    _check("with_label_noise", seed=seed)
    classes, codes = check_labels(y, "with_label_noise", "y")
    if share and classes.size < 2:
        raise ValueError("with_label_noise: y has one class only, so that no label can be wrong.")
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(codes.size)[: round(share * codes.size)]
    steps = rng.integers(1, max(classes.size, 2), size=codes.size)
    codes[wrong] = (codes + steps)[wrong] % classes.size
    return classes[codes]


def _profile(commonest: int, ratio: float, classes: int) -> NDArray[np.int64]:
    """How many samples the classes may have, falling from `commonest` to a `ratio`-th of it."""
    counts = commonest * ratio ** (-np.arange(classes) / max(classes - 1, 1))
    return np.maximum(1, counts.round()).astype(np.int64)


def _thinned(
    labels: NDArray[np.int64], counts: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """So many samples of every class, drawn at random; class after class."""
    members = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in enumerate(counts)]
    return np.concatenate(members)


def _check(owner: str, **settings: Any) -> None:
    """Refuse a setting of the wrong type or out of range."""
    for name, value in settings.items():
        _SETTINGS[name].check(value, owner)


def _rare_count(n: int, share: float, owner: str) -> int:
    rare = round(n * share)
    if rare < 4:
        raise ValueError(
            f"{owner}: {share} of {n} samples is {rare} of the rare class, too few to split into "
            f"training and test data. Use n={int(np.ceil(4 / share))} or more."
        )
    return rare


def _split(x: NDArray[Any], y: NDArray[Any], seed: int) -> list[NDArray[Any]]:
    return train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)


def _standardised(name: str, split: list[NDArray[Any]], classes: tuple[str, ...]) -> Dataset:
    x_train, x_test, y_train, y_test = split
    scaler = StandardScaler().fit(x_train)
    return _dataset(
        name, scaler.transform(x_train), y_train, scaler.transform(x_test), y_test, classes
    )


def _dataset(
    name: str,
    x_train: NDArray[Any],
    y_train: NDArray[Any],
    x_test: NDArray[Any],
    y_test: NDArray[Any],
    classes: tuple[str, ...],
) -> Dataset:
    return Dataset(
        name,
        x_train.astype(np.float32),
        y_train.astype(np.int64),
        x_test.astype(np.float32),
        y_test.astype(np.int64),
        classes,
    )
