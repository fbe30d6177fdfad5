"""The peer of bench netbsd: NetBSD on the stock C hypercalls, in one process.

Run as a program: ``netbsd_stock.py TASK FOLDER ARGUMENT``. It loads the stock
librumpuser and librumpnet_virtif with nothing of rumphyper between, and drives
them by the plainest calls there are. The tasks and what they print are those
of netbsd_ours.py.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks import netbsd_tasks as tasks
else:
    import netbsd_tasks as tasks  # beside this program

COMPONENTS = (
    *("rumpuser", "rump", "rumpvfs", "rumpdev", "rumpnet", "rumpnet_net"),
    *("rumpnet_netinet", "rumpnet_config", "rumpnet_virtif", "rumpnet_shmif"),
)
NETBSD_AF_INET = 2
SOL_SOCKET = 0xFFFF


def load(folder: str) -> ctypes.CDLL:
    """Load the components in an order that works; return the global scope."""
    for name in COMPONENTS:
        ctypes.CDLL(f"{folder}/lib{name}.so", ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(None, use_errno=True)


def sockaddr(address: str, port: int) -> bytes:
    """NetBSD's struct sockaddr_in (sys/netinet/in.h)."""
    packed = socket.inet_aton(address)
    return struct.pack("=BBH4s8x", 16, NETBSD_AF_INET, socket.htons(port), packed)


class StockKernel:
    """The calls that the tasks make."""

    def __init__(self, folder: str) -> None:
        self.rump = rump = load(folder)
        self.boot_ms = tasks.milliseconds(lambda: self._check(rump.rump_init()))
        self._check(rump.rump_pub_lwproc_rfork(1))
        self.prepare()

    def prepare(self) -> None:
        """Type the calls and make a buffer."""
        rump = self.rump
        rump.rump___sysimpl_read.restype = ctypes.c_ssize_t
        rump.rump___sysimpl_write.restype = ctypes.c_ssize_t
        rump.rump___sysimpl_sendto.restype = ctypes.c_ssize_t
        self.buffer = ctypes.create_string_buffer(tasks.CHUNK)
        self.whole = ctypes.byref(self.buffer), ctypes.c_size_t(tasks.CHUNK)

    @staticmethod
    def _check(result: int) -> None:
        if result:
            raise SystemExit(f"stock call failed: {result}, {ctypes.get_errno()}")

    def interface(self, name: str, address: str, bus: str = "") -> None:
        """virt0 takes the host's tun0; shmif0 takes the bus file."""
        rump, raw = self.rump, name.encode()
        self._check(rump.rump_pub_netconfig_ifcreate(raw))
        if bus:
            self._check(rump.rump_pub_netconfig_ifsetlinkstr(raw, bus.encode()))
        self._check(rump.rump_pub_netconfig_ipv4_ifaddr_cidr(raw, address.encode(), 24))
        self._check(rump.rump_pub_netconfig_ifup(raw))

    def connect(self, address: str, port: int) -> int:
        """A TCP connection."""
        fd: int = self.rump.rump___sysimpl_socket30(NETBSD_AF_INET, 1, 0)
        name = sockaddr(address, port)
        self._check(self.rump.rump___sysimpl_connect(fd, name, len(name)))
        return fd

    def receive(self, fd: int, total: int) -> None:
        """Read ``total`` octets."""
        read, pointer, size = self.rump.rump___sysimpl_read, *self.whole
        descriptor, left = ctypes.c_int(fd), total
        while left > 0:
            count = read(descriptor, pointer, size)
            if count <= 0:
                raise SystemExit(f"read: {count}, {ctypes.get_errno()}")
            left -= count

    def send(self, fd: int, total: int) -> None:
        """Write ``total`` octets."""
        write, pointer, size = self.rump.rump___sysimpl_write, *self.whole
        descriptor, left = ctypes.c_int(fd), total
        while left > 0:
            count = write(descriptor, pointer, size)
            if count <= 0:
                raise SystemExit(f"write: {count}, {ctypes.get_errno()}")
            left -= count

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        self.rump.rump___sysimpl_close(fd)

    def end(self, fd: int) -> None:
        """Wait until the far side, which has all it wanted, closes; close, too."""
        if self.rump.rump___sysimpl_read(fd, *self.whole):
            raise SystemExit("the far side sent something")
        self.close(fd)

    def round_trips(self, address: str, count: int, payload: bytes) -> list[float]:
        """UDP echoes to port 7; each one's microseconds."""
        rump = self.rump
        fd = ctypes.c_int(rump.rump___sysimpl_socket30(NETBSD_AF_INET, 2, 0))
        name = sockaddr(address, 7)
        self._check(rump.rump___sysimpl_connect(fd, name, len(name)))
        size = ctypes.c_size_t(len(payload))
        pointer, room = self.whole

        def turn() -> None:
            rump.rump___sysimpl_write(fd, payload, size)
            if rump.rump___sysimpl_read(fd, pointer, room) != len(payload):
                raise SystemExit("the echo has another length")

        return [tasks.milliseconds(turn) * 1e3 for _ in range(count)]

    def sink(self, port: int, total: int, ready: Callable[[], None]) -> None:
        """Take ``total`` octets of each TCP connection to ``port``, for ever."""
        rump = self.rump
        fd = rump.rump___sysimpl_socket30(NETBSD_AF_INET, 1, 0)
        name = sockaddr("0.0.0.0", port)
        self._check(rump.rump___sysimpl_bind(fd, name, len(name)))
        self._check(rump.rump___sysimpl_listen(fd, 5))
        ready()
        while True:
            connection = rump.rump___sysimpl_accept(fd, None, None)
            self.receive(connection, total)
            self.close(connection)

    def serve(self, ready: Callable[[], None]) -> None:
        """Echo UDP on port 7 for ever."""
        rump = self.rump
        fd = ctypes.c_int(rump.rump___sysimpl_socket30(NETBSD_AF_INET, 2, 0))
        name = sockaddr("0.0.0.0", 7)
        self._check(rump.rump___sysimpl_bind(fd, name, len(name)))
        ready()
        sender = ctypes.create_string_buffer(16)
        recvfrom, sendto = rump.rump___sysimpl_recvfrom, rump.rump___sysimpl_sendto
        recvfrom.restype = ctypes.c_ssize_t
        length = ctypes.c_uint(16)
        pointer, room = self.whole
        flags = ctypes.c_int(0)
        while True:
            count = recvfrom(fd, pointer, room, flags, sender, ctypes.byref(length))
            size = ctypes.c_size_t(count)
            sendto(fd, pointer, size, flags, sender, length)


if __name__ == "__main__":
    tasks.run(lambda: StockKernel(os.environ["RUMP_FOLDER"]), sys.argv[1:])
