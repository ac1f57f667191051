"""Is this sampler, this loader, this ``fit`` what it says it is? Reports that name what is wrong.

``report`` says what a finding is, ``record`` keeps what came, epoch by epoch, and judges orders and
frequencies; ``sampler`` (:func:`check_sampler`) judges copies of a sampler.
"""

from batchlab.checks.report import Finding, Report
from batchlab.checks.sampler import check_sampler

__all__ = ["Finding", "Report", "check_sampler"]
