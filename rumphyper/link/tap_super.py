"""Superframes of a TAP: TCP segments of up to 64 KiB with virtio-net headers.

The device is told that checksums and segmentation are ours to do, so the host
does neither: a burst of TCP is one frame. What it left out is filled in, and
what is sent here is complete. Facts: Linux drivers/net/tun.c (tun_put_user,
tun_get_user, set_offload).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.link.tap_io import PlainIo, check_types, failed
from rumphyper.net.vnet import HEADER, NOTHING_LEFT, complete

MTU = 65535
"""An IP packet has no more octets than that."""


class SuperIo(PlainIo):
    """One readv(2) or writev(2) a frame, each with its header."""

    name = "superframes"

    def send(self, frames: Sequence[Buffer], sizes: Sequence[int], alike: int) -> int:
        check_types(frames)
        fd, writev = self._fd, os.writev
        taken = 0
        try:
            for frame in frames:
                writev(fd, (NOTHING_LEFT, frame))
                taken += 1
        except BlockingIOError:
            pass
        except OSError as error:
            if not taken:
                raise failed(self._linkstr, error.errno or 0) from None
        return self.count_sent(sizes, alike, taken)

    def recv(self, limit: int) -> list[bytes]:
        fd, room, read = self._fd, self._slot + HEADER.size, os.read
        frames: list[bytes] = []
        self.drained = False
        try:
            for _ in range(limit):
                frames.append(complete(read(fd, room)))
        except BlockingIOError:
            self.drained = True
        except OSError as error:
            if not frames:
                raise failed(self._linkstr, error.errno or 0) from None
        self.count_received(len(frames), sum(map(len, frames)))
        return frames
