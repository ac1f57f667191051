"""Choose by hand which samples go into each training batch, and see what the choice does.

The ground floor: ``parameters`` (what a setting is) and ``validation`` (is this array what it should
be?). The rooms, in the way of the data: ``samplers`` (indices), ``checks`` (is this sampler, is
this training what it says it is?), ``loaders`` (arrays), ``loops`` (training),
``history`` (what was chosen, what it did), ``figures`` and ``lab`` (pictures, the live panel),
``comparison`` (strategies against each other, fairly).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public names by room. They are imported when first used: importing a sampler must not import
# TensorFlow, which takes seconds.
_ROOMS = {
    "samplers": (
        "ClassBalancedSampler",
        "CurriculumSampler",
        "MPerClassSampler",
        "MixtureSampler",
        "PrioritizedSampler",
        "RandomSampler",
        "RankSampler",
        "Sampler",
        "Schedule",
        "SequentialSampler",
        "ShardedSampler",
        "StratifiedSampler",
        "WeightedSampler",
    ),
    "checks": ("audit", "check_sampler"),
    "loaders": ("Loader",),
    "loops": (
        "Adversarial",
        "CompiledSteps",
        "PoolSelection",
        "eager_loop",
        "fit_baseline",
        "resume",
        "sample_losses",
        "save",
        "train",
        "use_xla",
    ),
    "history": ("History",),
    "lab": ("BatchLab", "Session"),
    "comparison": ("Comparison", "compare"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *sorted(_ROOM_OF), "datasets", "figures"]

if TYPE_CHECKING:
    from batchlab import datasets, figures
    from batchlab.checks import audit, check_sampler
    from batchlab.comparison import Comparison, compare
    from batchlab.history import History
    from batchlab.lab import BatchLab, Session
    from batchlab.loaders import Loader
    from batchlab.loops import (
        Adversarial,
        CompiledSteps,
        PoolSelection,
        eager_loop,
        fit_baseline,
        resume,
        sample_losses,
        save,
        train,
        use_xla,
    )
    from batchlab.samplers import (
        ClassBalancedSampler,
        CurriculumSampler,
        MixtureSampler,
        MPerClassSampler,
        PrioritizedSampler,
        RandomSampler,
        RankSampler,
        Sampler,
        Schedule,
        SequentialSampler,
        ShardedSampler,
        StratifiedSampler,
        WeightedSampler,
    )


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF:
        return getattr(importlib.import_module(f"batchlab.{_ROOM_OF[name]}"), name)
    if name in {"datasets", "figures", "samplers", "checks", "loaders", "loops", "history", "lab"}:
        return importlib.import_module(f"batchlab.{name}")
    raise AttributeError(f"module 'batchlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
