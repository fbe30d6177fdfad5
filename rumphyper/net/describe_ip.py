"""The IPv4 and IPv6 part of a frame's line; see `rumphyper.net.describe`."""

from __future__ import annotations

from rumphyper.net import ipv4, ipv6, tcp, udp
from rumphyper.net.describe_icmp import describe_icmp, describe_icmp6
from rumphyper.net.errors import ParseError, need

_FLAGS = "FSRP.UEW"
_EXTENSIONS = {
    ipv6.HOP_BY_HOP: "HBH ",
    ipv6.ROUTING: "srcrt ",
    ipv6.DESTINATION_OPTIONS: "DSTOPT ",
}
Upper = tuple[tuple[int, int] | None, str]
"""The ports of an upper layer's packet, if it has any, and its text."""


def describe_ipv4(data: bytes, length: int) -> str:
    """Return the text for a packet of which ``data`` is there. Raises ParseError."""
    need(data, 20, "IPv4 packet")
    total = int.from_bytes(data[2:4], "big")
    missing = total - length
    note = f"truncated-ip - {missing} bytes missing! " if missing > 0 else ""
    if total > len(data):  # parse what is there
        data = data[:2] + len(data).to_bytes(2, "big") + data[4:]
    packet = ipv4.IPv4.parse(data, verify=False)
    size = total - 20 - len(packet.options)
    upper = _upper(4, packet.protocol, packet.payload, size)
    if packet.fragment_offset:
        upper = None, f"ip-proto-{packet.protocol}"
    return note + _line(packet, "", upper)


def describe_ipv6(data: bytes, length: int) -> str:
    """Return the text for a packet of which ``data`` is there. Raises ParseError."""
    need(data, 40, "IPv6 packet")
    size = int.from_bytes(data[4:6], "big")
    missing = size + 40 - length
    note = f"truncated-ip6 - {missing} bytes missing! " if missing > 0 else ""
    if size > len(data) - 40:
        data = data[:4] + (len(data) - 40).to_bytes(2, "big") + data[6:]
    packet = ipv6.IPv6.parse(data)
    kind, payload, names = packet.next_header, packet.payload, ""
    while kind in _EXTENSIONS or kind == ipv6.FRAGMENT:
        need(payload, 8, "IPv6 extension header")
        skip = 8 if kind == ipv6.FRAGMENT else 8 + payload[1] * 8
        need(payload, skip, "IPv6 extension header")
        if kind == ipv6.FRAGMENT:
            offset = int.from_bytes(payload[2:4], "big") & 0xFFF8
            names += f"frag ({offset}|{size - skip}) "
            if offset:
                return note + _line(packet, names, (None, ""))
        else:
            names += _EXTENSIONS[kind]
        kind, payload, size = payload[0], payload[skip:], size - skip
    return note + _line(packet, names, _upper(6, kind, payload, size))


def _line(packet: ipv4.IPv4 | ipv6.IPv6, names: str, upper: Upper) -> str:
    """Join addresses, the names of extension headers, ports and text."""
    ports, text = upper
    if ports is None:
        return f"{packet.source} > {packet.destination}: {names}{text}"
    first, second = ports
    if not names:
        return f"{packet.source}.{first} > {packet.destination}.{second}: {text}"
    return f"{packet.source} > {packet.destination}: {names}{first} > {second}: {text}"


def _upper(version: int, kind: int, data: bytes, size: int) -> Upper:
    """Describe ``size`` octets of protocol ``kind``, of which ``data`` is there."""
    try:
        if kind == udp.PROTOCOL:
            return _udp(data, size)
        if kind == tcp.PROTOCOL:
            segment = tcp.Tcp.parse(data)
            ports = segment.source_port, segment.destination_port
            return ports, _tcp(segment, size - len(data))
        if kind == ipv4.ICMP and version == 4:
            return None, f"ICMP {describe_icmp(data)}, length {size}"
        if kind == ipv6.ICMPV6 and version == 6:
            return None, f"ICMP6, {describe_icmp6(data)}, length {size}"
    except ParseError as error:
        return None, f"[{error.thing}: {error.cause}]"
    if kind == ipv6.NO_NEXT_HEADER and version == 6:
        return None, "no next header"
    return None, f"ip-proto-{kind} {size}"


def _udp(data: bytes, size: int) -> Upper:
    need(data, 8, "UDP datagram")
    first, second, length = (
        int.from_bytes(data[at : at + 2], "big") for at in (0, 2, 4)
    )
    bad = "" if 8 <= length <= size else "bad "
    return (first, second), f"UDP, {bad}length {length - 8}"


def _tcp(segment: tcp.Tcp, cut: int) -> str:
    """Return the text for a segment that lacks its last ``cut`` octets."""
    flags = segment.flags
    size = len(segment.payload) + cut
    names = "".join(name for bit, name in enumerate(_FLAGS) if flags & 1 << bit)
    parts = [f"Flags [{names or 'none'}]"]
    if size or flags & (tcp.SYN | tcp.FIN | tcp.RST):
        end = f":{(segment.sequence + size) & 0xFFFFFFFF}" if size else ""
        parts.append(f"seq {segment.sequence}{end}")
    if flags & tcp.ACK:
        parts.append(f"ack {segment.acknowledgement}")
    parts.append(f"win {segment.window}")
    if flags & tcp.URG:
        parts.append(f"urg {segment.urgent}")
    if segment.options:
        options = ",".join(_tcp_option(option) for option in segment.options)
        parts.append(f"options [{options}]")
    parts.append(f"length {size}")
    return ", ".join(parts)


def _tcp_option(option: tcp.TcpOption) -> str:
    kind, data = option.kind, option.data
    words = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
    if kind == tcp.END:
        return "eol"
    if kind == tcp.NOP:
        return "nop"
    if kind == tcp.MSS and len(data) == 2:
        return f"mss {words[0]}"
    if kind == tcp.WINDOW_SCALE and len(data) == 1:
        return f"wscale {words[0]}"
    if kind == tcp.SACK_PERMITTED and not data:
        return "sackOK"
    if kind == tcp.SACK and data and not len(data) % 8:
        blocks = [f"{{{words[at]}:{words[at + 1]}}}" for at in range(0, len(words), 2)]
        return f"sack {len(blocks)} {''.join(blocks)}"
    if kind == tcp.TIMESTAMPS and len(data) == 8:
        return f"TS val {words[0]} ecr {words[1]}"
    return f"unknown-{kind}" + (f" 0x{data.hex()}" if data else "")
