"""Serving the kernel's system calls to other processes: the syscall proxy.

The component ``sysproxy`` starts it by a hypercall (NetBSD
sys/rump/kern/lib/libsysproxy/sysproxy.c, rump_init_server). The server is this
package's except with the stock hypercalls, which have one of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from rumphyper.errors import LibraryError, RumphyperError, UnsupportedError, UrlError
from rumphyper.hypercalls.families.sysproxy import SysProxy
from rumphyper.hypercalls.proxy.abi import Abi
from rumphyper.hypercalls.proxy.listen import MODE, check_address, remove_stale
from rumphyper.hypercalls.proxy.url import ProxyUrl, parse
from rumphyper.hypercalls.upcalls import Upcalls
from rumphyper.kernel.linuxabi import Emulation, is_hijacked, linux_abi

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

ABIS = ("auto", "netbsd", "linux")


class ServeCalls:
    """The calls of a `Kernel` that other processes connect by."""

    served = ""
    """The URL that `serve` has returned."""

    served_abi = ""
    """What clients may be: of `ABIS`; ``netbsd`` for ``auto`` that could not be."""

    def serve(self, url: str, *, abi: str = "auto", remote: bool = False) -> str:
        """Serve system calls at ``url``; return the URL for clients.

        ``unix:///PATH``, whose file gets mode 0600, or ``tcp://127.0.0.1:PORT``,
        port 0 for any. Who can connect is root in the kernel; so a TCP address
        of more than this host needs ``remote``. It ends with the kernel.

        ``abi`` says what clients are: ``netbsd`` for NetBSD's tools, programs
        made for librumpclient and `rumphyper.connect`, ``linux`` for programs
        of Linux that librumphijack brings here, ``auto`` for both: clients on
        this host that have librumphijack loaded are Linux's.

        Raises UrlError, HostError when the address is taken or not permitted,
        UnsupportedError (the stock server and ``linux``), LibraryError when
        ``linux`` needs a component that is missing, KernelError when the
        component ``sysproxy`` is not loaded, RumphyperError when it is served
        already.
        """
        kernel = cast("Kernel", self)
        if self.served:
            raise RumphyperError(
                url,
                f"this kernel is served at {self.served} already",
                "one kernel has one server: let clients use that URL",
            )
        where = parse(url, serving=True)
        check_address(where, remote)
        start = kernel.function("rump_init_server", ctypes.c_int, ctypes.c_char_p)
        if where.scheme == "unix":
            remove_stale(where.path)
        ours = _server(kernel)
        _check_abi(abi, ours)
        choose = None if ours is None else _chooser(kernel, ours.upcalls, abi)
        if ours is not None:
            ours.remote = remote
            ours.on_fini = kernel._closer.cancel  # a client may end the kernel
            ours.choose = choose
            error = kernel.invoke(start, os.fsencode(str(where)))
        else:
            error = _serve_by_stock(kernel, where, start)
        if error:
            raise kernel.error(error, str(where), "the error output may say more")
        if ours is not None and ours.server is not None:
            where = ours.server.listener.url
        self.served, self.served_abi = str(where), abi if choose else ABIS[1]
        return self.served

    def _stop_serving(self) -> None:
        """Let clients go in order; the stock server ends in the kernel's reboot."""
        ours = _server(cast("Kernel", self))
        if ours is not None:
            ours.stop()


def _server(kernel: Kernel) -> SysProxy | None:
    family = kernel.hypervisor.families.get("sysproxy")
    return family if isinstance(family, SysProxy) else None


def _check_abi(abi: str, ours: SysProxy | None) -> None:
    if abi not in ABIS:
        raise UnsupportedError(
            f"abi={abi!r}", "no such ABI", f"known: {', '.join(ABIS)}"
        )
    if abi == "linux" and ours is None:
        raise UnsupportedError(
            f"abi={abi!r}",
            "the stock server makes NetBSD's calls only",
            "boot with other hypercalls: hypercalls='hybrid'",
        )


def _chooser(
    kernel: Kernel, upcalls: Upcalls, abi: str
) -> Callable[[socket.socket], Abi] | None:
    """What chooses the ABI of a client; None for NetBSD's."""
    if abi == "netbsd":
        return None
    try:
        emulation = Emulation(kernel.library)
    except LibraryError:
        if abi == "auto":
            return None
        raise
    netbsd = Abi(upcalls.syscall, emulate=emulation.netbsd)
    linux = linux_abi(kernel.library, upcalls, emulation)
    if abi == "linux":
        return lambda sock: linux
    return lambda sock: linux if is_hijacked(sock) else netbsd


def _serve_by_stock(kernel: Kernel, where: ProxyUrl, start: object) -> int:
    if where.scheme == "tcp" and not where.port:
        raise UrlError(
            str(where), "the stock server does not tell its port", "name one"
        )
    with umask(0o777 & ~MODE):
        return kernel.invoke(start, os.fsencode(str(where)))


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Files that are made meanwhile, also by other threads, get no more than that."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
