"""How a batch becomes a better model: three loops with one mathematics.

``fit_baseline`` is ``model.fit``, ``eager_loop`` the readable loop, ``train`` the compiled one.
Given the same batches they end with the same weights.

``training`` is ``train`` itself. The loop is in ``runner``, which the panel uses too: it takes what
is left of an ``epoch`` and runs ``compiled`` steps, which hand a ``program`` (the training step, many
times per call, by the rule of ``xla``) its data. ``distributed`` takes the steps on several devices
and machines. ``selection`` and ``adversarial`` change what a batch is, ``own_step`` what a step is;
``callbacks``, ``checkpoint`` and ``interrupt`` are what goes on around it. ``ready`` and
``targets`` are what is refused before the first step, ``nan`` what is said of a loss that is none,
``step`` what all loops share, and what is private in Keras stands in ``keras_private``.
"""

from batchlab.loops.adversarial import Adversarial
from batchlab.loops.callbacks import LogSelection
from batchlab.loops.checkpoint import resume, save
from batchlab.loops.compiled import CompiledSteps
from batchlab.loops.eager import eager_loop
from batchlab.loops.fit import fit_baseline
from batchlab.loops.selection import PoolSelection, sample_losses
from batchlab.loops.training import train
from batchlab.loops.xla import use_xla

__all__ = [
    "Adversarial",
    "CompiledSteps",
    "LogSelection",
    "PoolSelection",
    "eager_loop",
    "fit_baseline",
    "resume",
    "sample_losses",
    "save",
    "train",
    "use_xla",
]
