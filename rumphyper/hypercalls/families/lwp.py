"""Which lwp a host thread carries.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_pth.c.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.threadstate import hold_thread_state

CREATE, DESTROY, SET, CLEAR = range(4)


class Carried(threading.local):
    """The lwp of the calling thread, 0 without one.

    ``known`` has the same by threads. A thread that is ending has lost what
    was local to it when it gives its lwp back, and finds it again there.
    """

    lwp: int

    def __init__(self, known: Mapping[int, int]) -> None:
        self.lwp = known.get(threading.get_ident(), 0)


class Lwp(Family):
    """The binding of lwps to host threads.

    ``carried.lwp`` is the calling thread's lwp, for families that want it
    without a call. CREATE and DESTROY only inform, as in the stock library.
    """

    family = "lwp"

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self.carried = Carried(self._known)

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
            carried.lwp = self._known[threading.get_ident()] = lwp
            hold_thread_state()
        elif operation == CLEAR:
            if carried.lwp != lwp:
                raise HypercallError(
                    f"lwp {lwp:#x}",
                    f"CLEAR while the thread carries {carried.lwp:#x}",
                    "a bug of the kernel",
                )
            carried.lwp = 0
            self._known.pop(threading.get_ident(), None)

    def curlwp(self) -> int:
        """The calling thread's lwp, 0 (NULL) without one."""
        return self.carried.lwp
