"""The ICMP and ICMPv6 part of a frame's line; see `rumphyper.net.describe`."""

from __future__ import annotations

from ipaddress import IPv6Address

from rumphyper.net import icmp
from rumphyper.net.errors import need


def describe_icmp(data: bytes) -> str:
    """Return the text for an ICMP message. Raises ParseError."""
    message = icmp.Icmp.parse(data, verify=False)
    kind, code = message.kind, message.code
    if kind in (icmp.ECHO_REQUEST, icmp.ECHO_REPLY):
        echo = icmp.Echo.parse(message.body)
        name = "request" if kind == icmp.ECHO_REQUEST else "reply"
        return f"echo {name}, id {echo.identifier}, seq {echo.sequence}"
    if kind == 3:
        return _unreachable(code, message.body[4:])
    if kind == 11:
        return "time exceeded in-transit" if not code else "ip reassembly time exceeded"
    return f"type-#{kind}"


def _unreachable(code: int, inner: bytes) -> str:
    """Return who is unreachable: the inner packet is the one that failed."""
    if len(inner) < 20:
        return f"unreachable, code {code}"
    target = ".".join(map(str, inner[16:20]))
    size = (inner[0] & 15) * 4
    if code == 3 and inner[9] in (6, 17) and len(inner) >= size + 4:
        port = int.from_bytes(inner[size + 2 : size + 4], "big")
        return f"{target} {'tcp' if inner[9] == 6 else 'udp'} port {port} unreachable"
    if code == 2:
        return f"{target} protocol {inner[9]} unreachable"
    if code == 4:
        return f"{target} unreachable - need to frag"
    names = {0: "net ", 1: "host "}
    return f"{names.get(code, '')}{target} unreachable"


_NAMES6 = {
    133: "router solicitation",
    134: "router advertisement",
    143: "multicast listener report v2",
}
_UNREACHABLE6 = {
    0: "unreachable route",
    1: "unreachable prohibited",
    3: "unreachable address",
    4: "unreachable port,",
}


def describe_icmp6(data: bytes) -> str:
    """Return the text for an ICMPv6 message. Raises ParseError."""
    need(data, 8, "ICMPv6 message")
    kind, code = data[0], data[1]
    if kind in (icmp.ECHO_REQUEST_V6, icmp.ECHO_REPLY_V6):
        echo = icmp.Echo.parse(data[4:])
        name = "request" if kind == icmp.ECHO_REQUEST_V6 else "reply"
        return f"echo {name}, id {echo.identifier}, seq {echo.sequence}"
    if kind in (icmp.NEIGHBOR_SOLICITATION, icmp.NEIGHBOR_ADVERTISEMENT):
        need(data, 24, "neighbour discovery message")
        target = IPv6Address(data[8:24])
        if kind == icmp.NEIGHBOR_SOLICITATION:
            return f"neighbor solicitation, who has {target}"
        return f"neighbor advertisement, tgt is {target}"
    inner = IPv6Address(data[32:48]) if len(data) >= 48 else None
    if kind == 1:
        what = _UNREACHABLE6.get(code, f"code {code}")
        return f"destination unreachable, {what} {inner or ''}"
    if kind == 2:
        return f"packet too big, mtu {int.from_bytes(data[4:8], 'big')}"
    if kind == 3 and inner is not None and not code:
        return f"time exceeded in-transit for {inner}"
    return _NAMES6.get(kind, f"unknown icmp6 type ({kind})")
