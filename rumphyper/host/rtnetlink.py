"""Just enough rtnetlink(7): addresses of interfaces, and deleting interfaces.

A request is one message; its answers are the messages up to the end of the
dump or the acknowledgement. Facts: the kernel's include/uapi/linux/netlink.h,
rtnetlink.h and if_addr.h; all numbers are in the host's byte order.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator

import attrs
from typing_extensions import Self

from rumphyper.errors import HostError
from rumphyper.host.libc import from_oserror

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""

ATTRIBUTE = struct.Struct("=HH")
"""struct rtattr: length with this header, type."""

IFADDR = struct.Struct("=BBBBi")
"""struct ifaddrmsg: family, prefix length, flags, scope, interface index."""

IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, device type, index, flags, change mask."""

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

IFLA_IFNAME = 3
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_F_NODAD = 0x02

RECEIVE = 1 << 16
"""Octets of one recv(2); the kernel's dumps come in at most half of it."""

TIMEOUT = 10.0
"""Seconds: the kernel answers at once, so this only bounds the impossible."""

RETRIES = 5
"""How often a dump that the kernel marks as interrupted is asked for again."""


@attrs.frozen
class Message:
    """One message: its type and what stands behind its header."""

    kind: int
    flags: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded to four octets."""
    head = ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind)
    return head + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in ``data`` by type; ends at the first that is malformed."""
    found: dict[int, bytes] = {}
    start = 0
    while start + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < ATTRIBUTE.size or start + length > len(data):
            break
        found[kind] = data[start + ATTRIBUTE.size : start + length]
        start += length + -length % 4
    return found


def messages(data: bytes) -> Iterator[tuple[int, Message]]:
    """The messages in ``data``, each behind its sequence number."""
    start = 0
    while start + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, start)
        if length < HEADER.size or start + length > len(data):
            return
        body = data[start + HEADER.size : start + length]
        yield sequence, Message(kind, flags, body)
        start += length + -length % 4


class Rtnetlink:
    """A NETLINK_ROUTE socket of the namespace that the caller is in.

    Raises HostError. For one thread at a time.
    """

    def __init__(self) -> None:
        try:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._socket = socket.socket(socket.AF_NETLINK, kind, 0)
        except OSError as error:
            raise from_oserror(error, "rtnetlink socket") from None
        self._socket.settimeout(TIMEOUT)
        self._sequence = 0

    def change(self, kind: int, flags: int, body: bytes, thing: str) -> None:
        """Make a request that is only acknowledged. HostError named ``thing``."""
        self._exchange(kind, flags | NLM_F_ACK, body, thing)

    def dump(self, kind: int, body: bytes, thing: str) -> list[Message]:
        """Ask for a list. HostError named ``thing``."""
        for _ in range(RETRIES):
            answers = self._exchange(kind, NLM_F_DUMP, body, thing)
            if not any(answer.flags & NLM_F_DUMP_INTR for answer in answers):
                return answers
        return answers

    def _exchange(
        self, kind: int, flags: int, body: bytes, thing: str
    ) -> list[Message]:
        self._sequence += 1
        size = HEADER.size + len(body)
        head = HEADER.pack(size, kind, flags | NLM_F_REQUEST, self._sequence, 0)
        answers: list[Message] = []
        try:
            self._socket.sendto(head + body, (0, 0))
            while True:
                for answer in self._receive():
                    if answer.kind == NLMSG_ERROR:
                        _check(answer, thing)
                        return answers
                    if answer.kind == NLMSG_DONE:
                        return answers
                    answers.append(answer)
        except OSError as error:
            raise from_oserror(error, thing) from None

    def _receive(self) -> Iterator[Message]:
        """Messages of the kernel that answer the latest request."""
        data, (port, _) = self._socket.recvfrom(RECEIVE)
        if port:  # another process may send here, only the kernel is port 0
            return
        for sequence, message in messages(data):
            if sequence == self._sequence:
                yield message

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check(answer: Message, thing: str) -> None:
    """Raise HostError when an NLMSG_ERROR carries an errno (0 acknowledges)."""
    if len(answer.body) < 4:
        raise HostError(thing, "the kernel's answer is cut off", errno=errno.EPROTO)
    number = -int.from_bytes(answer.body[:4], sys.byteorder, signed=True)
    if number:
        remedy = "needs CAP_NET_ADMIN: run as root or in a namespace of your own"
        remedy = remedy if number == errno.EPERM else ""
        raise HostError(thing, os.strerror(number), remedy, number)
