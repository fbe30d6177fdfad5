"""A kernel's virt(4) over a port of DPDK: by C into a queue, out in bursts."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path

from rumphyper.hypercalls.families.virtif import Virtif
from tests.dpdk.support import alone, check_pools, open_dpdk
from tests.hypercalls.support import shared_object
from tests.hypercalls.test_files import iovecs
from tests.hypercalls.virtifs import JUDGE, SOFTC, Interfaces, until

FRAMES = 20000
WINDOW = 200
"""Frames that may be under way: the ring has room for 1,024."""


@alone
def test_frames_come_back_by_a_ring() -> None:
    with tempfile.TemporaryDirectory() as folder:
        library = shared_object(Path(folder), JUDGE)
    with open_dpdk("net_ring0") as link:
        virtif = Virtif({"0": link})
        kernel = Interfaces(library, virtif)
        result, user, _ = kernel.create(b"0")
        assert result == 0
        memory = ctypes.create_string_buffer(1514)
        for number in range(FRAMES):
            if number % WINDOW == 0:
                until(lambda: len(kernel.delivered) == number)  # noqa: B023
            ctypes.memmove(memory, number.to_bytes(8, "little"), 8)
            part = (ctypes.c_char * (60 + number % 1400)).from_buffer(memory)
            kernel.setup.call("virt_send", user, iovecs(part), 1)
        until(lambda: len(kernel.delivered) == FRAMES)
        assert link.counters.sent == link.counters.received == FRAMES
        assert virtif.interfaces()[0].dropped == 0
        check_pools(link)
        kernel.setup.call("virt_send", user, iovecs(memory), 1)
        assert kernel.setup.call("virt_dying", user) == 0
        assert link.counters.sent == FRAMES + 1
        kernel.setup.call("virt_destroy", user)
    assert kernel.setup.reports == []
    for number, (softc, frame) in enumerate(kernel.delivered[:FRAMES]):
        assert softc == SOFTC
        assert len(frame) == 60 + number % 1400
        assert int.from_bytes(frame[:8], "little") == number
