"""From a history to a picture: matplotlib figures that carry their own description in words.

``figure`` is what they have in common; ``runs``, ``planes``, ``pictures`` and ``compared`` draw.
"""

from batchlab.figures.compared import comparison, verdicts
from batchlab.figures.figure import Figure
from batchlab.figures.pictures import images
from batchlab.figures.planes import (
    borders,
    decision_surface,
    grid_of,
    scatter,
    surface,
    surface_values,
)
from batchlab.figures.runs import class_mix, confusion, learning_curves, smooth, visits

# Notebooks take the colours for their own figures from here, where the other figures are.
from batchlab.style import CHOSEN, DATA, INK, ORANGE, PALETTE, tidy

__all__ = [
    "CHOSEN",
    "DATA",
    "INK",
    "ORANGE",
    "PALETTE",
    "Figure",
    "borders",
    "class_mix",
    "comparison",
    "confusion",
    "decision_surface",
    "learning_curves",
    "scatter",
    "smooth",
    "surface",
    "surface_values",
    "grid_of",
    "images",
    "tidy",
    "verdicts",
    "visits",
]
