"""The data are what their docstrings say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from batchlab import datasets
from batchlab.datasets import Dataset

ALL = [
    datasets.digits_long_tailed,
    datasets.breast_cancer,
    datasets.moons,
    datasets.blobs,
    datasets.rare_events,
]
PLANE = [datasets.moons, datasets.blobs, datasets.rare_events]


@pytest.mark.parametrize("make", ALL)
def test_ready_to_train_on(make: Callable[..., Dataset]) -> None:
    data = make()
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert len(x) == len(y) > 0
        assert np.isfinite(x).all()
        assert set(y.tolist()) == set(range(len(data.classes)))
    assert sum(data.class_counts.values()) == len(data.y_train)
    assert list(data.class_counts) == list(data.classes)


@pytest.mark.parametrize("make", ALL)
def test_same_seed_same_data(make: Callable[..., Dataset]) -> None:
    np.random.seed(5)
    first = make(seed=3)
    np.random.seed(6)
    again, other = make(seed=3), make(seed=4)
    np.testing.assert_array_equal(first.x_train, again.x_train)
    np.testing.assert_array_equal(first.y_test, again.y_test)
    assert first.x_train.shape != other.x_train.shape or (first.x_train != other.x_train).any()


@pytest.mark.parametrize("make", ALL)
def test_global_random_state_is_left_alone(make: Callable[..., Dataset]) -> None:
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    make()
    assert np.random.random() == expected


@pytest.mark.parametrize("make", [*PLANE, datasets.breast_cancer])
def test_scaled_by_the_training_part(make: Callable[..., Dataset]) -> None:
    data = make()
    np.testing.assert_allclose(data.x_train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.x_train.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("make", PLANE)
def test_points_of_the_plane(make: Callable[..., Dataset]) -> None:
    data = make(n=200)
    assert data.x_train.shape[1:] == (2,)
    assert len(data.x_train) + len(data.x_test) == 200


@pytest.mark.parametrize("imbalance", [1, 20, 100])
def test_digits_have_the_stated_imbalance(imbalance: float) -> None:
    data = datasets.digits_long_tailed(imbalance)
    counts = np.bincount(data.y_train)
    assert (np.diff(counts) <= 0).all()
    assert counts[9] == max(1, round(counts[0] / imbalance))
    assert np.bincount(data.y_test).min() > 0.8 * np.bincount(data.y_test).max()
    assert data.x_train.shape[1:] == (8, 8, 1)
    assert data.x_train.min() >= 0
    assert data.x_train.max() <= 1


def test_training_and_test_digits_are_different_images() -> None:
    data = datasets.digits_long_tailed(1)
    train = {image.tobytes() for image in data.x_train}
    assert not train & {image.tobytes() for image in data.x_test}


def test_malignant_is_the_rarer_class() -> None:
    data = datasets.breast_cancer()
    assert data.class_counts["malignant"] / len(data.y_train) == pytest.approx(0.37, abs=0.01)


@pytest.mark.parametrize(("make", "share"), [(datasets.moons, 0.05), (datasets.rare_events, 0.02)])
def test_share_of_the_rare_class(make: Callable[..., Dataset], share: float) -> None:
    data = make(n=2000, share=share)
    for labels in (data.y_train, data.y_test):
        assert np.mean(labels == 1) == pytest.approx(share, abs=0.002)


def test_representation() -> None:
    text = "Dataset('blobs', train=(140, 2), test=(60, 2), classes=3)"
    assert repr(datasets.blobs(n=200, centers=3)) == text


@pytest.mark.parametrize(
    ("make", "settings", "error", "message"),
    [
        (datasets.digits_long_tailed, {"imbalance": 0.5}, ValueError, "from 1 to 100, got 0.5"),
        (datasets.digits_long_tailed, {"imbalance": 101}, ValueError, "imbalance must be from 1"),
        (datasets.digits_long_tailed, {"imbalance": float("nan")}, ValueError, "imbalance"),
        (datasets.digits_long_tailed, {"imbalance": "20"}, TypeError, "imbalance must be a number"),
        (datasets.moons, {"n": 19}, ValueError, "moons: n must be from 20 to 100000000, got 19"),
        (datasets.moons, {"n": 100.0}, TypeError, "n must be a whole number, got 100.0"),
        (datasets.moons, {"n": True}, TypeError, "n must be a whole number, got True"),
        (datasets.moons, {"share": 0}, ValueError, "moons: share must be from 0.005 to 0.5, got 0"),
        (datasets.moons, {"share": 0.6}, ValueError, "share must be from"),
        (datasets.moons, {"n": 100, "share": 0.02}, ValueError, "2 of the rare class.*n=200"),
        (datasets.moons, {"noise": -1}, ValueError, "moons: noise must be 0 or more, got -1"),
        (datasets.rare_events, {"share": 0.001}, ValueError, "rare_events: share must be from"),
        (datasets.rare_events, {"n": 0}, ValueError, "rare_events: n"),
        (datasets.blobs, {"n": 10}, ValueError, "blobs: n must be from 20 to 100000000, got 10"),
        (datasets.blobs, {"n": 20, "centers": 10}, ValueError, "blobs: .*n=40"),
        (datasets.blobs, {"centers": 1}, ValueError, "blobs: centers must be 2 or more, got 1"),
        (datasets.blobs, {"centers": 2.5}, TypeError, "centers must be a whole number"),
        (datasets.blobs, {"spread": -1}, ValueError, "blobs: spread must be 0 or more, got -1"),
        *(
            (make, {"seed": -1}, ValueError, "seed must be from 0 to 4294967295, got -1")
            for make in ALL
        ),
        *((make, {"seed": None}, TypeError, "seed must be a whole number") for make in ALL),
    ],
)
def test_bad_settings(
    make: Callable[..., Dataset], settings: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**settings)


def test_imbalanced_keeps_the_profile_and_whole_rare_classes() -> None:
    y = np.repeat(["rare", "b", "c"], [5, 400, 300])
    kept = datasets.imbalanced(y, 16, seed=1)
    assert dict(zip(*np.unique(y[kept], return_counts=True))) == {"b": 400, "c": 100, "rare": 5}
    np.testing.assert_array_equal(kept, np.sort(kept))
    np.testing.assert_array_equal(datasets.imbalanced(y, 1), np.arange(705))
    assert set(kept) != set(datasets.imbalanced(y, 16, seed=2))


def test_label_noise_is_nested_and_always_wrong() -> None:
    y = np.repeat(["a", "b", "c"], 100)
    some, more = (datasets.with_label_noise(y, share, seed=4) != y for share in (0.1, 0.5))
    assert (some.sum(), more.sum()) == (30, 150)
    assert (some <= more).all()
    assert (datasets.with_label_noise(y, 1.0) != y).all()
    np.testing.assert_array_equal(datasets.with_label_noise(y, 0.0), y)
    with pytest.raises(ValueError, match="one class only"):
        datasets.with_label_noise(np.zeros(5, int), 0.1)
    with pytest.raises(ValueError, match="share must be from 0 to 1"):
        datasets.with_label_noise(y, 1.1)
