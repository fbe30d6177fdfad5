"""Memory and signals of the syscall proxy's clients, and clients that die."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path

import pytest

from rumphyper.hypercalls.proxy import frames as f
from tests.hypercalls.proxy.fakekernel import (
    FakeKernel,
    Memory,
    eventually,
    fake_served,
)
from tests.real.serving.raw import Raw

CALL = 100
ENOMEM, EFAULT, EAGAIN, ENXIO, EALREADY = 12, 14, 35, 6, 37


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "sysproxy"]


def test_the_memory_of_a_client(tmp_path: Path) -> None:
    """In the middle of a call, in every way that the kernel has."""
    kernel = FakeKernel()
    memory = Memory(200_000)
    found: list[object] = []
    with fake_served(tmp_path, kernel) as (family, url), Raw(url) as raw:
        [client] = kernel.clients
        size = ctypes.pointer(ctypes.c_size_t(64))
        place = ctypes.pointer(ctypes.c_void_p())

        def call(args: bytes) -> int:
            a = memory.address
            found.append(family.sp_copyin(client, 0x1000, a, 100_000))
            found.append(memory.octets.raw[:100_000] == raw.memory[0x1000])
            found.append(family.sp_copyin(client, 0x1000, a, 0))
            found.append(family.sp_copyinstr(client, 0x2000, a, size))
            found.append((size[0], memory.octets.value))
            for length in (0, 1, 60_000, 150_000):
                family.sp_copyout(client, a, 0x10_0000 + length, length)
            family.sp_copyoutstr(client, a, 0x3000, size)
            found.append(family.sp_anonmmap(client, 4096, place))
            found.append(family.sp_raise(client, 13))
            return 0

        kernel.calls[CALL] = call
        raw.memory = {0x1000: os.urandom(100_000), 0x2000: b"a string\0"}
        number = raw.call(CALL)
        while (frame := raw.frame()).reqno != number or frame.cls == f.REQ:
            if frame.type == f.ANONMMAP:
                assert f.SIZE.unpack(frame.body) == (4096,)
                raw.send(f.pack(frame.reqno, f.RESP, f.ANONMMAP, 0, bytes(8)))
            elif frame.type == f.RAISE:
                assert frame.word == 13
            else:
                raw.serve(frame)
        assert found == [0, True, 0, 0, (9, b"a string"), ENOMEM, 0]
        whole = memory.octets.raw
        for length in (0, 1, 60_000, 150_000):
            assert raw.copied[0x10_0000 + length] == whole[:length]
        assert raw.copied[0x3000] == b"a string\0"


def test_the_memory_of_a_client_from_elsewhere(tmp_path: Path) -> None:
    """The kernel's own threads reach it too, while it is doing nothing."""
    kernel = FakeKernel()
    memory = Memory(16)
    with fake_served(tmp_path, kernel) as (family, url), Raw(url) as raw:
        [client] = kernel.clients
        results: list[int] = []

        def from_elsewhere() -> None:
            kernel._make()
            results.append(family.sp_copyin(client, 0x1000, memory.address, 16))
            results.append(family.sp_copyout(client, memory.address, 0x2000, 16))
            results.append(family.sp_raise(client, 1))

        raw.memory[0x1000] = b"0123456789abcdef"
        thread = threading.Thread(target=from_elsewhere)
        thread.start()
        raw.serve(raw.frame())
        raw.serve(raw.frame())
        signalled = raw.frame()
        thread.join(10)
        assert results == [0, 0, 0]
        assert memory.octets.raw == raw.copied[0x2000] == raw.memory[0x1000]
        assert (signalled.type, signalled.word) == (f.RAISE, 1)
        assert raw.syscall(CALL)[0] == 78


def test_clients_that_the_kernel_may_still_name(tmp_path: Path) -> None:
    """A process outlives its client by a moment, and its number for ever."""
    kernel = FakeKernel()
    memory = Memory(16)
    with fake_served(tmp_path, kernel) as (family, url):
        raw = Raw(url)
        [client] = kernel.clients
        raw.close()
        assert eventually(lambda: len(kernel.lwps) == len(threads()))
        for handle in (client, 0, 12345):
            assert family.sp_copyin(handle, 1, memory.address, 16) == EFAULT
            assert family.sp_copyout(handle, memory.address, 1, 16) == EFAULT
            assert family.sp_raise(handle, 15) == EFAULT


def test_a_storm_of_signals(tmp_path: Path) -> None:
    """Nobody waits for the client; what it has not got yet is kept once each."""
    kernel = FakeKernel()
    with fake_served(tmp_path, kernel) as (family, url), Raw(url) as raw:
        [client] = kernel.clients
        for number in range(5_000):
            assert family.sp_raise(client, 1 + number % 64) == 0
        missing = set(range(1, 65))
        while missing:
            missing.discard(raw.frame().word)
        assert raw.syscall(CALL)[0] == 78


def test_signals_for_who_never_reads(tmp_path: Path) -> None:
    kernel = FakeKernel()
    with fake_served(tmp_path, kernel, patience=0.2) as (family, url), Raw(url):
        [client] = kernel.clients
        while not family.sp_raise(client, 1):
            pass
        assert eventually(lambda: len(kernel.lwps) == len(threads()))


def test_death_while_the_kernel_copies(tmp_path: Path) -> None:
    """At each octet of the exchange."""
    kernel = FakeKernel()
    memory = Memory(64)
    errors: list[int] = []
    with fake_served(tmp_path, kernel) as (family, url):
        for part in range(0, f.HEADER.size + 64, 3):
            raw = Raw(url)
            client = kernel.clients[-1]

            def call(args: bytes, client: int = client) -> int:
                errors.append(family.sp_copyin(client, 0x1000, memory.address, 64))
                return errors[-1]

            kernel.calls[CALL] = call
            raw.call(CALL)
            frame = raw.frame()
            raw.send(f.pack(frame.reqno, f.RESP, f.COPYIN, 0, bytes(64))[:part])
            raw.close()
        count = len(range(0, f.HEADER.size + 64, 3))
        assert eventually(lambda: len(errors) == count)
        assert set(errors) == {EFAULT}
        assert eventually(lambda: len(kernel.lwps) == len(threads()))


@pytest.mark.parametrize("executing", [False, True])
def test_a_call_that_misses_its_waking_is_woken_again(
    tmp_path: Path, executing: bool
) -> None:
    kernel = FakeKernel()
    woken: list[int] = []
    asleep, back = threading.Event(), threading.Event()

    def wake() -> None:
        woken.append(1)
        if len(woken) == 3:
            back.set()

    def sleep(args: bytes) -> int:
        asleep.set()
        return 0 if back.wait(10) else 1

    kernel.upcalls.lwpexit = wake
    kernel.calls[CALL] = sleep
    with fake_served(tmp_path, kernel) as (_, url):
        with Raw(url) as raw:
            raw.call(CALL)
            assert asleep.wait(10)
            if executing:
                raw.handshake(f.EXEC, b"new\0")
                assert len(woken) == 3
                time.sleep(0.5)  # nobody wakes the new program's
                assert len(woken) == 3
        assert eventually(lambda: len(kernel.lwps) == len(threads()))
        assert len(woken) == (4 if executing else 3)
