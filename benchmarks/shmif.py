"""bench shmif: frames from one process to another over a shmif bus.

The peer is a Unix datagram socket pair that carries the same frames between
the same two processes, written and read from Python. A window that both sides
keep in a few words of shared memory makes sure that neither loses a frame; it
costs both the same.

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
WINDOW = 8 * BATCH
"""Frames that may be under way."""
SIZES = (64, 1500)

READY, RECEIVED, END = range(3)
"""Words of the shared page: the receiver is there; how many it has; its time."""

Words = memoryview
Sender = Callable[[Words, bytes, int], None]
Receiver = Callable[[Words, int], None]


def _frames_a_second(size: int, count: int, send: Sender, receive: Receiver) -> float:
    """Fork a receiver, send it ``count`` frames, and return the rate."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    words = memoryview(page).cast("Q")
    child = os.fork()
    if not child:
        status = 1
        try:
            receive(words, count)
            words[END] = time.monotonic_ns()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    try:
        while not words[READY]:
            time.sleep(0.001)
            if os.waitpid(child, os.WNOHANG)[0]:
                raise ChildProcessError("the receiver ended before it was ready")
        start = time.monotonic_ns()
        send(words, bytes(size), count)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        status = os.waitpid(child, 0)[1]
    if status:
        raise ChildProcessError(f"the receiver ended with status {status}")
    return count / (words[END] - start) * 1e9


def _over_shmif(size: int, count: int, batch: int) -> float:
    # /dev/shm is memory; elsewhere each wake-up may cost a disk's journal.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="rumphyper-bench-", dir=place) as folder:
        path = str(Path(folder) / "bus")

        def receive(words: Words, count: int) -> None:
            with open_shmif(path) as link:
                recv = link.recv
                recv(timeout=0)
                words[READY] = 1
                got = 0
                while got < count:
                    got += len(recv())
                    words[RECEIVED] = got
                assert link.counters.dropped == 0

        def send(words: Words, frame: bytes, count: int) -> None:
            with open_shmif(path) as link:
                send = link.send
                if batch == 1:
                    for sent in range(count):
                        while sent - words[RECEIVED] >= WINDOW:
                            os.sched_yield()
                        send([frame])
                    return
                frames = [frame] * batch
                for sent in range(0, count, batch):
                    while sent - words[RECEIVED] >= WINDOW:
                        os.sched_yield()
                    send(frames)

        return _frames_a_second(size, count, send, receive)


def _over_socket(size: int, count: int) -> float:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:

        def receive(words: Words, count: int) -> None:
            recv = theirs.recv
            words[READY] = 1
            for got in range(1, count + 1):
                recv(2048)
                if not got % BATCH:
                    words[RECEIVED] = got

        def send(words: Words, frame: bytes, count: int) -> None:
            send = ours.send
            for sent in range(count):
                while sent - words[RECEIVED] >= WINDOW:
                    os.sched_yield()
                send(frame)

        return _frames_a_second(size, count, send, receive)


def run(quick: bool) -> Iterator[Row]:
    """Yield ``64 batch``, ``64 single``, ``1500 batch`` and ``1500 single``."""
    count = (32_000 if quick else 96_000) // BATCH * BATCH
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
