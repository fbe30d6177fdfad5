"""Superframes: the checksum that the host left out is filled in."""

from __future__ import annotations

import ctypes
import socket
import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from rumphyper.host import thunks
from rumphyper.hypercalls.superburst import (
    SuperBurst,
    kernel_sum,
    python_sum,
)
from rumphyper.net.vnet import NEEDS_CSUM, complete

from .test_burst import SOFTC, Kernel

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine-code templates for this machine"
)

PAYLOADS = [b"x", b"odd", bytes(range(256)) * 5, b"\xff" * 40000, bytes(30001)]


def partial(packet: Packet, layer: type[Packet]) -> tuple[bytes, bytes, bytes]:
    """A frame as the host hands it over: header, frame, and the right frame."""
    right = bytes(packet)
    begin = right.index(bytes(packet[layer])[:8])
    offset = 16 if layer is TCP else 6
    frame = bytearray(right)
    network = packet[IP] if IP in packet else packet[IPv6]
    number = 6 if layer is TCP else 17
    family = socket.AF_INET if IP in packet else socket.AF_INET6
    pseudo = socket.inet_pton(family, network.src)
    pseudo += socket.inet_pton(family, network.dst)
    pseudo += struct.pack("!II", number, len(right) - begin)
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", frame, begin + offset, total)
    header = struct.pack("=BBHHHH", NEEDS_CSUM, 1, 0, 1448, begin, offset)
    return header, bytes(frame), right


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
@pytest.mark.parametrize("layer", [TCP, UDP])
@pytest.mark.parametrize("network", [IP, IPv6])
def test_the_checksum_is_what_scapy_makes_of_it(
    payload: bytes, layer: type[Packet], network: type[Packet]
) -> None:
    packet = Ether() / network() / layer(sport=1, dport=2) / payload
    header, frame, right = partial(Ether(bytes(packet)), layer)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    kernel = Kernel()
    with near, far:
        burst = SuperBurst(near.fileno(), 1 << 17, SOFTC, kernel.thunk)
        far.send(header + frame)
        far.send(bytes(10) + frame)  # not marked: left alone
        assert burst.read() == 2
        burst.deliver()
        burst.close()
    assert kernel.frames == [right, frame]
    assert complete(header + frame) == right
    assert complete(bytes(10) + frame) == frame


@pytest.mark.parametrize("place", [(60, 0), (50, 9), (65535, 65535), (0, 59)])
def test_a_place_outside_of_the_frame_is_left_alone(place: tuple[int, int]) -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    kernel = Kernel()
    frame = bytes(range(60))
    with near, far:
        burst = SuperBurst(near.fileno(), 1 << 17, SOFTC, kernel.thunk)
        far.send(struct.pack("=BBHHHH", NEEDS_CSUM, 0, 0, 0, *place) + frame)
        assert burst.read() == 1
        burst.deliver()
        burst.close()
    assert kernel.frames == [frame]
    header = struct.pack("=BBHHHH", NEEDS_CSUM, 0, 0, 0, *place)
    assert complete(header + frame) == frame


def test_without_a_kernel_python_computes() -> None:
    assert kernel_sum(ctypes.CDLL(None)) is python_sum
