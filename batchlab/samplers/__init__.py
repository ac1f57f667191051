"""Which samples come next: every strategy is an iterable of index arrays, one epoch at a time.

This room knows NumPy and nothing else, so a sampler can be read, tested and used without TensorFlow.
"""

from batchlab.samplers.base import Sampler
from batchlab.samplers.parameters import Parameter, parameters_of
from batchlab.samplers.uniform import RandomSampler, SequentialSampler
from batchlab.samplers.weighted import ClassBalancedSampler, WeightedSampler

__all__ = [
    "ClassBalancedSampler",
    "Parameter",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "WeightedSampler",
    "parameters_of",
]
