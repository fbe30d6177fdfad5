"""bench shmif: frames from one process to another over a shmif bus.

The peer is a Unix datagram socket pair that carries the same frames between
the same two processes, written and read from Python. So that neither loses a
frame, the sender needs a token for each `SHARE` frames, which the receiver
sends back through a pipe; that costs both the same.

``batch`` sends 32 frames a call, which the socket, having no call for that,
sends one by one; ``single`` sends one frame a call on both. The receiver takes
what is there, as its interface gives it.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from rumphyper.link.shmif import open_shmif

from .harness import Row, interleave

BATCH = 32
SHARE = 4 * BATCH
TOKENS = 4
"""Shares that may be under way: three quarters of what a bus has room for."""
SIZES = (64, 1500)

READY, END = range(2)
"""Words of the shared page: the receiver is there; when it had all frames."""

Sender = Callable[[int, bytes, int], None]
"""Sends so many frames, with the descriptor that tokens come from."""
Receiver = Callable[[int, Callable[[], None], int], None]
"""Receives so many, sends tokens, and says when it is ready."""


def _frames_a_second(size: int, count: int, send: Sender, receive: Receiver) -> float:
    """Fork a receiver, send it ``count`` frames, and return the rate."""
    words = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
    take, give = os.pipe()
    os.write(give, bytes(TOKENS))

    def ready() -> None:
        words[READY] = 1

    child = os.fork()
    if not child:
        status = 1
        try:
            receive(give, ready, count)
            words[END] = time.monotonic_ns()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(give)
    try:
        while not words[READY]:
            time.sleep(0.001)
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
        start = time.monotonic_ns()
        send(take, bytes(size), count)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(take)
        status = os.waitpid(child, 0)[1]
    if status:
        raise ChildProcessError(f"the receiver ended with status {status}")
    return count / (words[END] - start) * 1e9


def _over_shmif(size: int, count: int, batch: int) -> float:
    # /dev/shm is memory; elsewhere each wake-up may cost a disk's journal.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="rumphyper-bench-", dir=place) as folder:
        path = str(Path(folder) / "bus")

        def receive(give: int, ready: Callable[[], None], count: int) -> None:
            with open_shmif(path) as link:
                recv = link.recv
                recv(timeout=0)
                ready()
                got = given = 0
                while got < count:
                    got += len(recv())
                    while got - given >= SHARE:
                        given += SHARE
                        os.write(give, b"x")
                assert link.counters.dropped == 0

        def send(take: int, frame: bytes, count: int) -> None:
            send = link.send
            frames = [frame] * batch
            for _ in range(0, count, SHARE):
                os.read(take, 1)
                if batch == 1:
                    for _ in range(SHARE):
                        send([frame])
                else:
                    for _ in range(0, SHARE, batch):
                        send(frames)

        with open_shmif(path) as link:
            return _frames_a_second(size, count, send, receive)


def _over_socket(size: int, count: int) -> float:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:

        def receive(give: int, ready: Callable[[], None], count: int) -> None:
            recv = theirs.recv
            ready()
            for _ in range(0, count, SHARE):
                for _ in range(SHARE):
                    recv(2048)
                os.write(give, b"x")

        def send(take: int, frame: bytes, count: int) -> None:
            send = ours.send
            for _ in range(0, count, SHARE):
                os.read(take, 1)
                for _ in range(SHARE):
                    send(frame)

        return _frames_a_second(size, count, send, receive)


def run(quick: bool) -> Iterator[Row]:
    """Yield ``64 batch``, ``64 single``, ``1500 batch`` and ``1500 single``."""
    count = (64_000 if quick else 192_000) // SHARE * SHARE
    runs = 11 if quick else 31
    for size in SIZES:
        for name, batch in (("batch", BATCH), ("single", 1)):
            yield interleave(
                "shmif",
                f"{size} {name}",
                "frames/s",
                lambda size=size, batch=batch: _over_shmif(size, count, batch),  # type: ignore[misc]
                "unix dgram socketpair",
                lambda size=size: _over_socket(size, count),  # type: ignore[misc]
                runs,
                more_is_better=True,
            )
