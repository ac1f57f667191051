"""A loss that became NaN: which samples, which step, and what may have caused it."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchlab.history import History
from batchlab.loaders import Loader
from batchlab.loops.targets import not_finite


def nan_error(
    owner: str, loader: Loader, history: History, result: Any, row: int, restored: bool
) -> FloatingPointError:
    """What to raise when the loss of step `row` of a call's `result` is not finite."""
    losses, samples = result.losses[row], result.indices[row]
    offending = samples[~np.isfinite(losses)]
    which = (
        f"samples {offending[:10].tolist()}{' …' if len(offending) > 10 else ''} of the batch"
        if len(offending)
        else f"the whole batch (regularisation or weights): {samples[:10].tolist()} …"
    )
    weights = "those before that step" if restored else "spoilt"
    mend = "Look at these samples, lower the learning rate, or clip gradients (clipnorm=1.0)."
    # Some layers take a NaN for 0, and only their gradients spoil the weights, a step before.
    for batch in (samples, *history.indices[-1:]):
        if where := not_finite(loader.rows(batch)[0], "x", batch):
            mend = f"In the data {where}: fill such values in, or leave their rows out."
            break
    return FloatingPointError(
        f"{owner}: the loss became {result.totals[row]} at step {history.steps}, for {which}. The "
        f"weights are {weights}. {mend}"
    )
