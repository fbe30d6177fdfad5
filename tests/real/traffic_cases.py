"""Bulk traffic between a real NetBSD kernel and Linux, over a TAP.

Run by netbsd_session.py like netbsd_cases; test_traffic.py judges.
"""

from __future__ import annotations

import gc
import hashlib
import random
import socket
import threading
from typing import Any

from rumphyper.kernel.netbsd import Kernel
from tests.real.echo_request import ping_patiently
from tests.real.netbsd_cases.kit import (
    LINUX4,
    LINUX6,
    NETBSD4,
    NETBSD6,
    memory,
    settled,
    taps,
    wired,
)
from tests.real.rump import boot

PORT = 5001
CHUNK = 1 << 17


def stream(seed: int, octets: int) -> Any:
    """The chunks of a stream of ``octets``, the same for the same seed."""
    chance = random.Random(seed)
    block = chance.randbytes(CHUNK)
    while octets > 0:
        at = chance.randrange(CHUNK)
        piece = (block[at:] + block[:at])[:octets]
        octets -= len(piece)
        yield piece


class Far(threading.Thread):
    """One end of a TCP connection: sends a stream and digests the other's."""

    def __init__(self, end: Any, seed: int, octets: int) -> None:
        super().__init__()
        self.end, self.seed, self.octets = end, seed, octets
        self.digest = ""

    def run(self) -> None:
        sender = threading.Thread(target=self.send)
        sender.start()
        seen = hashlib.sha256()
        while part := self.end.recv(CHUNK):
            seen.update(part)
        self.digest = seen.hexdigest()
        sender.join()

    def send(self) -> None:
        for piece in stream(self.seed, self.octets):
            self.end.sendall(piece)
        self.end.shutdown(socket.SHUT_WR)


def digest(seed: int, octets: int) -> str:
    seen = hashlib.sha256()
    for piece in stream(seed, octets):
        seen.update(piece)
    return seen.hexdigest()


def tcp(kernel: Kernel, family: int, address: str, octets: int) -> list[bool]:
    """Both ways at once; whether each side has got what the other has sent."""
    with socket.create_server((address, PORT), family=family) as server:
        near = kernel.socket(family, socket.SOCK_STREAM)
        near.connect((address, PORT))
        far, _ = server.accept()
    with near, far:
        ends = [Far(near, 1, octets), Far(far, 2, octets)]
        for end in ends:
            end.start()
        for end in ends:
            end.join()
    return [ends[0].digest == digest(2, octets), ends[1].digest == digest(1, octets)]


def udp(kernel: Kernel, family: int, linux: str, netbsd: str, most: int) -> list[int]:
    """There and back in all sizes; those that did not come back the same."""
    bad = []
    sizes = [0, 1, 2, 17, 18, 19, *range(1440, 1480), 2000, 4321, 8191, most]
    chance = random.Random(3)
    with (
        kernel.socket(family, socket.SOCK_DGRAM) as near,
        socket.socket(family, socket.SOCK_DGRAM) as far,
    ):
        near.bind((netbsd, PORT))
        far.bind((linux, PORT))
        near.settimeout(5)
        far.settimeout(5)
        for size in sizes:
            octets = chance.randbytes(size)
            try:
                far.sendto(octets, (netbsd, PORT))
                there = near.recv(1 << 16)
                near.sendto(there, (linux, PORT))
                back = far.recv(1 << 16)
            except TimeoutError:
                back = None
            if back != octets:
                bad.append(size)
    return bad


def traffic(mebibytes: str, superframes: str) -> dict[str, Any]:
    """Everything over one interface."""
    octets = int(mebibytes) << 20
    options: dict[str, Any] = {"superframes": superframes == "superframes"}
    with boot() as kernel:
        interface = wired(kernel, **options)
        ping_patiently(kernel.socket, LINUX4)
        ping_patiently(kernel.socket, LINUX6)
        found: dict[str, Any] = {
            "mtu": interface.mtu,
            "tcp 4": tcp(kernel, socket.AF_INET, LINUX4, octets),
            "tcp 6": tcp(kernel, socket.AF_INET6, LINUX6, octets // 4),
            "udp 4": udp(kernel, socket.AF_INET, LINUX4, NETBSD4, 9000),
            "udp 6": udp(kernel, socket.AF_INET6, LINUX6, NETBSD6, 9000),
        }
        frames = interface.counters.received
        found["octets a frame"] = interface.counters.received_bytes // frames
        slots = kernel.hypervisor.bindings
        found["send by"] = slots["rumpcomp_virt_send"].provider
    found["left"] = taps()
    return found


def soak(frames: str) -> dict[str, Any]:
    """So many frames through one kernel; what the process has grown by.

    The first tenth is not counted: caches and pools fill in it.
    """
    goal = int(frames)
    with boot() as kernel:
        interface = wired(kernel)

        def passed() -> int:
            counters = interface.counters
            return counters.received + counters.sent

        def run(until: int) -> tuple[int, int, int]:
            while passed() < until:
                assert all(tcp(kernel, socket.AF_INET, LINUX4, 24 << 20))
                assert udp(kernel, socket.AF_INET, LINUX4, NETBSD4, 9000) == []
            gc.collect()
            return (*settled(), memory())

        start, end = run(goal // 10), run(goal)
        return {
            "enough": passed() >= goal,
            "descriptors": end[0] - start[0],
            "threads": end[1] - start[1],
            "octets": end[2] - start[2],
        }
