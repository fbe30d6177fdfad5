"""A server that breaks the protocol, or means harm."""

from __future__ import annotations

import ctypes
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.errors import ProtocolError, ServerGoneError
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.frames import HEADER, pack
from tests.kernel.proxy.fakeserver import Peer, Script, serving

SECRET = ctypes.create_string_buffer(b"nobody lends this", 64)
SECRET_ADDRESS = ctypes.addressof(SECRET)
WRITE = 4


def header(length: int, cls: int, kind: int, reqno: int = 0) -> bytes:
    return HEADER.pack(length, reqno, cls, kind, 0)


def reply(change: Callable[[Peer, frames.Frame], None]) -> Script:
    """A script that waits for one call, does ``change`` and sees the client go."""

    def script(peer: Peer) -> None:
        change(peer, peer.recv())
        assert peer.gone()

    return script


BREAKS: dict[str, Callable[[Peer, frames.Frame], None]] = {
    "length 0": lambda p, c: p.send(header(0, 1, 1, c.reqno)),
    "too short": lambda p, c: p.send(header(40, 1, 1, c.reqno), bytes(16)),
    "too long": lambda p, c: p.send(header(49, 1, 1, c.reqno), bytes(25)),
    "4 GiB answer": lambda p, c: p.send(header(1 << 32, 1, 1, c.reqno)),
    "4 GiB copyout": lambda p, c: p.send(header(1 << 32, 0, frames.COPYOUT)),
    "2**64 - 1": lambda p, c: p.send(header((1 << 64) - 1, 0, frames.COPYOUT)),
    "unknown type": lambda p, c: p.send(header(24, 0, 9)),
    "unknown class": lambda p, c: p.send(header(24, 3, 1, c.reqno)),
    "a client's frame": lambda p, c: p.send(header(24, 0, frames.SYSCALL)),
    "noise": lambda p, c: p.send(bytes(range(1, 256)) * 4),
    "a short copyout": lambda p, c: p.copyout(SECRET_ADDRESS, b"abc", 4),
    "a long copyout": lambda p, c: p.copyout(SECRET_ADDRESS, b"abcde", 4),
    "another answer": lambda p, c: p.send(
        pack(c.reqno, frames.RESP, frames.HANDSHAKE, 0, frames.INT.pack(0))
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_frame_ends_the_connection(name: str, tmp_path: Path) -> None:
    with serving(tmp_path, reply(BREAKS[name])) as kernel:
        with pytest.raises(ServerGoneError) as caught:
            kernel.syscall("getpid")
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert kernel.closed
        with pytest.raises(ServerGoneError, match=r"server is gone: \w+"):
            kernel.syscall("getpid")
    assert SECRET.value == b"nobody lends this"


@pytest.mark.parametrize("sent", [0, 1, 23, 24, 30, 47])
def test_an_answer_that_breaks_off(sent: int, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        call = peer.recv()
        whole = pack(call.reqno, frames.RESP, frames.SYSCALL, 0, bytes(24))
        peer.send(whole[:sent])

    with (
        serving(tmp_path, script) as kernel,
        pytest.raises(ConnectionError, match="the server is gone"),
    ):
        kernel.syscall("getpid")


def test_memory_that_no_call_lends_is_not_read(tmp_path: Path) -> None:
    data = b"lent"
    asked: list[tuple[int, int]] = []

    def script(peer: Peer) -> None:
        call = peer.recv()
        assert call.word == WRITE
        fd, start, size = struct.unpack("=QQQ", call.body)
        assert (fd, size) == (3, len(data))
        assert peer.copyin(start, size).body == data
        assert peer.copyin(start + 1, 2).body == data[1:3]
        for place, length in (
            (SECRET_ADDRESS, 17),
            (start, 1 << 32),
            (start, 4096),
            (start - 1, 4),
            (0, 1),
            ((1 << 64) - 1, 1),
            (start, (1 << 64) - 1),
        ):
            refusal = peer.copyin(place, length)
            asked.append((refusal.cls, len(refusal.body)))
            refusal = peer.copyin(place, length, frames.COPYINSTR)
            if place != start:  # a string ends at its NUL, or where it is lent
                asked.append((refusal.cls, len(refusal.body)))
        peer.answer(call, len(data))
        peer.answer(peer.recv(), 5)

    with serving(tmp_path, script) as kernel:
        assert kernel.calls.write(3, data, ctypes.c_size_t(len(data))) == len(data)
        assert kernel.syscall("getpid") == 5, "the connection lives on"
    assert set(asked) == {(frames.ERROR, 0)}


def test_memory_is_lent_for_its_call_alone(tmp_path: Path) -> None:
    room = ctypes.create_string_buffer(16)

    def script(peer: Peer) -> None:
        call = peer.recv()
        _, start, _ = struct.unpack("=QQQ", call.body)
        peer.copyout(start, b"in time")
        peer.answer(call, 7)
        call = peer.recv()
        peer.copyout(start, b"too late")
        assert peer.gone()

    with serving(tmp_path, script) as kernel:
        assert kernel.calls.read(3, room, ctypes.c_size_t(16)) == 7
        with pytest.raises(ServerGoneError, match="no call has lent that memory"):
            kernel.syscall("getpid")
    assert room.value == b"in time"


def test_what_is_lent_to_be_read_is_not_written(tmp_path: Path) -> None:
    data = b"constant"

    def script(peer: Peer) -> None:
        call = peer.recv()
        _, start, _ = struct.unpack("=QQQ", call.body)
        peer.copyout(start, b"C")
        assert peer.gone()

    with (
        serving(tmp_path, script) as kernel,
        pytest.raises(ServerGoneError, match="for writing"),
    ):
        kernel.calls.write(3, data, ctypes.c_size_t(len(data)))
    assert data == b"constant"


@pytest.mark.parametrize("size", [-1, 17, 1 << 40])
def test_more_than_was_lent_cannot_have_been_moved(size: int, tmp_path: Path) -> None:
    room = ctypes.create_string_buffer(16)

    def script(peer: Peer) -> None:
        peer.answer(peer.recv(), size)
        assert peer.gone()

    with (
        serving(tmp_path, script) as kernel,
        pytest.raises(ServerGoneError, match="octets moved of 16"),
    ):
        kernel.calls.read(3, room, ctypes.c_size_t(16))


def test_pages_are_limited(tmp_path: Path) -> None:
    found: list[int] = []

    def script(peer: Peer) -> None:
        call = peer.recv()
        for size in (0, 1 << 20, 60 << 20, 4 << 20, 1 << 40, (1 << 64) - 1):
            peer.ask(frames.ANONMMAP, frames.SIZE.pack(size))
            found.append(*frames.ADDRESS.unpack(peer.recv().body))
        peer.copyout(found[1], b"mine")
        assert peer.copyin(found[1], 6).body == b"mine\0\0"
        peer.answer(call, 1)

    with serving(tmp_path, script) as kernel:
        assert kernel.syscall("getpid") == 1
    assert [bool(start) for start in found] == [False, True, True, False, False, False]


def test_signals_reach_handlers_and_nothing_else(tmp_path: Path) -> None:
    """SIGKILL, SIGSEGV and what would end the program are not raised."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))

    def script(peer: Peer) -> None:
        call = peer.recv()
        for number in (9, 11, 15, 17, 6, 0, 77, 1 << 31, 31):  # SIGUSR2 last
            peer.ask(frames.RAISE, word=number)
        peer.answer(call, 1)

    try:
        with serving(tmp_path, script) as kernel:
            assert kernel.syscall("getpid") == 1
        assert seen == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_answers_that_nobody_waits_for_are_dropped(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        call = peer.recv()
        for number in (0, call.reqno + 1, (1 << 64) - 1):
            peer.send(pack(number, frames.RESP, frames.SYSCALL, 0, bytes(24)))
            peer.send(pack(number, frames.ERROR, 0, frames.ERR_AUTH))
        peer.answer(call, 5)

    with serving(tmp_path, script) as kernel:
        assert kernel.syscall("getpid") == 5


@pytest.mark.parametrize(
    ("word", "name"),
    [(0, "EINVAL"), (1, "EAGAIN"), (6, "ENOMEM"), (7, "EINVAL"), (1 << 31, "EINVAL")],
)
def test_error_frames_are_errors_of_the_call(
    word: int, name: str, tmp_path: Path
) -> None:
    def script(peer: Peer) -> None:
        peer.send(pack(peer.recv().reqno, frames.ERROR, 0, word))
        peer.answer(peer.recv(), 1)

    with serving(tmp_path, script) as kernel:
        assert kernel.calls.getpid() == -Errno[name]
        assert kernel.calls.getpid() == 1


def test_a_server_that_never_stops_asking(tmp_path: Path) -> None:
    """Another thread can still close the connection."""

    def script(peer: Peer) -> None:
        peer.recv()
        try:
            while True:
                peer.ask(frames.RAISE, word=0)
        except OSError:
            pass

    with serving(tmp_path, script) as kernel:
        timer = threading.Timer(0.3, kernel.close)
        timer.start()
        with pytest.raises(ServerGoneError, match="was closed"):
            kernel.syscall("getpid")
        timer.join()
