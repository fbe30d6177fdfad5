"""bench netbsd's side of rumphyper: NetBSD through the public face.

Run as a program: ``netbsd_ours.py TASK ARGUMENT``; see netbsd_tasks.py. What
boot() and the links are given comes as JSON in RUMPHYPER_BENCH.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import rumphyper

if TYPE_CHECKING:
    from benchmarks import netbsd_tasks as tasks
    from benchmarks.netbsd_stock import StockKernel
else:
    import netbsd_tasks as tasks  # beside this program
    from netbsd_stock import StockKernel


class OurKernel:
    """The calls that the tasks make, on rumphyper's kernel object."""

    def __init__(self) -> None:
        settings: dict[str, Any] = json.loads(os.environ.get("RUMPHYPER_BENCH", "{}"))
        self.link_options: dict[str, Any] = settings.get("link", {})
        self.boot_ms = tasks.milliseconds(
            lambda: setattr(self, "kernel", rumphyper.boot(**settings.get("boot", {})))
        )
        self.kernel: rumphyper.Kernel
        self.sockets: dict[int, Any] = {}
        self.buffer = bytearray(tasks.CHUNK)
        self.raw = Raw(self.kernel)

    def interface(self, name: str, address: str, bus: str = "") -> None:
        linkstr = f"shmif:{bus}" if bus else f"tap:{tasks.TAP}"
        options = {} if bus else self.link_options
        interface = self.kernel.create_interface(name, linkstr, **options)
        interface.add_address(f"{address}/24")
        interface.up()

    def connect(self, address: str, port: int) -> int:
        sock = self.kernel.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect((address, port))
        self.sockets[sock.fileno()] = sock
        return sock.fileno()

    def receive(self, fd: int, total: int) -> None:
        sock, buffer, left = self.sockets[fd], self.buffer, total
        while left > 0:
            count = sock.recv_into(buffer)
            if not count:
                raise SystemExit("the connection ended early")
            left -= count

    def send(self, fd: int, total: int) -> None:
        sock, buffer, left = self.sockets[fd], self.buffer, total
        while left > 0:
            left -= sock.send(buffer)
        sock.close()

    def round_trips(self, address: str, count: int, payload: bytes) -> list[float]:
        return self.raw.round_trips(address, count, payload)

    def serve(self) -> None:
        self.raw.serve()


class Raw(StockKernel):
    """The stock side's plain calls, for tasks that time hypercalls only."""

    def __init__(self, kernel: rumphyper.Kernel) -> None:
        kernel.syscall("getpid")  # this thread gets its lwp
        self.rump = kernel.library
        self.prepare()


if __name__ == "__main__":
    tasks.run(OurKernel, sys.argv[1:])
