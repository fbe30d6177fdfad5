"""What a process of bench netbsd does, whichever hypercalls its kernel has.

A task runs in a network namespace of its own, prints one JSON object, and ends
without shutting the kernel down: only the task is measured.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

CHUNK = 1 << 16
"""Octets that one read or write of the kernel's socket asks for."""

HOST, GUEST, PEER, PORT = "10.7.0.1", "10.7.0.2", "10.7.0.3", 5000
TAP = "tun0"
"""The name that the stock hypercalls give to virt0's TAP interface."""


class Kernel(Protocol):
    """What the tasks need of a kernel."""

    boot_ms: float
    """What rump_init took."""

    def interface(self, name: str, address: str, bus: str = "") -> None: ...
    def connect(self, address: str, port: int) -> int: ...
    def receive(self, fd: int, total: int) -> None: ...
    def send(self, fd: int, total: int) -> None: ...
    def close(self, fd: int) -> None: ...
    def end(self, fd: int) -> None: ...
    def round_trips(self, address: str, count: int, payload: bytes) -> list[float]: ...
    def serve(self, ready: Callable[[], None]) -> None: ...
    def sink(self, port: int, total: int, ready: Callable[[], None]) -> None: ...


def milliseconds(call: Callable[[], Any]) -> float:
    """How long ``call`` takes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def run(make: Callable[[], Kernel], words: Sequence[str]) -> None:
    """Boot a kernel and do the task that the command line names."""
    task, argument = words
    said = TASKS[task](make(), argument)
    print(json.dumps(said), flush=True)
    sys.stdout.flush()
    os._exit(0)


def tcp(kernel: Kernel, argument: str) -> dict[str, float]:
    """``receive:MIB`` or ``send:MIB`` over virt0 and TAP, host on the far side."""
    direction, amount = argument.split(":")
    total = int(amount) << 20
    _join(kernel)
    with socket.create_server((HOST, PORT)) as listener:
        child = os.fork()
        if not child:
            _far_side(listener, direction, total)
    fd = kernel.connect(HOST, PORT)
    spent, start = time.process_time(), time.perf_counter()
    if direction == "receive":
        kernel.receive(fd, total)
        elapsed, spent = time.perf_counter() - start, time.process_time() - spent
        os.kill(child, 9)  # it waits for the connection's end
    else:
        kernel.send(fd, total)
        kernel.close(fd)
        status = os.waitpid(child, 0)[1]  # it has read everything
        elapsed, spent = time.perf_counter() - start, time.process_time() - spent
        if status:
            raise SystemExit(f"the far side ended with {status}")
    return {
        "mbit": total * 8e-6 / elapsed,
        "cpu": spent / (total / 1e9),
        "boot_ms": kernel.boot_ms,
    }


def echo(kernel: Kernel, argument: str) -> dict[str, float]:
    """``COUNT``: UDP round trips over virt0 to the host, which echoes."""
    _join(kernel)
    payload = bytes(64)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOST, 7))
        child = os.fork()
        while not child:
            octets, sender = server.recvfrom(CHUNK)
            server.sendto(octets, sender)
    try:
        kernel.round_trips(HOST, 20, payload)
        turns = sorted(kernel.round_trips(HOST, int(argument), payload))
    finally:
        os.kill(child, 9)
    return {"us": turns[len(turns) // 2], "boot_ms": kernel.boot_ms}


def _join(kernel: Kernel) -> None:
    """Connect the kernel's virt0 with the host."""
    from rumphyper.host.netif import Netif  # the host's side only

    kernel.interface("virt0", GUEST)
    with Netif() as netif:
        netif.add_address(TAP, f"{HOST}/24")
        netif.set_up(TAP)


def _far_side(listener: socket.socket, direction: str, total: int) -> None:
    """The host's end of the TCP connection, in a process of its own."""
    status = 1
    try:
        connection, _ = listener.accept()
        buffer = bytearray(1 << 18)
        if direction == "receive":
            left = total
            while left > 0:
                left -= connection.send(memoryview(buffer)[: min(left, len(buffer))])
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        else:
            got = 0
            while count := connection.recv_into(buffer):
                got += count
            status = 0 if got == total else 2
    finally:
        os._exit(status)


def udp(kernel: Kernel, argument: str) -> dict[str, float]:
    """``COUNT:BUS``: UDP round trips over shmif0 to a kernel that serves them."""
    count, bus = argument.split(":", 1)
    kernel.interface("shmif0", GUEST, bus)
    payload = bytes(64)
    kernel.round_trips(PEER, 20, payload)
    turns = sorted(kernel.round_trips(PEER, int(count), payload))
    return {"us": turns[len(turns) // 2], "boot_ms": kernel.boot_ms}


def ready() -> None:
    """Tell the other side that it may come."""
    print("ready", flush=True)


def serve(kernel: Kernel, bus: str) -> dict[str, float]:
    """Echo UDP on port 7 on the bus until killed."""
    kernel.interface("shmif0", PEER, bus)
    kernel.serve(ready)
    return {}


def sink(kernel: Kernel, argument: str) -> dict[str, float]:
    """``MIB:BUS``: take so much TCP on the bus, connection after connection."""
    amount, bus = argument.split(":", 1)
    kernel.interface("shmif0", PEER, bus)
    kernel.sink(PORT, int(amount) << 20, ready)
    return {}


def bus_tcp(kernel: Kernel, argument: str) -> dict[str, float]:
    """``MIB:BUS``: send so much TCP over shmif0 to a kernel that takes it."""
    amount, bus = argument.split(":", 1)
    total = int(amount) << 20
    kernel.interface("shmif0", GUEST, bus)
    fd = kernel.connect(PEER, PORT)
    start = time.perf_counter()
    kernel.send(fd, total)
    kernel.end(fd)
    elapsed = time.perf_counter() - start
    return {"mbit": total * 8e-6 / elapsed, "boot_ms": kernel.boot_ms}


def boot(kernel: Kernel, argument: str) -> dict[str, float]:
    """Nothing more than booting."""
    return {"boot_ms": kernel.boot_ms}


TASKS: dict[str, Callable[[Kernel, str], dict[str, float]]] = {
    "tcp": tcp,
    "udp": udp,
    "echo": echo,
    "serve": serve,
    "sink": sink,
    "bustcp": bus_tcp,
    "boot": boot,
}
