"""How a batch becomes a better model: three loops with one mathematics.

``fit_baseline`` is ``model.fit``, ``eager_loop`` the readable loop, ``train`` the compiled one. Given
the same batches they end with the same weights.
"""

from batchlab.loops.compiled import CompiledSteps, train
from batchlab.loops.eager import eager_loop
from batchlab.loops.fit import fit_baseline

__all__ = ["CompiledSteps", "eager_loop", "fit_baseline", "train"]
