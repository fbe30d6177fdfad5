"""NetBSD on Python's hypercalls, in a process of its own: a kernel boots once.

``python -m tests.hypercalls.netbsd JOB [ARGUMENT...]`` boots the kernel whose
libraries are found, does the job and prints one JSON object. Only librump's own
functions are used, none of rumphyper.kernel but the loader.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import threading
import time
from ipaddress import IPv4Interface
from typing import Any

from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.trace import Trace
from rumphyper.net.stack import Stack
from tests.hypercalls.netbsd_kernel import (
    DATAGRAM,
    LOOPBACK,
    STREAM,
    Kernel,
    address,
    at_once,
)
from tests.hypercalls.virtifs import Memory


def transfer(kernel: Kernel, port: int, octets: int, host: str = LOOPBACK) -> None:
    """TCP within one kernel: as much arrives as was sent, with one checksum."""
    call = kernel.syscall
    server = kernel.socket(STREAM)
    call("bind", server, address(port), 16)
    call("listen", server, 1)
    sums = [hashlib.sha256(), hashlib.sha256()]
    data = os.urandom(50_000)

    def receive() -> None:
        connection = call("accept", server, 0, 0)
        buffer = ctypes.create_string_buffer(65536)
        while count := call("read", connection, buffer, len(buffer)):
            sums[0].update(buffer.raw[:count])
        call("close", connection)

    def send() -> None:
        client = kernel.socket(STREAM)
        call("connect", client, address(port, host), 16)
        left = octets
        while left:
            count = call("write", client, data, min(left, len(data)))
            sums[1].update(data[:count])
            left -= count
        call("close", client)

    at_once(receive, send)
    call("close", server)
    assert sums[0].digest() == sums[1].digest()


def datagrams(kernel: Kernel, port: int, count: int) -> None:
    """UDP there and back, of many sizes."""
    call = kernel.syscall
    near, far = kernel.socket(DATAGRAM), kernel.socket(DATAGRAM)
    call("bind", near, address(port), 16)
    call("bind", far, address(port + 1), 16)

    def answer() -> None:
        buffer = ctypes.create_string_buffer(65536)
        for _ in range(count):
            size = call("recvfrom", far, buffer, len(buffer), 0, 0, 0)
            call("sendto", far, buffer, size, 0, address(port), 16)

    def ask() -> None:
        buffer = ctypes.create_string_buffer(65536)
        for number in range(count):
            data = os.urandom(1 + number * 37 % 8000)
            call("sendto", near, data, len(data), 0, address(port + 1), 16)
            size = call("recvfrom", near, buffer, len(buffer), 0, 0, 0)
            assert buffer.raw[:size] == data

    at_once(answer, ask)
    call("close", near)
    call("close", far)


def pipes(kernel: Kernel, rounds: int) -> None:
    """A pipe between two threads."""
    ends = (ctypes.c_int * 2)()
    kernel.syscall("pipe2", ends, 0)
    sent = [os.urandom(1 + n * 991 % 5000) for n in range(rounds)]

    def write() -> None:
        for data in sent:
            done = 0
            while done < len(data):
                done += kernel.syscall("write", ends[1], data[done:], len(data) - done)
        kernel.syscall("close", ends[1])

    got = bytearray()

    def read() -> None:
        buffer = ctypes.create_string_buffer(4096)
        while count := kernel.syscall("read", ends[0], buffer, 4096):
            got.extend(buffer.raw[:count])

    at_once(write, read)
    assert bytes(got) == b"".join(sent)


def stress(mode: str = "python") -> dict[str, Any]:
    """Everything at once, from several threads, with data checks."""
    kernel = Kernel(mode)
    began = time.perf_counter()
    at_once(
        lambda: transfer(kernel, 5000, 1_000_000),
        lambda: transfer(kernel, 5001, 500_000),
        lambda: datagrams(kernel, 6000, 60),
        lambda: pipes(kernel, 60),
    )
    return {
        "boot": kernel.boot_time,
        "work": time.perf_counter() - began,
        "problems": kernel.hv.reporter.problems,
    }


def traced() -> dict[str, Any]:
    """Boot and a little work, every hypercall recorded."""
    trace = Trace()
    kernel = Kernel(trace=trace)
    datagrams(kernel, 6000, 3)
    late = time.monotonic() + 10  # threads of the kernel begin when they can
    while not any(r.thread_name == "pdaemon" for r in trace.records):
        assert time.monotonic() < late
        time.sleep(0.05)
    errors = [r for r in trace.records if any("<" in text for text in r.arguments)]
    return {
        "counts": trace.counts(),
        "threads": sorted({record.thread_name for record in trace.records}),
        "broken": [record.line() for record in errors],
        "problems": kernel.hv.reporter.problems,
    }


def virt() -> dict[str, Any]:
    """virt0 over a link of the test's own, with a small station behind it."""
    kernel = Kernel()
    link = Memory()
    kernel.links["0"] = link
    kernel.configure("virt0", "10.5.0.1")
    station = Stack(bytes.fromhex("b2a000000002"), [IPv4Interface("10.5.0.2/24")])
    over = threading.Event()

    def serve() -> None:
        done = 0
        while not over.is_set():
            for frame in link.sent[done:]:
                done += 1
                for answer in station.input(frame):
                    link.arriving.put([answer])
            time.sleep(0.001)

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    socket = kernel.socket(DATAGRAM)
    buffer = ctypes.create_string_buffer(2048)
    answers = 0
    for number in range(50):
        data = os.urandom(1 + number * 29)
        kernel.syscall("sendto", socket, data, len(data), 0, address(7, "10.5.0.2"), 16)
        size = kernel.syscall("recvfrom", socket, buffer, 2048, 0, 0, 0)
        answers += buffer.raw[:size] == data
    kernel.syscall("close", socket)
    text = ctypes.c_char_p
    kernel.check("ifdown", (text,), b"virt0")
    kernel.check("ifdestroy", (text,), b"virt0")
    over.set()
    serving.join()
    left = [t.name for t in threading.enumerate() if t.name.startswith("virtif")]
    return {
        "answers": answers,
        "closed": link.closed,
        "left": left,
        "problems": kernel.hv.reporter.problems,
    }


def bus(path: str, role: str) -> dict[str, Any]:
    """One of two kernels on a shmif bus: ``server`` echoes, ``client`` asks."""
    trace = Trace(keep=0)
    kernel = Kernel(trace=trace)
    unit = ctypes.c_int(-1)
    create = kernel.library.rump_pub_shmif_create
    assert create(path.encode(), ctypes.byref(unit)) == 0
    mine, theirs = ("10.6.0.1", "10.6.0.2")[:: 1 if role == "server" else -1]
    kernel.configure(f"shmif{unit.value}", mine, create=False)
    socket = kernel.socket(DATAGRAM)
    kernel.syscall("bind", socket, address(5000, mine), 16)
    buffer = ctypes.create_string_buffer(2048)
    rounds = 0
    if role == "server":
        print("ready", flush=True)
        while True:
            size = kernel.syscall("recvfrom", socket, buffer, 2048, 0, 0, 0)
            kernel.syscall("sendto", socket, buffer, size, 0, address(5000, theirs), 16)
            rounds += 1
            if buffer.raw[:size] == b"end":
                break
    else:
        for number in range(40):
            data = os.urandom(1 + number * 36) if number < 39 else b"end"
            where = address(5000, theirs)
            kernel.syscall("sendto", socket, data, len(data), 0, where, 16)
            size = kernel.syscall("recvfrom", socket, buffer, 2048, 0, 0, 0)
            assert buffer.raw[:size] == data
            rounds += 1
    return {
        "rounds": rounds,
        "counts": trace.counts(),
        "problems": kernel.hv.reporter.problems,
    }


def main() -> None:
    """Do the job that the command line names."""
    jobs = {"stress": stress, "traced": traced, "virt": virt, "bus": bus}
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])), flush=True)  # type: ignore[operator]


if __name__ == "__main__":
    assert CATALOGUE
    main()
