"""The one visual language: what each colour means, on light and on dark pages.

Classes have the colours of Okabe and Ito (2008), strategies have colours of their own that no class
has, the data is grey and the sampler at work, where there is only one, is blue.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation, Transform

# Told apart with every common form of colour blindness.
BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
)
DATA, CHOSEN, INK = "#9A9A9A", BLUE, "#222222"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, INK, "#7F5AA2", "#8C564B")

# The words that name a strategy, and its colour. Those that lessons compare with each other were
# sought to differ most (by 21 CIELAB units or more, with protanopia and deuteranopia too) among the
# colours that can be read on white and on black and that are not those of the first classes.
_STRATEGIES = {
    r"class.?balanc\w*|balanced": "#C070F0",
    r"stratified": "#207040",
    r"m.?per.?class": "#C07020",
    r"hard\w*.first": "#A04020",
    r"easy.?first|easiest.first|curriculum": "#70A070",
    r"random.?paced": "#E87010",
    r"self.?paced": "#7028E8",
    r"prioriti[sz]ed": "#D01080",
    r"rank\w*": "#5070F0",
    r"ohem|top.?k": "#B07060",
    r"selective.?back\w*": "#70A030",
    r"rho\w*": "#7050B0",
    r"fgsm": "#10A030",
    r"pgd|adversarial": "#A04070",
    r"mixture|mixed|sources": "#6070C0",
    r"sequential|in order": "#B09020",
    r"weight\w*": "#F06080",
    r"fit\w*|baseline": "#707020",
    r"random|uniform|shuffled": "#7595BA",
}
# For strategies that are not in the table: a reader's own.
_OTHERS = ("#4D9EA8", "#9A5B8C", "#8A8F3C", "#B5652B", "#5F7FBF", "#A8735A")


_NOT_IN_XML = re.compile("[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Theme:
    """What depends on the page.

    Attributes
    ----------
    name, background, ink, data : str
        Name of the theme; colours of the page, of text and axes, and of the data as against what
        was chosen.
    edge : str
        Colour of the rim of points, which sets them off from a decision surface.
    surface : float
        How opaque that surface is, from 0 to 1.
    """

    name: str
    background: str
    ink: str
    data: str
    edge: str
    surface: float


LIGHT = Theme("light", "#FFFFFF", INK, DATA, edge="#FFFFFF", surface=0.35)
DARK = Theme("dark", "#111111", "#DDDDDD", "#B8B8B8", edge="#AAAAAA", surface=0.3)
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}


def _known(strategy: str) -> str | None:
    words = re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(strategy))).lower()
    return next(
        (colour for name, colour in _STRATEGIES.items() if re.search(rf"\b({name})\b", words)), None
    )


def colour_of(strategy: str) -> str:
    """The colour of a strategy, the same in every picture.

    Examples
    --------
    >>> colour_of("random") == colour_of("RandomSampler") == colour_of("random, seed 3")
    True
    """
    return _known(strategy) or _OTHERS[zlib.crc32(str(strategy).encode()) % len(_OTHERS)]


def colours_of(names: Iterable[str]) -> list[str]:
    """Colours for the runs of one picture, all different: those of their strategies where known."""
    colours: list[str] = []
    rest = cycle(PALETTE)
    for name in names:
        colour = _known(name)
        colours.append(next(rest) if colour is None or colour in colours else colour)
    return colours


def class_colours(classes: int, theme: Theme = LIGHT) -> list[str]:
    """The colours of that many classes, in order; after ten they come again."""
    colours = [theme.ink if colour == INK else colour for colour in PALETTE]
    return [colours[number % len(colours)] for number in range(classes)]


def class_markers(classes: int) -> list[str]:
    """The shapes of the points of that many classes, in order: colour is not all that tells them."""
    shapes = ("o", "^", "s", "D", "v", "P", "X", "p", "<", ">")
    return [shapes[number % len(shapes)] for number in range(classes)]


def literal(text: Any) -> str:
    r"""`text` so that matplotlib draws it as it is: no formula between two ``$``, a sound SVG.

    Names of classes, strategies and sources are a user's own and pass through here. XML knows no
    control characters, so that one of them would spoil a whole file.

    Examples
    --------
    >>> print(literal("$0-$50"), ascii(literal("bell" + chr(7))))
    \$0-\$50 'bell\ufffd'
    """
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", str(text)).replace("$", r"\$")


def tidy(axes: Axes, title: str, xlabel: str, ylabel: str, theme: Theme = LIGHT) -> Axes:
    """Label `axes` in the one way all our pictures have; the texts are drawn as they are."""
    axes.set_title(literal(title), loc="left", fontsize=10, color=theme.ink)
    axes.set_xlabel(literal(xlabel), fontsize=9, color=theme.ink)
    axes.set_ylabel(literal(ylabel), fontsize=9, color=theme.ink)
    axes.tick_params(labelsize=8, colors=theme.ink)
    axes.set_facecolor(theme.background)
    axes.spines[:].set_color(theme.ink)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def moved(axes: Axes, right: float = 0.0, down: float = 0.0) -> Transform:
    """Coordinates from 0 to 1 over `axes`, moved by so many inches: for keys outside of them."""
    return axes.transAxes + ScaledTranslation(right, -down, axes.figure.dpi_scale_trans)
