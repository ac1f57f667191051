"""Curves that grow: few points are kept, they look like all of them, and the steps can be read."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from batchlab import Session
from batchlab.lab.drawing.picture import Picture
from batchlab.lab.drawing.thinned import MOST_PLACES, Thinned
from batchlab.style import THEMES

N = 50_000  # points that are painted
STYLES = [{"linewidths": 0.6}, {"linewidths": 1.2}]  # of losses, and of their means


def points_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([np.arange(1, len(values) + 1), values])


def in_pieces(points: NDArray[np.float64], sizes: list[int]) -> Thinned:
    curve, start = Thinned(), 0
    for size in [*sizes, len(points)]:
        curve.extend(points[start : start + size])
        start += size
    return curve


@given(
    st.integers(1, 12_000),
    st.lists(st.integers(0, 3000), max_size=8),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(0, 99),
)
def test_each_place_keeps_its_lowest_and_highest_however_the_points_came(
    n: int, sizes: list[int], lost: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-50, 50, n) / 8  # with ties
    values[rng.random(n) < lost] = np.nan
    curve = in_pieces(points_of(values), sizes)
    assert curve.count == n
    assert curve.every == 1 or n / curve.every > MOST_PLACES / 2
    assert len(curve.points) <= 4 * MOST_PLACES + 1
    steps, kept = curve.points.T
    assert (np.diff(steps) > 0).all()
    assert steps[-1] == n
    np.testing.assert_array_equal(kept, values[steps.astype(int) - 1])
    np.testing.assert_array_equal(curve.points, in_pieces(points_of(values), []).points)
    dense = np.full(n, np.nan)
    dense[steps.astype(int) - 1] = kept
    places = np.arange(0, n, curve.every)
    for extreme in (np.fmin, np.fmax):  # they look past NaN
        np.testing.assert_array_equal(*(extreme.reduceat(each, places) for each in (dense, values)))
    gaps = np.logical_or.reduceat(np.isnan(values), places)
    kept_gaps = (steps[np.isnan(kept)] - 1) // curve.every
    np.testing.assert_array_equal(np.unique(kept_gaps), np.flatnonzero(gaps))


def test_a_short_curve_is_kept_whole() -> None:
    points = points_of(np.random.default_rng(0).random(2 * MOST_PLACES))
    np.testing.assert_array_equal(in_pieces(points, [100]).points, points)


def test_of_finite_values_two_are_kept_to_a_place() -> None:
    curve = in_pieces(points_of(np.random.default_rng(0).random(100_000)), [])
    assert len(curve.points) <= 2 * MOST_PLACES + 1


def losses(n: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return (0.1 + 0.5 * np.exp(-np.arange(n) / 5000)) * rng.gamma(9, 1 / 9, n)


def painted(
    points: NDArray[np.float64], style: dict[str, float], limit: float = N
) -> NDArray[np.float64]:
    """The pixels of a curve as large as in the panel, from 0 (paper) to 1 (line)."""
    figure = Figure(figsize=(2.3, 1.3), dpi=110)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, limit), ylim=(0, 1))
    axes.set_axis_off()  # the frame is no part of the curve
    axes.add_collection(LineCollection([points], colors="black", **style), autolim=False)
    canvas.draw()
    return 1 - np.asarray(canvas.buffer_rgba())[..., 0] / 255


@pytest.mark.parametrize("style", STYLES)
def test_it_looks_like_all_of_the_curve(style: dict[str, float]) -> None:
    values = losses(N)
    values[[30_000, 41_111]] = 0.9, 0.7  # peaks of one step
    points = points_of(values)
    few = in_pieces(points, [700, 9_000]).points
    assert len(few) < len(points) / 50
    whole, thin = painted(points, style), painted(few, style)
    assert np.abs(whole - thin).sum() < 0.02 * whole.sum()
    every = painted(points[:: -(-N // MOST_PLACES)], style)  # as one would without
    assert np.abs(whole - every).sum() > 0.2 * whole.sum()


# Steps and the end of their axis; in two of these a place has just become twice as wide.
@pytest.mark.parametrize(("n", "limit"), [(12_900, 15_000), (25_700, 30_000), (95_000, 100_000)])
@pytest.mark.parametrize("style", STYLES)
def test_no_peak_moves_by_more_than_a_pixel(n: int, limit: int, style: dict[str, float]) -> None:
    points = points_of(losses(n))
    both = (painted(each, style, limit) > 0.3 for each in (points, in_pieces(points, []).points))
    heights = [np.pad(each.argmax(axis=0), 1, mode="edge") for each in both]
    for peaks, others in itertools.permutations(heights):
        highest = np.min([others[:-2], others[1:-1], others[2:]], axis=0)  # here or a pixel aside
        assert (highest - peaks[1:-1])[: int(253 * n / limit) - 1].max() <= 1


@pytest.mark.parametrize("width", ["wide", "narrow"])
@pytest.mark.parametrize("runs", [1, 2])
def test_the_steps_can_be_read_however_many_they_are(width: str, runs: int) -> None:
    sessions = [Session(np.eye(40, 2, dtype=np.float32), np.arange(40) % 2) for _ in range(runs)]
    drawn = Picture(sessions, width=width)
    for steps in (10, 300, 2_000, 20_000, 10**6):
        for session in sessions:
            new = np.zeros((steps - session.history.steps, 1), int)
            session.history.record(new, new + 1.0)
        drawn.png()
        for axes in (drawn.axes["L"], drawn.axes["R"]):
            places = axes.get_xticks()
            labels = np.array(axes.get_xticklabels())[places <= axes.get_xlim()[1]]
            boxes = [label.get_window_extent() for label in labels]
            assert len(boxes) > 2
            between = [right.x0 - left.x1 for left, right in itertools.pairwise(boxes)]
            assert min(between) > 7  # pixels: a digit's width
            assert not axes.xaxis.get_offset_text().get_text()  # as 1e6, across the axis' name
            assert (places == places.round()).all()


@pytest.mark.parametrize("theme", THEMES)
def test_a_dense_curve_hides_no_other(theme: str) -> None:
    rng, pictures = np.random.default_rng(0), []
    scattered = rng.random((20_000, 1))
    for loss in (0.48, 0.52):  # within what the other run's means of 20 paint
        runs = [Session(np.eye(40, 2, dtype=np.float32), np.arange(40) % 2) for _ in range(2)]
        for run, losses_of_run in zip(runs, (np.full_like(scattered, loss), scattered)):
            run.history.record(np.zeros(scattered.shape, int), losses_of_run)
        drawn = Picture(runs, theme)
        pixels = np.asarray(Image.open(io.BytesIO(drawn.png())).convert("RGB"), int)
        left, low, right, high = drawn.axes["L"].get_window_extent().extents.astype(int)
        pictures.append(pixels[len(pixels) - high : len(pixels) - low, left:right])
    seen = np.abs(np.subtract(*pictures)).max(axis=2) > 25
    assert seen.any(axis=0).mean() > 0.5  # the axis is half as long again
