"""System calls over a connection to a kernel in another process.

The counterpart of local.py: arguments are what ctypes would pass to librump's
functions, results what they return, or minus NetBSD's errno. What a pointer
points to is lent to the server while its call is in flight (remotememory.py).
"""

from __future__ import annotations

import operator
import os
import struct
import threading
import time
from typing import Any

from rumphyper.errors import KernelError, RumphyperError
from rumphyper.hypercalls.errno import Errno, to_host
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.frames import ERROR, SYSCALL, SYSRESP
from rumphyper.hypercalls.proxy.url import ProxyUrl
from rumphyper.kernel.remotehandshake import Opened, Prefork, open_server
from rumphyper.kernel.remotelink import Connection
from rumphyper.kernel.remotememory import (
    Range,
    address,
    lend,
    lend_message,
    lend_object,
    lend_vector,
)
from rumphyper.kernel.syscallnumbers import SYSCALLS, TRANSFERS
from rumphyper.kernel.syscalls import LONG, VERSIONS
from rumphyper.kernel.transport import Call

CHUNK = 16 << 20
"""Octets that one call moves at most: a copy is one frame, and that has a limit."""

_IOCPARM_MASK = 0x1FFF  # sys/sys/ioccom.h
_M32, _M64 = (1 << 32) - 1, (1 << 64) - 1
_EINTR = -int(Errno.EINTR)
_unpack_result = SYSRESP.unpack


def number_of(argument: Any) -> int:
    """An integer argument: an int, a ctypes number, or None for 0."""
    if argument is None:
        return 0
    value = getattr(argument, "value", argument)
    return operator.index(value)


def kernel_error(number: int, thing: str) -> KernelError:
    """The KernelError for NetBSD's errno ``number``."""
    host = to_host(number)
    return KernelError(thing, os.strerror(host), "", host, number)


class RemoteTransport:
    """System calls by the syscall proxy; see transport.Transport.

    With ``reconnect`` above 0, a call that finds the connection lost connects
    again first and tries that for so many seconds.
    """

    def __init__(
        self, url: ProxyUrl, opened: Opened, timeout: float | None, reconnect: float
    ) -> None:
        self.url = url
        self.banner = opened.banner
        self.link = Connection(opened, f"rump kernel at {url}")
        self._timeout = timeout
        self._reconnect = reconnect
        self._lock = threading.Lock()
        self.down = False

    def bind(self, name: str) -> Call:
        """The call ``name`` with its arguments packed by `SYSCALLS`."""
        name = VERSIONS.get(name, name)
        if name not in SYSCALLS:
            raise KernelError(name, "no system call of a rump kernel has this name", "")
        number, slots = SYSCALLS[name]
        layout = struct.Struct("=" + "".join("8x" if s == "-" else "Q" for s in slots))
        letters = slots.replace("-", "")
        wide = name in LONG
        transfer = name in TRANSFERS

        def call(*arguments: Any) -> int:
            if len(arguments) != len(letters):
                raise TypeError(
                    f"{name} takes {len(letters)} arguments ({len(arguments)} given)"
                )
            ranges: list[Range] = []
            words, total = pack(letters, arguments, ranges, transfer)
            link = self.link
            if self._reconnect and link.closed:
                link = self._again(link)
            frame = link.request(SYSCALL, number, layout.pack(*words), ranges)
            if frame.cls == ERROR:
                return -frames.errno_of(frame.word)
            if frame.type != SYSCALL:
                raise link.reject(frame, "answers a system call")
            result: int
            error, result, _ = _unpack_result(frame.body)
            if error:  # the kernel's ERESTART (-3) is EINTR here
                return -error if error > 0 else _EINTR
            if transfer and not 0 <= result <= total:
                raise link.reject(frame, f"{result} octets moved of {total}")
            return result if wide else (result + (1 << 31) & _M32) - (1 << 31)

        return call

    def _again(self, lost: Connection) -> Connection:
        """Another connection in place of a lost one: `link` from now on."""
        with self._lock:
            if self.link is not lost or self.down:
                return self.link
            end = time.monotonic() + self._reconnect
            pause = 0.05
            while True:
                try:
                    opened = open_server(self.url, self._timeout)
                    break
                except RumphyperError:
                    if self.down or time.monotonic() + pause > end:
                        return lost
                time.sleep(pause)
                pause = min(pause * 2, 1.0)
            self.link = Connection(opened, lost.name)
            if self.down:  # `close` may have found the lost one here
                self.link.close()
            return self.link

    def prefork(self) -> Prefork:
        """Have the kernel copy our process, for another connection to take over."""
        link = self.link
        frame = link.request(frames.PREFORK, 0, b"", [])
        if frame.cls == ERROR:
            raise kernel_error(frames.errno_of(frame.word), "PREFORK")
        if frame.type != frames.PREFORK:
            raise link.reject(frame, "answers a PREFORK")
        return Prefork(self.url, frame.body)

    def close(self) -> None:
        """End the connection; no call connects again."""
        self.down = True
        self.link.close()


def pack(
    letters: str, arguments: tuple[Any, ...], ranges: list[Range], transfer: bool
) -> tuple[list[int], int]:
    """The words of a call's slots, and how many octets a transfer may move.

    What pointers point to is added to ``ranges``. Raises TypeError for an
    argument that its slot does not take.
    """
    words: list[int] = []
    total = size = 0
    sized = -1  # the slot that holds the size of the memory before it
    for place, letter in enumerate(letters):
        argument = arguments[place]
        if letter == "i" or letter == "l":
            value = argument if type(argument) is int else number_of(argument)
            if place == sized:
                value = size
            words.append(value & (_M32 if letter == "i" else _M64))
        elif letter == "r" or letter == "w":
            size = number_of(arguments[place + 1])
            sized = place + 1
            if transfer and letters[sized] == "l":
                total = size = min(size, CHUNK)
            words.append(lend(ranges, argument, size, letter == "w"))
        elif letter == "p":
            words.append(lend_object(ranges, argument))
        elif letter == "c":
            room = number_of(arguments[place - 1]) >> 16 & _IOCPARM_MASK
            words.append(lend(ranges, argument, room, True))
        elif letter in "mM":
            start, total = lend_message(ranges, argument, letter == "M")
            words.append(start)
        else:
            start, count = address(argument), number_of(arguments[place + 1])
            total = lend_vector(ranges, start, count, letter == "V")
            words.append(start)
    return words, total
