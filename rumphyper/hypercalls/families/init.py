"""rumpuser_init: the kernel introduces itself.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser.c.
"""

from __future__ import annotations

from collections.abc import Callable

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
        self.version = 0
        """RUMPUSER_VERSION as the kernel said it; 0 before its rumpuser_init."""

        self.then: Callable[[int, int], int] | None = None
        """A second rumpuser_init that shall hear of the kernel, too."""

        self.others: list[Upcalls] = []
        """Upcalls of families that were made elsewhere."""

    def init(self, version: int, hyp: int) -> int:
        """Check the version, copy the upcalls.

        The stock library aborts on another version; rumpuser(3) asks for a
        non-zero result, so that rump_init can fail in order.
        """
        self.version = version
        if version != RUMPUSER_VERSION:
            raise HypercallError(
                f"rumpuser version {version}",
                f"this hypervisor speaks version {RUMPUSER_VERSION}",
                "use a librump of NetBSD 7 to 10",
                errno=Errno.EINVAL,
            )
        if not hyp:
            raise HypercallError("upcall table", "it is a null pointer")
        for upcalls in (self.upcalls, *self.others):
            upcalls.load(hyp)
        return 0 if self.then is None else self.then(version, hyp)
