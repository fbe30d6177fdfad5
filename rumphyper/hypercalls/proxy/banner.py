"""The line by which a server of the syscall proxy introduces itself.

``RUMPSP-0.4-NetBSD-7.99.34/amd64`` and a newline: protocol, kernel, release and
machine. It comes once, before any frame. Source: NetBSD rumpuser_sp.c
(rumpuser_sp_init), sp_common.c (MAXBANNER).
"""

from __future__ import annotations

import re

import attrs

from rumphyper.errors import ProtocolError

PROTOCOL = (0, 4)
"""PROTOMAJOR and PROTOMINOR of what `frames` describes."""

MAX_BANNER = 95
"""The longest line: a C string in 96 octets."""

_LINE = re.compile(rb"RUMPSP-(\d{1,9})\.(\d{1,9})-([!-,.-~]*)-([!-~]*)/([!-.0-~]*)\n")

_FOREIGN = re.compile(r"i386|evbearm.*|evbppc|evbmips-.*|sparc.*|.*-eb")
"""Machines of other word sizes or byte orders, by NetBSD's names."""


@attrs.frozen
class Banner:
    """What a server says of itself."""

    ostype: str
    osrelease: str
    machine: str
    protocol: tuple[int, int] = PROTOCOL

    def pack(self) -> bytes:
        """The line as octets; raises ProtocolError if it would be too long."""
        major, minor = self.protocol
        line = f"RUMPSP-{major}.{minor}-{self.ostype}-{self.osrelease}/{self.machine}\n"
        octets = line.encode("ascii", "replace")
        if len(octets) > MAX_BANNER or not _LINE.fullmatch(octets):
            raise ProtocolError(f"banner {line!r}", "too long or not one plain line")
        return octets

    @classmethod
    def parse(cls, line: bytes) -> Banner:
        """Read a line, newline included.

        Raises ProtocolError when it is not a banner at all.
        """
        found = _LINE.fullmatch(line) if len(line) <= MAX_BANNER else None
        if found is None:
            raise ProtocolError(
                f"banner {line[: MAX_BANNER + 1]!r}",
                "this is not a rump kernel's syscall proxy",
                "check the URL: something else listens there",
            )
        major, minor, ostype, osrelease, machine = found.groups()
        return cls(
            ostype=ostype.decode("ascii"),
            osrelease=osrelease.decode("ascii"),
            machine=machine.decode("ascii"),
            protocol=(int(major), int(minor)),
        )

    def check(self) -> None:
        """Raise ProtocolError unless we speak the same protocol and ABI."""
        if self.protocol != PROTOCOL:
            raise ProtocolError(
                "syscall proxy",
                "the server speaks version {}.{} of the protocol".format(
                    *self.protocol
                ),
                "this package speaks {}.{}".format(*PROTOCOL),
            )
        if _FOREIGN.fullmatch(self.machine):
            raise ProtocolError(
                "syscall proxy",
                f"the server runs on {self.machine}",
                "both ends must have words of 64 bits, least significant first",
            )
