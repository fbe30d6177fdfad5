"""Which lwp a host thread carries.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_pth.c.
"""

from __future__ import annotations

import threading

from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.threadstate import hold_thread_state

CREATE, DESTROY, SET, CLEAR = range(4)


class Carried(threading.local):
    """The lwp of the calling thread, 0 without one."""

    lwp: int = 0


class Lwp(Family):
    """The binding of lwps to host threads.

    ``carried.lwp`` is the calling thread's lwp, for families that want it
    without a call. CREATE and DESTROY only inform, as in the stock library.
    """

    family = "lwp"

    def __init__(self) -> None:
        self.carried = Carried()

    def curlwpop(self, operation: int, lwp: int) -> None:
        """Bind an lwp to the calling thread, or end that.

        A SET over another lwp and a CLEAR of another one than the thread's are
        bugs of the kernel: reported, and the thread's binding stays.
        """
        carried = self.carried
        if operation == SET:
            if carried.lwp or not lwp:
                raise HypercallError(
                    f"lwp {lwp:#x}",
                    f"SET while the thread carries {carried.lwp:#x}",
                    "a bug of the kernel",
                )
            carried.lwp = lwp
            hold_thread_state()
        elif operation == CLEAR:
            if carried.lwp != lwp:
                raise HypercallError(
                    f"lwp {lwp:#x}",
                    f"CLEAR while the thread carries {carried.lwp:#x}",
                    "a bug of the kernel",
                )
            carried.lwp = 0

    def curlwp(self) -> int:
        """The calling thread's lwp, 0 (NULL) without one."""
        return self.carried.lwp
