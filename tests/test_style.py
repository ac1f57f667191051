"""Colours: one meaning each, told apart, readable on light and dark pages."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from batchlab import figures, style

COMPARED = [
    ("random", "class-balanced", "weighted", "stratified", "m-per-class"),
    ("random", "easy-first", "hard-first", "sequential", "rank", "prioritized"),
    ("random", "easy-first", "hard-first", "random-paced", "self-paced"),
    ("random", "prioritized", "rank", "OHEM", "selective-backprop", "RHO-LOSS"),
    ("random", "FGSM", "PGD", "mixture", "easy-first"),
    ("random", "class-balanced", "stratified", "prioritized", "sequential", "fit"),
]
PANEL = ("random", "class-balanced", "stratified", "prioritized", "sequential")
STRATEGIES = sorted({name for names in COMPARED for name in names})
# Machado, Oliveira & Fernandes (2009), complete protanopia and deuteranopia.
SIGHTS = [
    np.eye(3),
    np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
]
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one: str, two: str) -> float:
    """As WCAG 2 defines it."""
    light, dark = sorted((XYZ[1] @ linear(one) + 0.05, XYZ[1] @ linear(two) + 0.05), reverse=True)
    return light / dark


def lab(colour: str, sight: np.ndarray) -> np.ndarray:
    xyz = XYZ @ np.clip(sight @ linear(colour), 0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("names", COMPARED)
def test_strategies_that_are_compared_are_told_apart(names: tuple[str, ...]) -> None:
    for one, two in itertools.combinations(map(style.colour_of, names), 2):
        for sight in SIGHTS:
            assert np.linalg.norm(lab(one, sight) - lab(two, sight)) > 18, (one, two)


@pytest.mark.parametrize("theme", style.THEMES.values(), ids=lambda theme: theme.name)
def test_everything_can_be_read_on_its_page(theme: style.Theme) -> None:
    assert contrast(theme.ink, theme.background) > 7
    for name in STRATEGIES:
        assert contrast(style.colour_of(name), theme.background) > 2.6, name
    assert contrast(style.class_colours(8, theme)[7], theme.background) > 7


def test_no_strategy_has_the_colour_of_a_class_or_of_another_strategy() -> None:
    colours = [style.colour_of(name) for name in STRATEGIES]
    assert len(set(colours)) == len(STRATEGIES)
    assert not {*colours, style.colour_of("my own")} & set(style.PALETTE)


@pytest.mark.parametrize("theme", style.THEMES.values(), ids=lambda theme: theme.name)
def test_the_panels_strategies_are_told_from_the_data_and_from_the_first_classes(
    theme: style.Theme,
) -> None:
    # Bars of data and batches stand side by side; points and curves have shapes and places, too.
    for name, sight in itertools.product(PANEL, SIGHTS):
        strategy = lab(style.colour_of(name), sight)
        assert np.linalg.norm(strategy - lab(theme.data, sight)) > 12, name
        least = 18 if sight is SIGHTS[0] else 10
        for colour in style.class_colours(3, theme):
            assert np.linalg.norm(strategy - lab(colour, sight)) > least, (name, colour)


@pytest.mark.parametrize(
    ("name", "same_as"),
    [
        ("RandomSampler", "random"),
        ("uniform", "random"),
        ("ClassBalancedSampler", "class-balanced"),
        ("class balanced, 0.5", "class-balanced"),
        ("MPerClassSampler", "m-per-class"),
        ("random, weighted", "weighted"),
        ("curriculum", "easy-first"),
        ("top-k", "OHEM"),
    ],
)
def test_a_strategy_is_known_by_its_name(name: str, same_as: str) -> None:
    assert style.colour_of(name) == style.colour_of(same_as)


def test_the_runs_of_one_picture_have_different_colours() -> None:
    names = ["random", "mine", "random again", "yours", "stratified"]
    colours = style.colours_of(names)
    assert len(set(colours)) == len(names)
    assert (colours[0], colours[-1]) == (style.colour_of("random"), style.colour_of("stratified"))


def test_figures_draw_strategies_in_their_colours() -> None:
    figure = figures.class_mix({"data": [1, 0], "stratified": [0.5, 0.5]}, ["a", "b"])
    colours = [to_hex(bar.get_facecolor()) for bar in figure.axes[0].patches[::2]]
    assert colours == [style.DATA.lower(), style.colour_of("stratified").lower()]
