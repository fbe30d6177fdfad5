"""Waiting: time limits, signals, other threads."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.real.socket_checks.kit import LOOPBACK, check, silent_port


@check
def connect_timeout(kernel: Any) -> None:
    with silent_port(kernel) as to, kernel.socket() as sock:
        sock.settimeout(0.3)
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            sock.connect(to)
        assert 0.25 < time.monotonic() - before < 1.5
    with silent_port(kernel) as to, kernel.socket() as sock:
        sock.settimeout(0.2)
        assert sock.connect_ex(to) == errno.EAGAIN
    with silent_port(kernel) as to, pytest.raises(TimeoutError):
        kernel.create_connection(to, timeout=0.2)


@check
def close_wakes_reader(kernel: Any) -> None:
    a, b = kernel.socketpair()
    for sock in (a, kernel.create_server((LOOPBACK, 0))):
        ended: list[BaseException] = []

        def read(sock: Any = sock, ended: list[BaseException] = ended) -> None:
            try:
                sock.accept() if sock.family == socket.AF_INET else sock.recv(1)
            except BaseException as error:
                ended.append(error)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        time.sleep(0.3)
        sock.close()
        reader.join(5)
        assert not reader.is_alive()
        assert isinstance(ended[0], OSError), ended
        assert ended[0].errno == errno.EBADF
    b.close()


@check
def interrupt(kernel: Any) -> None:
    """Ctrl-C ends any wait of the main thread, soon, and harms nothing."""
    a, b = kernel.socketpair()
    big = bytes(10_000_000)
    with (
        a,
        b,
        silent_port(kernel) as silent,
        kernel.create_server((LOOPBACK, 0)) as server,
        kernel.socket() as client,
    ):
        poll = kernel.poll()
        poll.register(a, 1)
        a.settimeout(None)
        waits: list[Callable[[], Any]] = [
            lambda: a.recv(1),
            lambda: a.recvfrom(1),
            lambda: a.recv_into(bytearray(1)),
            lambda: a.recvmsg(1),
            lambda: a.makefile("rb").read(1),
            server.accept,
            lambda: client.connect(silent),
            lambda: kernel.select([a], [], []),
            poll.poll,
            lambda: a.sendall(big),
            lambda: a.sendmsg([big]),
        ]
        for number, wait in enumerate(waits):
            timer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            before = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                wait()
            took = time.monotonic() - before
            assert took < 1.0, (number, took)
            timer.join()
        assert client.connect_ex(silent) == errno.EALREADY  # it goes on by itself


@check
def handler_between(kernel: Any) -> None:
    """A handler that does not raise leaves a wait going on."""
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((LOOPBACK, 0))
            sock.settimeout(1.0)
            signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
            start = time.monotonic()
            with pytest.raises(TimeoutError):
                sock.recv(1)
            took = time.monotonic() - start
            assert 0.95 < took < 1.5
            assert len(seen) >= 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@check
def default_timeout(kernel: Any) -> None:
    socket.setdefaulttimeout(0.1)
    try:
        a, b = kernel.socketpair()
        with a, b, pytest.raises(TimeoutError):
            a.recv(1)
    finally:
        socket.setdefaulttimeout(None)


@check
def two_readers(kernel: Any) -> None:
    """Two threads may read one socket: every octet comes once."""
    a, b = kernel.socketpair()
    got: list[bytes] = []

    def read() -> None:
        while block := b.recv(1000):
            got.append(block)

    with a, b:
        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(2000):
            a.sendall(struct.pack("!I", number) * 50)
        a.shutdown(socket.SHUT_WR)
        for reader in readers:
            reader.join()
    whole = b"".join(got)
    assert len(whole) == 2000 * 200
