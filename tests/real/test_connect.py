"""Clients of NetBSD's own server: traffic, and many threads."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import rumphyper
from rumphyper.kernel.constants import SOCK_CLOEXEC
from rumphyper.kernel.remote import RemoteKernel
from rumphyper.kernel.transport import SIZES
from tests.real.proxy_kit import SERVERS, Served, add_loopback

pytestmark = pytest.mark.rump
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with SERVERS[request.param]() as served:
        with rumphyper.connect(served.url) as kernel:
            add_loopback(kernel)
            kernel.fs.mkdir("/data")
            kernel.fs.mount("tmpfs", "/data")
        yield served


@pytest.fixture
def kernel(server: Served) -> Iterator[RemoteKernel]:
    with rumphyper.connect(server.url) as connected:
        yield connected


def octets(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_processes_of_their_own(server: Served) -> None:
    with rumphyper.connect(server.url) as one, rumphyper.connect(server.url) as other:
        assert one.syscall("getpid") != other.syscall("getpid")
        assert one.version == other.version
        one.fs.chdir("/data")
        assert (one.fs.getcwd(), other.fs.getcwd()) == ("/data", "/")
        sock = one.socket()
        with pytest.raises(OSError, match="Bad file descriptor"):
            other.socket(fileno=sock.fileno())
        sock.close()


def test_tcp_between_two_clients(server: Served) -> None:
    """Megabytes from one process to the other, through the kernel's lo0."""
    data = octets(1, 3 << 20)

    def serve(listener: Any) -> str:
        made, _ = listener.accept()
        digest = hashlib.sha256()
        with made:
            while block := made.recv(1 << 16):
                digest.update(block)
        return digest.hexdigest()

    with (
        rumphyper.connect(server.url) as here,
        rumphyper.connect(server.url) as there,
        ThreadPoolExecutor(1) as pool,
        there.create_server((LOOPBACK, 0)) as listener,
    ):
        found = pool.submit(serve, listener)
        with here.socket() as sock:
            sock.connect(listener.getsockname())
            for place in range(0, len(data), 100_000):
                sock.sendall(data[place : place + 100_000])
        assert found.result(timeout=60) == hashlib.sha256(data).hexdigest()


def test_large_files(kernel: RemoteKernel) -> None:
    """Larger than one call moves."""
    data = octets(2, 17 << 20)
    try:
        with kernel.open("/data/large", "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        with kernel.open("/data/large", "rb", buffering=0) as file:
            room = bytearray(len(data))
            place = 0
            while count := file.readinto(memoryview(room)[place:]):
                place += count
        assert hashlib.sha256(room).digest() == hashlib.sha256(data).digest()
    finally:
        kernel.fs.unlink("/data/large")


def send_whole(sock: Any, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_many_threads_on_one_connection(kernel: RemoteKernel) -> None:
    """Streams, datagrams and files at the same time, each checked."""

    def stream(seed: int) -> None:
        data = octets(seed, 200_000)
        a, b = kernel.socketpair()
        with a, b:
            sender = threading.Thread(target=send_whole, args=(a, data))
            sender.start()
            parts = []
            while block := b.recv(8192):
                parts.append(block)
            sender.join()
        assert b"".join(parts) == data

    def datagrams(seed: int) -> None:
        with (
            kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as a,
            kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as b,
        ):
            b.bind((LOOPBACK, 0))
            b.settimeout(20)
            for number in range(30):
                data = octets(seed * 1000 + number, 500)
                a.sendto(data, b.getsockname())
                assert b.recv(1000) == data

    def file(seed: int) -> None:
        path = f"/data/{seed}"
        for number in range(10):
            data = octets(seed * 1000 + number, 5000)
            with kernel.open(path, "wb") as out:
                out.write(data)
            with kernel.open(path, "rb") as back:
                assert back.read() == data
        kernel.fs.unlink(path)

    jobs = [work for work in (stream, datagrams, file) for _ in range(5)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(work, seed) for seed, work in enumerate(jobs)]
        for one in running:
            one.result(timeout=60)


def test_a_call_that_sleeps_keeps_nobody_waiting(kernel: RemoteKernel) -> None:
    a, b = kernel.socketpair()
    with a, b, ThreadPoolExecutor(4) as pool:
        sleepers = [pool.submit(a.recv, 1) for _ in range(4)]
        start = time.monotonic()
        for _ in range(200):
            kernel.syscall("getpid")
        assert not any(one.done() for one in sleepers)
        b.sendall(b"wake")
        assert sorted(one.result(timeout=5) for one in sleepers) == [
            b"a", b"e", b"k", b"w",
        ]  # fmt: skip
        assert time.monotonic() - start < 10


def test_pipes_poll_and_select(kernel: RemoteKernel) -> None:
    """What waits is woken by another thread's call on the same connection."""
    import select as host_select

    reading, writing = kernel.fs.pipe()
    poll = kernel.poll()
    poll.register(reading, host_select.POLLIN)
    assert poll.poll(50) == []
    timer = threading.Timer(0.2, kernel.fs.write, (writing, b"x"))
    timer.start()
    assert poll.poll(10_000) == [(reading, host_select.POLLIN)]
    assert kernel.select([reading], [writing], [], 1) == ([reading], [writing], [])
    timer.join()
    for fd in (reading, writing):
        kernel.fs.close(fd)


def test_over_tcp() -> None:
    data = octets(3, 100_000)
    with (
        SERVERS["rump_server"]("tcp") as served,
        rumphyper.connect(served.url + "/") as kernel,
    ):
        a, b = kernel.socketpair()
        sender = threading.Thread(target=a.sendall, args=(data,))
        sender.start()
        assert b.recv(len(data), socket.MSG_WAITALL) == data
        sender.join()
        a.close()
        b.close()


def test_two_hundred_clients(server: Served) -> None:
    """The stock server takes 255; all are usable, and their places come back."""
    for _ in range(2):
        clients = [rumphyper.connect(server.url) for _ in range(200)]
        try:
            pids = {client.syscall("getpid") for client in clients}
            assert len(pids) == len(clients)
        finally:
            for client in clients:
                client.close()
        time.sleep(0.5)


def test_close_on_exec_and_flags(kernel: RemoteKernel) -> None:
    number = kernel.calls.do("socket", 2, 1 | SOCK_CLOEXEC, 0)
    assert kernel.calls.do("fcntl", number, 1, 0) == 1
    assert kernel.calls.close(number) == 0
    assert kernel.calls.read(number, b"", SIZES[0]) == -9
