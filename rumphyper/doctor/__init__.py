"""What works on this host: one finding a back end, with reason and remedy."""

from rumphyper.doctor.finding import Finding, Status
from rumphyper.doctor.host import check_all

__all__ = ["Finding", "Status", "check_all"]
