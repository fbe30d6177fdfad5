"""One line per frame, as ``tcpdump -n -e -S`` prints it.

The words are tcpdump's, so that who reads it there reads it here. TCP's
numbers are absolute, as no connection is kept; protocols above UDP and TCP are
not taken apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from typing_extensions import Buffer

from rumphyper.net import arp, ethernet
from rumphyper.net.describe_ip import describe_ipv4, describe_ipv6
from rumphyper.net.errors import ParseError
from rumphyper.net.mac import format_mac

ETHERTYPES = {
    0x0800: "IPv4",
    0x0806: "ARP",
    0x8035: "Reverse ARP",
    0x8100: "802.1Q",
    0x86DD: "IPv6",
    0x8808: "MPCP",
    0x8847: "MPLS unicast",
    0x8863: "PPPoE D",
    0x8864: "PPPoE S",
    0x888E: "EAPOL",
    0x88A8: "802.1Q-QinQ",
    0x88CC: "LLDP",
}


def format_time(time_ns: int) -> str:
    """Return the local time of day of nanoseconds since 1970: 13:37:00.123456.

    A time that no calendar has, which a capture file may hold, is returned as
    seconds.
    """
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        clock = time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        clock = str(seconds)
    return f"{clock}.{rest // 1000:06}"


def describe(frame: Buffer, length: int | None = None) -> str:
    """Return the line for ``frame``, without a time.

    ``length`` is the frame's in octets where ``frame`` is only its start. Never
    raises, whatever the frame holds.
    """
    data = bytes(frame)
    length = len(data) if length is None else max(length, len(data))
    try:
        outer = ethernet.Ethernet.parse(data)
    except ParseError as error:
        return f"[{error.cause}], length {length}"
    header = f"{format_mac(outer.source)} > {format_mac(outer.destination)}, "
    kinds = [*(tag.tpid for tag in outer.tags), outer.ethertype]
    texts = [f"{_kind(kinds[0])}, length {_shown(kinds[0], length)}: "]
    for tag, following in zip(outer.tags, kinds[1:], strict=True):
        mark = ", DEI" if tag.drop_eligible else ""
        texts.append(f"vlan {tag.vlan}, p {tag.priority}{mark}, {_kind(following)}, ")
    rest = length - (len(data) - len(outer.payload))
    body = describe_payload(outer.ethertype, outer.payload, rest)
    return (header + "".join(texts) + body).rstrip(", :")


def _kind(ethertype: int) -> str:
    if ethertype < ethernet.LENGTH_LIMIT:
        return "802.3"
    return f"ethertype {ETHERTYPES.get(ethertype, 'Unknown')} ({ethertype:#06x})"


def _shown(ethertype: int, length: int) -> int:
    return ethertype if ethertype < ethernet.LENGTH_LIMIT else length


def describe_payload(ethertype: int, data: bytes, length: int) -> str:
    """Return the text for what a frame carries, ``length`` octets of it."""
    try:
        if ethertype == ethernet.ARP:
            return _arp(data, length)
        if ethertype == ethernet.IPV4:
            return describe_ipv4(data, length)
        if ethertype == ethernet.IPV6:
            return describe_ipv6(data, length)
    except ParseError as error:
        return f"[{error.thing}: {error.cause}]"
    if ethertype < ethernet.LENGTH_LIMIT and len(data) >= 3:
        return f"LLC, dsap {data[0]:#04x}, ssap {data[1]:#04x}, ctrl {data[2]:#04x}"
    return ""


def _arp(data: bytes, length: int) -> str:
    packet = arp.Arp.parse(data)
    mac, target_mac = format_mac(packet.sender_mac), format_mac(packet.target_mac)
    if packet.operation == arp.REQUEST:
        known = f" ({target_mac})" if any(packet.target_mac) else ""
        text = f"Request who-has {packet.target_ip}{known} tell {packet.sender_ip}"
    elif packet.operation == arp.REPLY:
        text = f"Reply {packet.sender_ip} is-at {mac}"
    elif packet.operation == 3:
        text = f"Reverse Request who-is {target_mac} tell {mac}"
    else:
        text = f"Unknown operation {packet.operation} from {mac}"
    return f"{text}, length {length}"


def hex_lines(data: bytes) -> Iterator[str]:
    """Yield the lines of ``tcpdump -x``: offset and 16 octets in hexadecimal."""
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        pairs = [row[i : i + 2].hex() for i in range(0, len(row), 2)]
        yield f"\t0x{at:04x}:  {' '.join(pairs)}"
