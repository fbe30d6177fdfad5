"""Ranges of addresses and ports, and the flows that they span. No I/O.

An end is written as pkt-gen(8) takes it: ``10.0.0.1-10.0.0.9:2000-2010``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import attrs

from rumphyper.errors import LinkstrError

MOST_FLOWS = 1 << 16
PORT = 1234
"""The port where none is given, as pkt-gen's."""


@attrs.frozen
class Range:
    """Addresses from ``first`` to ``last`` and ports likewise, all included."""

    first: int
    last: int
    first_port: int = PORT
    last_port: int = PORT

    def __len__(self) -> int:
        return (self.last - self.first + 1) * (self.last_port - self.first_port + 1)

    def ends(self) -> Iterator[tuple[IPv4Address, int]]:
        """Every address with every port; ports change fastest."""
        for number in range(self.first, self.last + 1):
            for port in range(self.first_port, self.last_port + 1):
                yield IPv4Address(number), port


def parse_range(text: str) -> Range:
    """Read ``ADDRESS[-ADDRESS][:PORT[-PORT]]``. Raises ValueError."""
    addresses, colon, ports = text.partition(":")
    first, last = _span(addresses, lambda word: int(IPv4Address(word)))
    if not colon:
        return Range(first, last)
    low, high = _span(ports, int)
    if not 0 <= low <= high <= 0xFFFF:
        raise ValueError(f"{ports!r} are no ports from 0 to 65535")
    return Range(first, last, low, high)


def _span(text: str, read: Callable[[str], int]) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    first = read(low)
    last = read(high) if dash else first
    if last < first:
        raise ValueError(f"{text!r} ends before it begins")
    return first, last


@attrs.frozen
class Flow:
    """One pair of ends of UDP over IPv4."""

    source: IPv4Address
    source_port: int
    target: IPv4Address
    target_port: int


def flows(source: Range, target: Range) -> list[Flow]:
    """Every source with every target; the source's port changes fastest.

    Raises LinkstrError for more than `MOST_FLOWS`.
    """
    count = len(source) * len(target)
    if count > MOST_FLOWS:
        raise LinkstrError(
            "gen", f"the ranges span {count} flows", f"at most {MOST_FLOWS}"
        )
    pairs = itertools.product(target.ends(), source.ends())
    return [Flow(*ours, *theirs) for theirs, ours in pairs]
