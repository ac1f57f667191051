"""The live panel: change the strategy while the model trains.

``session`` trains and takes changes between batches, ``picture`` draws, ``controls`` carries what
sliders say from one thread to another, and ``panel`` is what a notebook shows.
"""

from batchlab.lab.panel import BatchLab

__all__ = ["BatchLab"]
