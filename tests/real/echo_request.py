"""Pings by raw sockets: Linux's own, or the rump kernel's."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Any

from rumphyper.net.checksum import checksum


def ping(make_socket: Any, address: str, count: int = 3, timeout: float = 2.0) -> int:
    """Send echo requests one after the other; return how many were answered.

    ``make_socket`` is socket.socket or a kernel's `socket`. For IPv6 the kernel
    behind the socket fills in the checksum.
    """
    six = ":" in address
    family = socket.AF_INET6 if six else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    target = socket.getaddrinfo(address, None, family)[0][4] if six else (address, 0)
    request, reply = (128, 129) if six else (8, 0)
    answered = 0
    with make_socket(family, socket.SOCK_RAW, protocol) as sock:
        for number in range(count):
            mark = os.urandom(32)
            body = struct.pack(">HH", os.getpid() & 0xFFFF, number) + mark
            head = struct.pack(">BBH", request, 0, 0)
            if not six:
                head = struct.pack(">BBH", request, 0, checksum(head + body))
            sock.sendto(head + body, target)
            end = time.monotonic() + timeout
            while time.monotonic() < end:
                sock.settimeout(max(0.001, end - time.monotonic()))
                try:
                    data, _ = sock.recvfrom(2048)
                except TimeoutError:
                    break
                message = data if six else data[(data[0] & 15) * 4 :]
                if message[0] == reply and message[4:] == body:
                    answered += 1
                    break
    return answered


def ping_patiently(make_socket: Any, address: str, count: int = 3) -> int:
    """`ping`, after the first answer: a link that has just come up may lose some."""
    for _ in range(20):
        if ping(make_socket, address, 1, 0.5):
            return ping(make_socket, address, count)
    return 0
