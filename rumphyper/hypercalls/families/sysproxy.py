"""The syscall proxy: the kernel's system calls for other processes.

The work is done in `rumphyper.hypercalls.proxy`. Facts: rumpuser(3); NetBSD
lib/librumpuser/rumpuser_sp.c.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.proxy.abi import Abi
from rumphyper.hypercalls.proxy.banner import Banner
from rumphyper.hypercalls.proxy.limits import Limits
from rumphyper.hypercalls.proxy.listen import Listener
from rumphyper.hypercalls.proxy.memory import ClientMemory
from rumphyper.hypercalls.proxy.raising import raise_signal
from rumphyper.hypercalls.proxy.server import Server
from rumphyper.hypercalls.proxy.url import parse
from rumphyper.hypercalls.upcalls import Upcalls

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor


class SysProxy(Family):
    """One server for one kernel, from `sp_init` on."""

    family = "sysproxy"

    limits = Limits()

    remote = False
    """Whether TCP addresses outside of the loopback may be served."""

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls
        self.server: Server | None = None
        self._memory: ClientMemory | None = None
        self._say: Callable[[str], object] = print
        self.choose: Callable[[socket.socket], Abi] | None = None
        """How a new client's system calls are made; None: all are NetBSD's."""

        self.on_fini: Callable[[], object] | None = None
        """Called when the kernel ends."""

    def start(self, hypervisor: Hypervisor) -> None:
        """Report what clients do wrong where hypercalls do."""
        self._say = hypervisor.reporter.say

    def stop(self) -> None:
        """End the server, if there is one."""
        if self.server is not None:
            self.server.close()

    def sp_init(
        self,
        url: bytes | None,
        ostype: bytes | None,
        osrelease: bytes | None,
        machine: bytes | None,
    ) -> int:
        """Serve at ``url``, once."""
        if self.server is not None:
            return Errno.EALREADY
        if not self.upcalls.loaded:
            return Errno.ENXIO
        banner = Banner(_text(ostype), _text(osrelease), _text(machine)).pack()
        where = parse(os.fsdecode(url or b""), serving=True)
        listener = Listener(where, self.remote)
        native = Abi(self.upcalls.syscall)
        choose = self.choose or (lambda sock: native)
        server = Server(self.upcalls, listener, banner, self._say, self.limits, choose)
        self._memory = ClientMemory(server)
        server.start()
        self.server = server
        return 0

    def sp_copyin(self, arg: int, raddr: int, laddr: int, len: int) -> int:
        """Copy memory of a client to the kernel."""
        memory = self._memory
        return memory.copyin(arg, raddr, laddr, len) if memory else Errno.EFAULT

    def sp_copyinstr(self, arg: int, raddr: int, laddr: int, len: Any) -> int:
        """Copy a string of a client to the kernel."""
        memory = self._memory
        return memory.copyinstr(arg, raddr, laddr, len) if memory else Errno.EFAULT

    def sp_copyout(self, arg: int, laddr: int, raddr: int, len: int) -> int:
        """Copy memory of the kernel to a client."""
        memory = self._memory
        return memory.copyout(arg, laddr, raddr, len) if memory else Errno.EFAULT

    def sp_copyoutstr(self, arg: int, laddr: int, raddr: int, len: Any) -> int:
        """The same for a string, whose length the kernel has found out."""
        return self.sp_copyout(arg, laddr, raddr, int(len[0]))

    def sp_anonmmap(self, arg: int, howmuch: int, addr: Any) -> int:
        """Map zeroed pages in a client."""
        memory = self._memory
        return memory.anonmmap(arg, howmuch, addr) if memory else Errno.EFAULT

    def sp_raise(self, arg: int, signo: int) -> int:
        """Raise a signal in a client."""
        server = self.server
        return raise_signal(server, arg, signo) if server else Errno.EFAULT

    def sp_fini(self, arg: int) -> None:
        """The kernel ends: nobody can connect any more."""
        if self.on_fini is not None:
            self.on_fini()
        if self.server is not None:
            self.server.farewell(arg)


def _text(octets: bytes | None) -> str:
    return (octets or b"").decode("ascii", "replace")
