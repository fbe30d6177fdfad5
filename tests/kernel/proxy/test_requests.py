"""Many calls at a time over one connection, and its end."""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rumphyper
from rumphyper.errors import KernelClosedError, KernelError, ServerGoneError
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.frames import Frame, pack
from tests.kernel.proxy.fakeserver import Peer, listening, serving

SIZE = ctypes.c_size_t


def fd_of(call: Frame) -> int:
    fd: int = struct.unpack_from("=Q", call.body)[0]
    return fd


@pytest.mark.parametrize("backwards", [False, True])
def test_answers_find_their_calls(backwards: bool, tmp_path: Path) -> None:
    """Sixteen calls are in flight before the first is answered."""
    rounds, threads = 10, 16

    def script(peer: Peer) -> None:
        for _ in range(rounds):
            calls = [peer.recv() for _ in range(threads)]
            for call in sorted(calls, key=fd_of, reverse=backwards):
                peer.answer(call, fd_of(call) + 1000)

    with serving(tmp_path, script) as kernel, ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            found = list(pool.map(kernel.calls.dup, range(threads)))
            assert found == [fd + 1000 for fd in range(threads)]


def test_memory_of_many_calls_is_served(tmp_path: Path) -> None:
    """Each thread's memory is read and written while the others' calls wait."""
    threads = 8

    def script(peer: Peer) -> None:
        calls = [peer.recv() for _ in range(threads)]
        for call in calls:
            fd, start, size = struct.unpack("=QQQ", call.body)
            octets = peer.copyin(start, size).body
            assert octets == b"%d" % fd * 10
            peer.answer(call, size)
        calls = [peer.recv() for _ in range(threads)]
        for call in reversed(calls):
            fd, start, size = struct.unpack("=QQQ", call.body)
            peer.copyout(start, b"<%d>" % fd)
        for call in calls:
            peer.answer(call, 3)

    def write(fd: int) -> int:
        return kernel.calls.write(fd, b"%d" % fd * 10, SIZE(10))

    def read(fd: int) -> bytes:
        room = ctypes.create_string_buffer(10)
        count = kernel.calls.read(fd, room, SIZE(10))
        return room.raw[:count]

    with serving(tmp_path, script) as kernel, ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(write, range(threads))) == [10] * threads
        assert list(pool.map(read, range(threads))) == [
            b"<%d>" % fd for fd in range(threads)
        ]


def test_close_wakes_all_that_wait(tmp_path: Path) -> None:
    threads = 5
    begun = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        for _ in range(threads):
            peer.recv()
            begun.release()
        assert peer.gone()

    with serving(tmp_path, script) as kernel, ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(kernel.calls.getpid) for _ in range(threads)]
        for _ in range(threads):
            assert begun.acquire(timeout=5)
        kernel.close()
        for one in waiting:
            with pytest.raises(ServerGoneError, match="was closed"):
                one.result(timeout=5)


def test_the_servers_end_is_everybodys(tmp_path: Path) -> None:
    threads = 5

    def script(peer: Peer) -> None:
        for _ in range(threads):
            peer.recv()

    with serving(tmp_path, script) as kernel, ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(kernel.calls.getpid) for _ in range(threads)]
        for one in waiting:
            error = one.exception(timeout=5)
            assert isinstance(error, ConnectionError)
            assert isinstance(error, KernelClosedError)
        assert kernel.closed


def test_a_refusal_that_is_not_understood(tmp_path: Path) -> None:
    """The stock server answers it with an error of its own: its call would hang."""

    def script(peer: Peer) -> None:
        peer.recv()
        refusal = peer.copyin(0x1234, 5)
        word = frames.ERR_MALFORMED_REQUEST
        peer.send(pack(refusal.reqno, frames.ERROR, 0, word))
        assert peer.gone()

    cause = "COPYIN of 5 octets at 0x1234"
    with (
        serving(tmp_path, script) as kernel,
        pytest.raises(ServerGoneError, match=cause),
    ):
        kernel.syscall("write", 3, 0x1234, 5)


def test_unknown_calls_and_wrong_arguments(tmp_path: Path) -> None:
    with serving(tmp_path, lambda peer: None) as kernel:
        with pytest.raises(KernelError, match="no system call"):
            kernel.syscall("nonsense")
        with pytest.raises(TypeError, match="takes 1 arguments"):
            kernel.syscall("close")
        with pytest.raises(TypeError):
            kernel.syscall("close", "3")
        with pytest.raises(TypeError, match="no pointer"):
            kernel.syscall("read", 3, [], 5)


def test_errors_have_the_hosts_numbers(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        for error in (35, -3, 1 << 30):  # EAGAIN, ERESTART, none of NetBSD's
            peer.answer(peer.recv(), -1, error)

    with serving(tmp_path, script) as kernel:
        for number, netbsd in (("EAGAIN", 35), ("EINTR", 4), ("EINVAL", 1 << 30)):
            with pytest.raises(KernelError) as caught:
                kernel.syscall("getpid")
            assert caught.value.netbsd_errno == netbsd
            assert caught.value.errno == getattr(__import__("errno"), number)


def test_results_of_int_calls_are_ints(tmp_path: Path) -> None:
    values = (5, (1 << 32) + 5, 0x7FFFFFFF, 1 << 40)

    def script(peer: Peer) -> None:
        for value in values:
            peer.answer(peer.recv(), value)
        for value in values:
            peer.answer(peer.recv(), value)

    with serving(tmp_path, script) as kernel:
        assert [kernel.calls.dup(1) for _ in values] == [5, 5, 0x7FFFFFFF, 0]
        offset = ctypes.c_int64(0)
        assert [kernel.calls.lseek(1, offset, 0) for _ in values] == list(values)


def test_connecting_again(tmp_path: Path) -> None:
    """Only when asked for, and for the next call, never for one in flight."""
    pids = iter(range(1, 9))

    def script(peer: Peer) -> None:
        peer.greet()
        peer.answer(peer.recv(), next(pids))
        peer.gone()

    with listening(tmp_path, script) as url:
        with rumphyper.connect(url, timeout=5) as kernel:
            assert kernel.syscall("getpid") == 1
            for _ in range(2):
                with pytest.raises(ServerGoneError):
                    kernel.syscall("getpid")
        with rumphyper.connect(url, timeout=5, reconnect=5) as kernel:
            assert kernel.syscall("getpid") == 2
            with pytest.raises(ServerGoneError):
                kernel.syscall("getpid")
            assert kernel.syscall("getpid") == 3
        with pytest.raises(ServerGoneError, match="was closed"):
            kernel.syscall("getpid")
    start = time.monotonic()
    with pytest.raises(ServerGoneError):
        kernel.syscall("getpid")
    assert time.monotonic() - start < 2
