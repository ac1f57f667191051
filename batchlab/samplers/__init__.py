"""Which samples come next: every strategy is an iterable of index arrays, one epoch at a time.

This room knows NumPy and nothing else: a sampler can be read, tested and used without TensorFlow.
"""

from batchlab.parameters import Parameter, Schedule, parameters_of
from batchlab.samplers.balanced import ClassBalancedSampler
from batchlab.samplers.base import Sampler
from batchlab.samplers.curriculum import CurriculumSampler
from batchlab.samplers.draws.permutation import KeyedPermutation
from batchlab.samplers.feedback import PrioritizedSampler, RankSampler
from batchlab.samplers.handpicked import HandPickedSampler
from batchlab.samplers.mixture import MixtureSampler
from batchlab.samplers.sharded import ShardedSampler
from batchlab.samplers.stratified import MPerClassSampler, StratifiedSampler
from batchlab.samplers.uniform import RandomSampler, SequentialSampler
from batchlab.samplers.weighted import WeightedSampler

__all__ = [
    "ClassBalancedSampler",
    "CurriculumSampler",
    "HandPickedSampler",
    "KeyedPermutation",
    "MPerClassSampler",
    "MixtureSampler",
    "Parameter",
    "PrioritizedSampler",
    "RandomSampler",
    "RankSampler",
    "Sampler",
    "Schedule",
    "SequentialSampler",
    "ShardedSampler",
    "StratifiedSampler",
    "WeightedSampler",
    "parameters_of",
]
