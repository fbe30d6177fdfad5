"""Event channels: Xen's interrupts between domains, by /dev/xen/evtchn.

A port that has fired is masked until it is written back. Facts: Linux
drivers/xen/evtchn.c, include/uapi/xen/evtchn.h.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import threading

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.host.libc import from_oserror
from rumphyper.xen import abi
from rumphyper.xen.nodes import EVTCHN, open_node

MOST = 256
"""Ports that one read takes at most."""


class EventChannels:
    """The ports of one descriptor, which is readable when one of them has fired.

    `fileno` is for select, poll and asyncio (``loop.add_reader``). Raises
    HostError as every method does when the kernel refuses.
    """

    def __init__(self, node: str = EVTCHN) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self._fd = open_node(node)
        try:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        except OSError as error:  # too many descriptors
            os.close(self._fd)
            raise from_oserror(error, node) from None
        self.ports: set[int] = set()
        """The ports that are bound."""

    def fileno(self) -> int:
        return self._fd

    def bind_unbound(self, domain: int) -> int:
        """A new port that ``domain`` may bind itself to."""
        argument = bytearray(abi.PORT.pack(domain))
        return self._bound(abi.BIND_UNBOUND, argument, f"for domain {domain}")

    def bind_interdomain(self, domain: int, port: int) -> int:
        """A new port of ours, bound to one that ``domain`` has made for us."""
        argument = bytearray(abi.INTERDOMAIN.pack(domain, port))
        what = f"to port {port} of domain {domain}"
        return self._bound(abi.BIND_INTERDOMAIN, argument, what)

    def _bound(self, request: int, argument: bytearray, what: str) -> int:
        remedy = "the other side must have made it for this domain"
        port = ioctl(self._fd, request, argument, f"event channel {what}", remedy)
        self.ports.add(port)
        return port

    def unbind(self, port: int) -> None:
        """Close a port. HostError (ENOTCONN): it is none of this descriptor's."""
        self._call(abi.UNBIND, port)
        self.ports.discard(port)

    def notify(self, port: int) -> None:
        """Fire the other end of a port."""
        self._call(abi.NOTIFY, port)

    def _call(self, request: int, port: int) -> None:
        ioctl(self._fd, request, bytearray(abi.PORT.pack(port)), f"port {port}")

    def pending(self) -> list[int]:
        """The ports that have fired; they stay masked. Does not wait."""
        try:
            octets = os.read(self._fd, 4 * MOST)
        except BlockingIOError:
            return []
        except OSError as error:
            raise from_oserror(error, self._node) from None
        return array.array("I", octets).tolist()

    def unmask(self, ports: list[int]) -> None:
        """Let ports fire again; they do so at once when something came meanwhile."""
        if ports:
            os.write(self._fd, array.array("I", ports).tobytes())

    def drain(self) -> list[int]:
        """The ports that have fired, unmasked again."""
        ports = self.pending()
        self.unmask(ports)
        return ports

    def wait(self, timeout: float | None = None) -> list[int]:
        """Wait for ports to fire, at most so many seconds; they stay masked.

        `close`, by another thread, ends the wait with a HostError.
        """
        with self._lock:
            self._check()
            self._waiting += 1
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.register(self._bell, select.POLLIN)
            poll.poll(None if timeout is None else max(0.0, timeout * 1000))
            self._check()
            return self.pending()
        finally:
            with self._lock:
                self._waiting -= 1
                self._let_go()

    def _check(self) -> None:
        if self._closed:
            raise HostError(self._node, "it was closed", "open it again", errno.EBADF)

    def close(self) -> None:
        """Close all ports and the descriptor; wake who waits. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for port in tuple(self.ports):
                # One that the other end has closed is gone; so it is from here, soon.
                with contextlib.suppress(HostError):
                    self.unbind(port)
            self.ports.clear()
            os.eventfd_write(self._bell, 1)
            self._let_go()

    def _let_go(self) -> None:
        """Close the descriptors once nobody waits on them; hold the lock."""
        if self._closed and not self._waiting and self._fd >= 0:
            os.close(self._bell)
            os.close(self._fd)
            self._bell = self._fd = -1

    def __enter__(self) -> EventChannels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
