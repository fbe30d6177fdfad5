"""Which lwp a host thread carries.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_pth.c.
"""

from __future__ import annotations

from _thread import get_ident

from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.threadstate import hold_thread_state

CREATE, DESTROY, SET, CLEAR = range(4)


Carried = dict[int, int]
"""The lwp of each thread that has one, by `threading.get_ident`.

Not thread-local: a thread gives its last lwp back when its locals are dropped,
and these come and go in no certain order.
"""


class Lwp(Family):
    """The binding of lwps to host threads.

    ``carried`` tells each thread's lwp, for families that want it without a
    call. CREATE and DESTROY only inform, as in the stock library.
    """

    family = "lwp"

    def __init__(self) -> None:
        self.carried: Carried = {}

    def curlwpop(self, operation: int, lwp: int) -> None:
        """Bind an lwp to the calling thread, or end that.

        A SET over another lwp and a CLEAR of another one than the thread's are
        bugs of the kernel: reported, and the thread's binding stays.
        """
        carried = self.carried
        thread = get_ident()
        if operation == SET:
            if thread in carried or not lwp:
                raise HypercallError(
                    f"lwp {lwp:#x}",
                    f"SET while the thread carries {carried.get(thread, 0):#x}",
                    "a bug of the kernel",
                )
            carried[thread] = lwp
            hold_thread_state()
        elif operation == CLEAR:
            if carried.get(thread, 0) != lwp:
                raise HypercallError(
                    f"lwp {lwp:#x}",
                    f"CLEAR while the thread carries {carried.get(thread, 0):#x}",
                    "a bug of the kernel",
                )
            carried.pop(thread, None)

    def forget(self) -> None:
        """The calling thread ends without giving its lwp back, as at the very end.

        Its ident is another thread's soon, such as the one's that reboots.
        """
        self.carried.pop(get_ident(), None)

    def curlwp(self) -> int:
        """The calling thread's lwp, 0 (NULL) without one."""
        return self.carried.get(get_ident(), 0)
