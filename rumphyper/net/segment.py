"""Cutting a frame that hardware was to cut: TCP and UDP segmentation (GSO, GRO).

A packet socket sees what the kernel has not cut yet, or has joined again: one
frame of up to 64 KiB in place of a burst. Facts: Linux net/ipv4/tcp_offload.c,
udp_offload.c and include/uapi/linux/virtio_net.h.
"""

from __future__ import annotations

from rumphyper.net import tcp
from rumphyper.net.checksum import checksum, pseudo_header
from rumphyper.net.ethernet import IPV4, IPV6, PROVIDER_VLAN, VLAN
from rumphyper.net.vnet import HEADER, NEEDS_CSUM, complete

UDP = 17
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 4, 5
GSO_ECN = 0x80
"""A bit beside the kind: the frame's first segment says CWR."""

_FIELDS = {GSO_TCPV4: 16, GSO_TCPV6: 16, GSO_UDP_L4: 6}
"""Where the checksum is in each kind's header."""

_LEAST = {GSO_TCPV4: 20, GSO_TCPV6: 20, GSO_UDP_L4: 8}
"""Octets of each kind's header at least."""


def frames_of(octets: bytes) -> list[bytes]:
    """The complete frames that a virtio-net header and a frame stand for.

    One, with its checksum filled in, or all of its segments. None where the
    header names a kind that is unknown or a place outside of the frame.
    """
    if len(octets) < HEADER.size:
        return []
    flags, kind, _, size, begin, _ = HEADER.unpack_from(octets)
    kind &= ~GSO_ECN
    if kind == GSO_NONE:
        return [complete(octets)]
    frame = octets[HEADER.size :]
    least = _LEAST.get(kind, len(frame))
    network = _network(frame)
    if not network or not network + 20 <= begin <= len(frame) - least:
        return []
    if begin < network + 40 and frame[network] >> 4 == 6:
        return []
    if not flags & NEEDS_CSUM or not size:
        return []
    head = least if kind == GSO_UDP_L4 else (frame[begin + 12] >> 4) * 4
    if not least <= head <= len(frame) - begin:
        return []
    return _cut(frame, kind, network, begin, begin + head, size)


def _network(frame: bytes) -> int:
    """Where the IP header begins; 0 when there is none."""
    at = 12
    while int.from_bytes(frame[at : at + 2], "big") in (VLAN, PROVIDER_VLAN):
        at += 4
    known = int.from_bytes(frame[at : at + 2], "big") in (IPV4, IPV6)
    return at + 2 if known else 0


def _cut(
    frame: bytes, kind: int, network: int, begin: int, data: int, size: int
) -> list[bytes]:
    """Segments of ``size`` octets of what is in ``frame`` from ``data`` on."""
    last = range(data, len(frame), size)[-1:] or range(data, data + 1)
    segments = []
    for number, start in enumerate(range(data, last[0] + 1, size)):
        segment = bytearray(frame[:data] + frame[start : start + size])
        if kind == GSO_UDP_L4:
            segment[begin + 4 : begin + 6] = (len(segment) - begin).to_bytes(2, "big")
        else:
            _set_tcp(segment, begin, start - data, start == last[0])
        _set_ip(segment, network, number)
        _set_checksum(segment, network, begin, begin + _FIELDS[kind])
        segments.append(bytes(segment))
    return segments


def _set_tcp(segment: bytearray, begin: int, offset: int, last: bool) -> None:
    """The sequence number and flags of the segment ``offset`` octets in."""
    sequence = int.from_bytes(segment[begin + 4 : begin + 8], "big") + offset
    segment[begin + 4 : begin + 8] = (sequence & 0xFFFFFFFF).to_bytes(4, "big")
    if offset:
        segment[begin + 13] &= ~tcp.CWR
    if not last:
        segment[begin + 13] &= ~(tcp.FIN | tcp.PSH)


def _set_ip(segment: bytearray, network: int, number: int) -> None:
    """The lengths, and for IPv4 identification and checksum."""
    size = len(segment) - network
    if segment[network] >> 4 == 6:
        segment[network + 4 : network + 6] = (size - 40).to_bytes(2, "big")
        return
    segment[network + 2 : network + 4] = size.to_bytes(2, "big")
    ident = int.from_bytes(segment[network + 4 : network + 6], "big") + number
    segment[network + 4 : network + 6] = (ident & 0xFFFF).to_bytes(2, "big")
    end = network + (segment[network] & 0xF) * 4
    segment[network + 10 : network + 12] = b"\0\0"
    value = checksum(segment[network:end])
    segment[network + 10 : network + 12] = value.to_bytes(2, "big")


def _set_checksum(segment: bytearray, network: int, begin: int, at: int) -> None:
    """The checksum of TCP or UDP, at ``at``."""
    six = segment[network] >> 4 == 6
    first, size = (8, 16) if six else (12, 4)
    source = bytes(segment[network + first : network + first + size])
    target = bytes(segment[network + first + size : network + first + 2 * size])
    protocol = UDP if at == begin + _FIELDS[GSO_UDP_L4] else tcp.PROTOCOL
    length = len(segment) - begin
    segment[at : at + 2] = b"\0\0"
    covered = pseudo_header(source, target, protocol, length) + segment[begin:]
    value = checksum(covered) or 0xFFFF
    segment[at : at + 2] = value.to_bytes(2, "big")
