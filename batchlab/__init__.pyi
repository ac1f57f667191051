# All public names, by room. Read by type checkers, and when the package is imported.

from . import (
    datasets as datasets,
    exercises as exercises,
    figures as figures,
    lab as lab,
    loops as loops,
    samplers as samplers,
)
from .checks import (
    audit as audit,
    check_sampler as check_sampler,
)
from .comparison import (
    Comparison as Comparison,
    Verdict as Verdict,
    compare as compare,
)
from .history import (
    History as History,
)
from .lab import (
    BatchLab as BatchLab,
    Session as Session,
)
from .loaders import (
    Loader as Loader,
)
from .loops import (
    Adversarial as Adversarial,
    CompiledSteps as CompiledSteps,
    LogSelection as LogSelection,
    PoolSelection as PoolSelection,
    eager_loop as eager_loop,
    fit_baseline as fit_baseline,
    resume as resume,
    sample_losses as sample_losses,
    save as save,
    train as train,
    use_xla as use_xla,
)
from .parameters import (
    Parameter as Parameter,
    Schedule as Schedule,
)
from .samplers import (
    ClassBalancedSampler as ClassBalancedSampler,
    CurriculumSampler as CurriculumSampler,
    HandPickedSampler as HandPickedSampler,
    MixtureSampler as MixtureSampler,
    MPerClassSampler as MPerClassSampler,
    PrioritizedSampler as PrioritizedSampler,
    RandomSampler as RandomSampler,
    RankSampler as RankSampler,
    Sampler as Sampler,
    SequentialSampler as SequentialSampler,
    ShardedSampler as ShardedSampler,
    StratifiedSampler as StratifiedSampler,
    WeightedSampler as WeightedSampler,
)

__version__: str
