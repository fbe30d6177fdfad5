"""Names of netmap ports: ``netmap:IF`` and ``valeN:PORT`` with their suffixes.

The grammar is that of netmap's libnetmap (nmreq.c, nmreq_header_decode and
nmreq_register_decode)::

    netmap:NAME[SUFFIX][/FLAGS][@MEMID]     vale[ID]:NAME[SUFFIX][/FLAGS][@MEMID]

NAME may name one end of a pipe, ``port{id`` or ``port}id``. SUFFIX is ``^`` (host
rings), ``^k`` (one host ring pair), ``*`` (NIC and host rings) or ``-k`` (one ring
pair). FLAGS are letters: x exclusive, z zero-copy monitor, t and r monitor of what
is sent and received, R and T receiving or sending rings only.
"""

from __future__ import annotations

import re

import attrs

from rumphyper.errors import LinkstrError
from rumphyper.link.netmap_abi import Mode, RegisterFlag

LONGEST = 63
"""Octets of the name that the kernel gets (NETMAP_REQ_IFNAMSIZ less a null)."""
RING_NUMBERS = 0xFFF
"""Numbers of rings are below it (NETMAP_RING_MASK)."""
MEMORY_IDS = 1 << 16

NO_FLAGS = RegisterFlag(0)
FLAGS = {
    "x": RegisterFlag.EXCLUSIVE,
    "z": RegisterFlag.ZCOPY_MON,
    "t": RegisterFlag.MONITOR_TX,
    "r": RegisterFlag.MONITOR_RX,
    "R": RegisterFlag.RX_RINGS_ONLY,
    "T": RegisterFlag.TX_RINGS_ONLY,
}


@attrs.frozen
class PortName:
    """What a port's name says, as the kernel is asked for it."""

    name: str
    """Without ``netmap:``, with ``valeN:`` and with the end of a pipe."""

    mode: Mode = Mode.ALL_NIC
    ring: int = 0
    flags: RegisterFlag = NO_FLAGS
    memory_id: int = 0
    """0 leaves the choice to the kernel."""

    @property
    def vale(self) -> bool:
        """Whether it is a port of a VALE switch."""
        return self.name.startswith("vale") and ":" in self.name

    @property
    def pipe(self) -> bool:
        """Whether it is one end of a pipe."""
        return re.search("[{}]", self.name) is not None

    @property
    def monitor(self) -> bool:
        """Whether it only sees copies of another port's frames."""
        return bool(self.flags & (RegisterFlag.MONITOR_TX | RegisterFlag.MONITOR_RX))


class _Scanner:
    """Reads a name from the left; errors point at the character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def until(self, stops: str) -> str:
        """What is in front of the first of these characters, or all of the rest."""
        begin = self.at
        while self.peek() and self.peek() not in stops:
            self.at += 1
        return self.text[begin : self.at]

    def number(self, what: str, low: int, high: int) -> int:
        begin = self.at
        while self.peek() in set("0123456789"):
            self.at += 1
        digits = self.text[begin : self.at]
        if not digits:
            raise self.error(f"{what} is missing", "write a number there")
        if len(digits) > 9 or not low <= int(digits) < high:
            self.at = begin
            raise self.error(f"{what} is out of range", f"use {low} to {high - 1}")
        return int(digits)

    def error(self, cause: str, remedy: str) -> LinkstrError:
        found = repr(self.peek()) if self.peek() else "the end"
        where = f"character {self.at + 1} ({found})"
        return LinkstrError(repr(self.text), f"{where}: {cause}", remedy)


def parse(linkstr: str) -> PortName:
    """Parse the whole name, prefix and all. LinkstrError points at the character."""
    scan = _Scanner(linkstr)
    name = _port(scan)
    mode, ring = _suffix(scan)
    flags = NO_FLAGS
    if scan.peek() == "/":
        scan.at += 1
        if scan.peek() not in FLAGS:
            raise scan.error("no flag behind the '/'", f"use some of {''.join(FLAGS)}")
        while scan.peek() in FLAGS:
            flags |= FLAGS[scan.peek()]
            scan.at += 1
    memory_id = 0
    if scan.peek() == "@":
        scan.at += 1
        memory_id = scan.number("the memory region's id", 1, MEMORY_IDS)
    if scan.peek():
        raise scan.error("it does not belong there", "see docs/netmap.md for the names")
    return PortName(name, mode, ring, flags, memory_id)


def _port(scan: _Scanner) -> str:
    """The name for the kernel."""
    prefix = scan.until(":")
    if not scan.peek():
        raise scan.error("the ':' is missing", "write netmap:NAME or vale0:NAME")
    if prefix != "netmap":
        scan.at = 0
        if not prefix.startswith("vale"):
            raise scan.error("unknown prefix", "write netmap:NAME or vale0:NAME")
        for scan.at in range(4, len(prefix)):
            if not _in_identifier(scan.peek()):
                raise scan.error("not in a switch's id", "use letters, digits and _")
        scan.at = len(prefix)
    scan.at += 1
    begin = scan.at
    base = scan.until("{}-*^/@")
    if not base:
        raise scan.error("the port's name is empty", "write it behind the ':'")
    if scan.peek() and scan.peek() in "{}":
        scan.at += 1
        first = scan.at
        scan.until("-*^/@")
        end = scan.at
        if first == end:
            raise scan.error("the pipe's id is empty", "use letters, digits and _")
        for scan.at in range(first, end):
            if not _in_identifier(scan.peek()):
                raise scan.error("not in a pipe's id", "use letters, digits and _")
        scan.at = end
    name = scan.text[begin if prefix == "netmap" else 0 : scan.at]
    if re.search(r"[\0-\x20]", name) or len(name.encode(errors="replace")) > LONGEST:
        scan.at = begin
        cause = f"the name has blanks or more than {LONGEST} octets"
        raise scan.error(cause, "use a shorter one, without blanks")
    return name


def _in_identifier(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


def _suffix(scan: _Scanner) -> tuple[Mode, int]:
    """Which rings are asked for, and their number where it is one pair."""
    match scan.peek():
        case "^":
            scan.at += 1
            if scan.peek() and scan.peek() in "0123456789":
                return Mode.ONE_SW, scan.number("the host ring", 0, RING_NUMBERS)
            return Mode.SW, 0
        case "*":
            scan.at += 1
            return Mode.NIC_SW, 0
        case "-":
            scan.at += 1
            return Mode.ONE_NIC, scan.number("the ring's number", 0, RING_NUMBERS)
    return Mode.ALL_NIC, 0
