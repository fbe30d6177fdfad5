"""Pipes, devices, and files that are left open."""

from __future__ import annotations

import gc
import os
import signal
import stat
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.real.file_checks.kit import check


@check
def waits_end_by_signal(kernel: Any) -> None:
    fs = kernel.fs
    reader, writer = fs.pipe()
    waits: list[Callable[[], Any]] = [
        lambda: fs.read(reader, 1),
        lambda: fs.readinto(reader, bytearray(1)),
        lambda: kernel.open(reader, "rb", closefd=False).read(1),
    ]
    for wait in waits:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        before = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert time.monotonic() - before < 1.0
        timer.join()
    fs.write(writer, b"still there")
    assert fs.read(reader, 100) == b"still there"
    fs.close(reader)
    fs.close(writer)


@check
def socket_as_file(kernel: Any) -> None:
    a, b = kernel.socketpair()
    with a, b:
        kernel.fs.write(a.fileno(), b"by descriptor")
        assert kernel.fs.read(b.fileno(), 100) == b"by descriptor"
        threading.Timer(0.3, a.send, (b"late",)).start()
        assert kernel.fs.read(b.fileno(), 100) == b"late"
        b.setblocking(False)
        with pytest.raises(BlockingIOError):
            kernel.fs.read(b.fileno(), 1)


@check
def unclosed_file(kernel: Any) -> None:
    file = kernel.open("/sockets/unclosed", "wb", buffering=0)
    fd = file.fileno()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del file
        gc.collect()
    assert [one.category for one in caught] == [ResourceWarning]
    other = kernel.fs.open("/sockets/unclosed", os.O_RDONLY)
    assert other == fd
    kernel.fs.close(other)
    kernel.fs.unlink("/sockets/unclosed")


@check
def device_files(kernel: Any) -> None:
    with kernel.open("/dev/zero", "rb", buffering=0) as zero:
        assert zero.read(16) == bytes(16)
    with kernel.open("/dev/null", "wb") as null:
        null.write(b"gone")
    assert stat.S_ISCHR(kernel.fs.stat("/dev/null").st_mode)
