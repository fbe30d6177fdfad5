"""For host-side code of components: enter and leave the kernel.

Facts: NetBSD lib/librumpuser/rumpuser_component.c.
"""

from __future__ import annotations

from rumphyper.hypercalls.errno import to_netbsd
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.upcalls import Upcalls


class Component(Family):
    """Thin: each is an upcall or two."""

    family = "component"

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls

    def unschedule(self) -> int:
        """Give up the virtual CPU; the cookie is the number of kernel locks."""
        return self.upcalls.give_up()

    def schedule(self, cookie: int) -> None:
        """Get a virtual CPU; the cookie's kernel locks with it."""
        self.upcalls.backend_schedule(cookie & 0x7FFFFFFF, 0)

    def errtrans(self, hosterr: int) -> int:
        """The host's errno as NetBSD's."""
        return to_netbsd(hosterr)

    def kthread(self) -> None:
        """Give this thread an lwp of process 0."""
        upcalls = self.upcalls
        upcalls.schedule()
        upcalls.lwproc_newlwp(0)
        upcalls.unschedule()

    def curlwp(self) -> int:
        """The kernel's current lwp on this thread."""
        upcalls = self.upcalls
        upcalls.schedule()
        lwp = upcalls.lwproc_curlwp()
        upcalls.unschedule()
        return lwp or 0

    def switchlwp(self, lwp: int) -> None:
        """Make another lwp current on this thread."""
        upcalls = self.upcalls
        upcalls.schedule()
        upcalls.lwproc_switch(lwp)
        upcalls.unschedule()

    def kthread_release(self) -> None:
        """Give back this thread's lwp."""
        upcalls = self.upcalls
        upcalls.schedule()
        upcalls.lwproc_release()
        upcalls.unschedule()
