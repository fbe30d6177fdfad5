"""rumpuser_init: the kernel introduces itself.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser.c.
"""

from __future__ import annotations

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.record import RUMPUSER_VERSION
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.upcalls import Upcalls


class Init(Family):
    """Keeps the kernel's upcalls in ``upcalls``, which other families share."""

    family = "init"

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls

    def init(self, version: int, hyp: int) -> int:
        """Check the version, copy the upcalls.

        The stock library aborts on another version; rumpuser(3) asks for a
        non-zero result, so that rump_init can fail in order.
        """
        if version != RUMPUSER_VERSION:
            raise HypercallError(
                f"rumpuser version {version}",
                f"this hypervisor speaks version {RUMPUSER_VERSION}",
                "use a librump of NetBSD 7 to 10",
                errno=Errno.EINVAL,
            )
        if not hyp:
            raise HypercallError("upcall table", "it is a null pointer")
        self.upcalls.load(hyp)
        return 0
