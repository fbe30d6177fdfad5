"""Everything that a kernel does at once, from many threads, every octet checked.

Run by netbsd_session.py; test_stress.py judges. By hand, for an hour:

    RUMPHYPER_TEST_MODE=python RUMPHYPER_TEST_PATIENCE=4000 \\
        python -m tests.real.netbsd_session stress 4 3600 /tmp/bus
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from rumphyper.kernel.netbsd import Kernel
from tests.real.kernel_session import descriptors
from tests.real.netbsd_cases.kit import settled
from tests.real.rump import boot

LOOPBACK = "127.0.0.1"
FOLDER = "/stress"
PATIENCE = 30.0
"""Seconds after which a socket that waits has failed."""

Chance = random.Random
Job = Callable[[Kernel, Chance], None]
"""One round of something; raises when anything is not as it should be."""


def together(*jobs: Callable[[], object]) -> None:
    """Run each on a thread of its own; raises what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def tcp(kernel: Kernel, chance: Chance) -> None:
    """A connection, both ways at once."""
    with kernel.create_server((LOOPBACK, 0)) as server:
        address: Any = server.getsockname()
        near = kernel.create_connection(address, PATIENCE)
        far, _ = server.accept()
    far.settimeout(PATIENCE)
    data = [chance.randbytes(chance.randrange(1, 400_000)) for _ in range(2)]
    got = [hashlib.sha256(), hashlib.sha256()]
    sizes = [chance.randrange(100, 100_000) for _ in range(2)]

    def send(end: Any, octets: bytes, size: int) -> None:
        for start in range(0, len(octets), size):
            end.sendall(octets[start : start + size])
        end.shutdown(socket.SHUT_WR)

    def receive(end: Any, seen: Any, size: int) -> None:
        while part := end.recv(size):
            seen.update(part)

    with near, far:
        together(
            lambda: send(near, data[0], sizes[0]),
            lambda: send(far, data[1], sizes[1]),
            lambda: receive(far, got[0], sizes[1]),
            lambda: receive(near, got[1], sizes[0]),
        )
    assert [s.digest() for s in got] == [hashlib.sha256(d).digest() for d in data]


def udp(kernel: Kernel, chance: Chance) -> None:
    """Datagrams there and back, in fragments some of them."""
    with (
        kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        for end in (near, far):
            end.bind((LOOPBACK, 0))
            end.settimeout(PATIENCE)
        for _ in range(20):
            data = chance.randbytes(chance.choice((0, 1, 1000, 5000, 8000)))
            send(near, data, far.getsockname())
            there, sender = far.recvfrom(9000)
            send(far, there, sender)
            assert near.recv(9000) == data


def send(sock: Any, data: bytes, to: Any) -> None:
    """Send a datagram, again when a queue of NetBSD's had no room for it."""
    while True:
        try:
            sock.sendto(data, to)
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            time.sleep(0.01)


def pipes(kernel: Kernel, chance: Chance) -> None:
    """A pipe between two threads."""
    fs = kernel.fs
    reading, writing = fs.pipe()
    sent = [chance.randbytes(chance.randrange(1, 20_000)) for _ in range(20)]
    got = bytearray()

    def write() -> None:
        for data in sent:
            while data:
                data = data[fs.write(writing, data) :]
        fs.close(writing)

    def read() -> None:
        while part := fs.read(reading, 5000):
            got.extend(part)

    together(write, read)
    fs.close(reading)
    assert got == b"".join(sent)


def polls(kernel: Kernel, chance: Chance) -> None:
    """Words that two threads wait for in poll, with little patience."""
    fs = kernel.fs
    (left, right), ends = kernel.socketpair(), fs.pipe()
    words = [chance.randbytes(10) for _ in range(30)]

    def say() -> None:
        for word in words:
            time.sleep(chance.random() / 100)
            left.sendall(word)
            fs.write(ends[1], word)

    def hear(fd: int) -> None:
        poll = kernel.poll()
        poll.register(fd, select.POLLIN)
        got = b""
        while len(got) < 300:
            if poll.poll(chance.randrange(20)):
                got += fs.read(fd, 100)
        assert got == b"".join(words)

    with left, right:
        together(say, lambda: hear(right.fileno()), lambda: hear(ends[0]))
    for fd in ends:
        fs.close(fd)


def tmpfs(kernel: Kernel, chance: Chance) -> None:
    """A folder of files that are written anywhere, cut, renamed and removed."""
    fs = kernel.fs
    folder = f"{FOLDER}/{threading.get_ident()}"
    fs.mkdir(folder)
    files: dict[str, bytearray] = {}
    for number in range(30):
        name = f"{folder}/{chance.randrange(6)}"
        data = chance.randbytes(chance.randrange(30_000))
        with kernel.open(name, "r+b" if name in files else "w+b") as file:
            known = files.setdefault(name, bytearray())
            at = chance.randrange(len(known) + 5000)
            known.extend(bytes(max(0, at + len(data) - len(known))))
            known[at : at + len(data)] = data
            file.seek(at)
            file.write(data)
            if number % 3 == 0:
                del known[len(known) // 2 :]
                file.truncate(len(known))
        if number % 4 == 0:
            fs.rename(name, f"{folder}/{number % 6}")
            files[f"{folder}/{number % 6}"] = files.pop(name)
    assert sorted(fs.listdir(folder)) == sorted(name[-1] for name in files)
    for name, known in files.items():
        with kernel.open(name, "rb") as file:
            assert file.read() == known
        fs.unlink(name)
    fs.rmdir(folder)


def threads(kernel: Kernel, chance: Chance) -> None:
    """Threads that come, say a word to each other, and go, with their lwps."""

    def work() -> None:
        left, right = kernel.socketpair()
        with left, right:
            word = chance.randbytes(100)
            left.sendall(word)
            assert right.recv(200) == word

    together(*[work] * 8)


def interfaces(kernel: Kernel, chance: Chance, bus: str) -> None:
    """An interface with a thread and a buffer of its own comes and goes."""
    made = kernel.create_interface("shmif0", f"shmif:{bus}")
    made.add_address("10.99.0.1/24")
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(10):
            sock.sendto(chance.randbytes(500), ("10.99.0.255", 9))
    made.destroy()


def stress(ncpu: str, seconds: str, bus: str) -> dict[str, Any]:
    """All jobs for so many seconds; how many rounds of each there were."""
    with boot(ncpu=int(ncpu)) as kernel:
        lo0 = kernel.interface("lo0")
        lo0.add_address(f"{LOOPBACK}/8")
        lo0.mtu = 1500  # so that there are fragments
        kernel.fs.mkdir(FOLDER)
        kernel.fs.mount("tmpfs", FOLDER)
        jobs: tuple[Job, ...] = (tcp, udp, pipes, polls, tmpfs, threads)
        rounds = dict.fromkeys(("interfaces", *(job.__name__ for job in jobs)), 0)
        errors: list[str] = []
        end = time.monotonic() + float(seconds)

        def repeat(name: str, job: Callable[[Chance], None]) -> None:
            while time.monotonic() < end and not errors:
                seed = os.urandom(8).hex()
                try:
                    job(random.Random(seed))
                except BaseException:
                    errors.append(f"{name} {seed}: {traceback.format_exc()}")
                rounds[name] += 1

        before = (descriptors(kernel), settled())
        workers = [
            threading.Thread(target=repeat, args=(job.__name__, one))
            for job in jobs
            for one in [lambda chance, job=job: job(kernel, chance)] * 2
        ]
        for worker in workers:
            worker.start()
        repeat("interfaces", lambda chance: interfaces(kernel, chance, bus))
        for worker in workers:
            worker.join()
        after = (descriptors(kernel), settled())
        problems = kernel.hypervisor.reporter.problems
    return {
        "rounds": rounds,
        "errors": errors,
        "problems": problems,
        "left": before == after or [before, after],
    }
