"""Interrupts as descriptors: readable when the device has raised one.

`Interrupt.fileno` fits select, poll, epoll and asyncio's ``add_reader``; `wait`
is for a thread of its own. What differs between the drivers is the descriptor
that counts, and how a line is opened again.
"""

from __future__ import annotations

import os
import select
import threading
from abc import ABC, abstractmethod
from typing import Literal

from rumphyper.pci.errors import DeviceClosedError, InterruptError, explained

Kind = Literal["intx", "msi", "msix", "error", "request"]
"""``error`` and ``request`` are vfio's own: an uncorrectable PCI Express error,
and the wish of somebody on the host that the device be given up."""


class Interrupt(ABC):
    """One interrupt: ``kind``, and its ``vector`` among those of that kind.

    A line (``intx``) is masked by the host each time it fires: call `unmask`
    when the device has been served, or no other will come. ``fd`` becomes the
    interrupt's own. Raises DeviceClosedError after `close`.
    """

    def __init__(self, thing: str, kind: Kind, vector: int, fd: int) -> None:
        self.thing = thing
        self.kind = kind
        self.vector = vector
        self._fd = fd
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False
        try:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:  # too many descriptors
            os.close(fd)
            raise

    def fileno(self) -> int:
        """The descriptor: readable from an interrupt on until `read`."""
        if self._closed:
            raise self._gone()
        return self._fd

    def read(self) -> int:
        """How many interrupts have come since the last call; never waits."""
        self._hold()
        try:
            return self._count(self.fileno())
        except BlockingIOError:
            return 0
        except OSError as error:
            raise explained(error, self.thing) from None
        finally:
            self._release()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for at most ``timeout`` seconds; return what `read` does.

        `close`, by another thread, ends the wait with DeviceClosedError.
        """
        self._hold()
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.register(self._bell, select.POLLIN)
            poll.poll(None if timeout is None else max(0.0, timeout * 1000))
            return self.read()
        finally:
            self._release()

    def _hold(self) -> None:
        """Keep the descriptors open until `_release`."""
        with self._lock:
            if self._closed:
                raise self._gone()
            self._users += 1

    def _release(self) -> None:
        with self._lock:
            self._users -= 1
            self._let_go()

    @abstractmethod
    def unmask(self) -> None:
        """Let a line fire again; messages (MSI, MSI-X) need no such thing."""

    @abstractmethod
    def _count(self, fd: int) -> int:
        """Read the descriptor. Raises BlockingIOError when there is nothing."""

    def close(self) -> None:
        """Stop, and wake who waits. Idempotent. The device stops it as well."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.eventfd_write(self._bell, 1)
            self._let_go()

    def _let_go(self) -> None:
        """Close the descriptors once nobody uses them; hold the lock."""
        if self._closed and not self._users and self._bell >= 0:
            os.close(self._bell)
            os.close(self._fd)
            self._bell = self._fd = -1

    def _gone(self) -> DeviceClosedError:
        return DeviceClosedError(self.thing, "it was closed")


class EventInterrupt(Interrupt):
    """An interrupt that the kernel counts in an eventfd, ``fd``, which it owns."""

    def _count(self, fd: int) -> int:
        return os.eventfd_read(fd)

    def unmask(self) -> None:
        self.fileno()


def unsupported(thing: str, kind: Kind, has: dict[str, int]) -> InterruptError:
    """The error for a kind of interrupt that the device does not have."""
    there = ", ".join(f"{name} ({count})" for name, count in has.items() if count)
    cause = f"the device has no {kind} interrupt"
    return InterruptError(thing, cause, f"it has {there}" if there else "poll it")
