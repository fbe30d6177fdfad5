"""NetBSD's numbers: against the kernel's own list of them where it is here."""

from __future__ import annotations

import errno
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.kernel import constants, message, sockopt
from rumphyper.kernel.constants import Native, flags_to_host, flags_to_netbsd
from rumphyper.kernel.folders import library_folders

TABLES = {
    "AF_": constants.FAMILIES,
    "SOCK_": constants.TYPES,
    "MSG_": constants.MESSAGE_FLAGS,
    "SO_": constants.SOCKET_OPTIONS,
    "IP_": constants.IP_OPTIONS,
    "TCP_": constants.TCP_OPTIONS,
}
RENAMED = {"IP_PKTINFO": "IP_RECVPKTINFO"}
ODD = {"MSG_CMSG_CLOEXEC"}
"""rumpdefs.h spells it MSG_CRUMP_MSG_CLOEXEC: its generator's slip."""


def kernel_definitions() -> dict[str, int]:
    """The numbers in rump/rumpdefs.h, which NetBSD's build makes."""
    for folder in library_folders():
        path = Path(folder).parent / "include" / "rump" / "rumpdefs.h"
        if path.exists():
            text = path.read_text()
            found = re.findall(r"#define\s+RUMP_(\w+)\s+(0x[0-9a-f]+|\d+)\b", text)
            return {name: int(value, 0) for name, value in found}
    pytest.skip("no rump/rumpdefs.h beside the rump kernel's libraries")


def refusal(call: Callable[..., object], *arguments: int) -> int | None:
    """The host's errno that a translation raises."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return None


def test_numbers() -> None:
    defined = kernel_definitions()
    defined["AF_UNIX"] = defined["AF_LOCAL"]
    for table in TABLES.values():
        for name, number in table.items():
            if name not in ODD:
                assert defined[RENAMED.get(name, name)] == number, name
    for name in ("SOCK_CLOEXEC", "SOCK_NONBLOCK", "SOCK_NOSIGPIPE", "SOL_SOCKET"):
        assert defined[name] == getattr(constants, name)


def test_flags() -> None:
    both = socket.MSG_PEEK | socket.MSG_DONTWAIT | socket.MSG_WAITALL
    assert flags_to_netbsd(both) == 0x2 | 0x80 | 0x40
    assert flags_to_host(flags_to_netbsd(both)) == both
    assert flags_to_netbsd(getattr(socket, "MSG_MORE", 0)) == 0
    assert flags_to_host(0x8000) == 0
    assert refusal(flags_to_netbsd, socket.MSG_ERRQUEUE) == errno.EOPNOTSUPP


def test_levels_do_not_collide() -> None:
    """On Linux SOL_SOCKET and IPPROTO_ICMP are both 1."""
    assert constants.LEVEL_TO_NETBSD[socket.SOL_SOCKET] == 0xFFFF
    assert constants.LEVEL_TO_NETBSD[socket.IPPROTO_TCP] == 6


def test_options() -> None:
    translate = sockopt.translate
    assert translate(socket.SOL_SOCKET, socket.SO_REUSEADDR) == (0xFFFF, 4)
    assert translate(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == (6, 3)
    assert translate(Native(0), Native(19)) == (0, 19)
    assert translate(socket.IPPROTO_IP, Native(19)) == (0, 19)
    for level, option in ((4711, 1), (socket.SOL_SOCKET, 4711)):
        assert refusal(translate, level, option) == errno.ENOPROTOOPT


def test_families() -> None:
    assert constants.family_to_netbsd(socket.AF_INET6) == 24
    assert constants.family_to_netbsd(Native(34)) == 34
    assert refusal(constants.family_to_netbsd, 34) == errno.EAFNOSUPPORT


def test_timeval() -> None:
    host = struct.pack("ll", 3, 250_000)
    netbsd = sockopt.value_to_netbsd(0xFFFF, constants.SO_RCVTIMEO, host)
    assert int.from_bytes(netbsd[:8], "little") == 3
    assert int.from_bytes(netbsd[8:12], "little") == 250_000
    assert sockopt.value_to_host(0xFFFF, constants.SO_RCVTIMEO, netbsd) == host


def test_membership_by_index() -> None:
    group = socket.inet_aton("239.0.0.1")
    given = group + bytes(4) + (3).to_bytes(4, "little")
    assert sockopt.value_to_netbsd(0, 12, given) == group + bytes([0, 0, 0, 3])
    plain = group + bytes([10, 0, 0, 1]) + bytes(4)
    assert sockopt.value_to_netbsd(0, 12, plain) == plain[:8]


def test_ancillary_data() -> None:
    items = [
        (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\1\0\0\0"),
        (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, b"\2\0\0\0"),
    ]
    raw = message.pack_ancillary(items)
    assert raw[:12] == b"\x14\0\0\0\xff\xff\0\0\1\0\0\0"
    assert message.unpack_ancillary(raw) == items
    for cut in range(len(raw)):
        message.unpack_ancillary(raw[:cut])  # ends, whatever is missing
    assert message.unpack_ancillary(bytes(64)) == []
