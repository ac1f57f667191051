"""Is this sampler, this loader, this ``fit`` what it says it is? Reports that name what is wrong.

``report`` says what a finding is, ``record`` keeps what came, epoch by epoch, and judges its order;
``sampler`` judges copies of a sampler, ``training`` the batches of a training that is not ours.
"""

from batchlab.checks.report import Finding, Report
from batchlab.checks.sampler import check_sampler
from batchlab.checks.training import audit

__all__ = ["Finding", "Report", "audit", "check_sampler"]
