"""Is this answer right, judged by what it does? Exercises, hints, and predictions that score.

A notebook needs five names: :func:`check` and :func:`hint` for what the learner wrote, and
:func:`predict`, :func:`reveal` and :func:`card` for what the learner expects. :func:`results` is what
was kept, in a small file beside the notebooks.

The exercises of a notebook are one file each, ``e01`` to ``e10``; ``capstone`` is the
task of the last one. ``judging`` has what they share,
``limits`` keeps a learner's code from stopping the notebook.
"""

from __future__ import annotations

from batchlab.exercises.checking import Result, check, hint, results
from batchlab.exercises.predictions import card, predict, reveal

__all__ = ["Result", "card", "check", "hint", "predict", "results", "reveal"]
