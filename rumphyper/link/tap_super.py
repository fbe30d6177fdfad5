"""Superframes of a TAP: TCP segments of up to 64 KiB with virtio-net headers.

The device is told that checksums and segmentation are ours to do, so the host
does neither: a burst of TCP is one frame. What it left out is filled in, and
what is sent here is complete. Facts: Linux drivers/net/tun.c (tun_put_user,
tun_get_user, set_offload).
"""

from __future__ import annotations

import os

from typing_extensions import Buffer

from rumphyper.link.tap_io import PlainIo
from rumphyper.net.vnet import HEADER, NOTHING_LEFT, complete

MTU = 65535
"""An IP packet has no more octets than that."""


def write(fd: int, frame: Buffer) -> int:
    """Send a complete frame."""
    return os.writev(fd, (NOTHING_LEFT, frame))


def read(fd: int, room: int) -> bytes:
    """Receive a frame and complete it."""
    return complete(os.read(fd, room + HEADER.size))


class SuperIo(PlainIo):
    """One read(2) or writev(2) a frame, each with its header."""

    name = "superframes"
    write = staticmethod(write)
    read = staticmethod(read)
