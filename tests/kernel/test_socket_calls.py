"""Which system calls sockets make, and what they do with each answer.

A scripted transport stands in for the kernel: it checks the arguments and gives
answers that a real kernel cannot be brought to give on demand.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.face import Face
from rumphyper.kernel.sockets import Socket
from rumphyper.kernel.transport import Call

EAGAIN, EINTR = -Errno.EAGAIN, -Errno.EINTR
DONTWAIT, NBIO, NOSIGNAL = 0x80, 0x1000, 0x400
Answer = int | Callable[..., int]


class Script:
    """A transport that answers by a list and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.files = {"flags": 0}

    def bind(self, name: str) -> Call:
        def call(*arguments: Any) -> int:
            self.asked.append((name, arguments))
            waiting = self.answers.get(name)
            if not waiting:
                return self.usual(name, *arguments)
            answer = waiting.pop(0)
            return answer if isinstance(answer, int) else answer(*arguments)

        return call

    def usual(self, name: str, *arguments: Any) -> int:
        """What a willing kernel says."""
        if name == "fcntl":
            if arguments[1] == 4:
                self.files["flags"] = arguments[2]
                return 0
            return self.files["flags"]
        if name == "socket":
            return 7
        if name == "pollts":
            fds = ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_short))
            fds[3] = fds[2]  # revents of the only entry
            return 1
        return 0

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def sock(script: Script) -> Any:
    made = Face(script).socket()
    script.asked.clear()
    yield made
    made.detach()


def put(data: bytes) -> Callable[..., int]:
    """An answer of recvfrom that writes ``data``."""

    def answer(fd: int, pointer: Any, size: Any, *rest: Any) -> int:
        assert len(data) <= size.value
        ctypes.memmove(pointer, data, len(data))
        return len(data)

    return answer


def take(count: int, expected: bytes) -> Callable[..., int]:
    """An answer of sendto that takes ``count`` octets of what it is shown."""

    def answer(fd: int, pointer: Any, size: Any, *rest: Any) -> int:
        assert ctypes.string_at(pointer, size.value) == expected
        return count

    return answer


def test_slices_are_set(script: Script) -> None:
    Face(script).socket().detach()
    options = [arguments[2] for name, arguments in script.asked if name != "socket"]
    assert options == [0x100C, 0x100B]  # SO_RCVTIMEO, SO_SNDTIMEO


def test_recv_goes_on(script: Script, sock: Socket) -> None:
    script.answers["recvfrom"] = [EINTR, EAGAIN, EAGAIN, put(b"at last")]
    assert sock.recv(100) == b"at last"
    assert script.names() == ["recvfrom"] * 4


def test_recv_without_waiting(script: Script, sock: Socket) -> None:
    sock.setblocking(False)
    assert script.files["flags"] == 4  # O_NONBLOCK
    script.answers["recvfrom"] = [EAGAIN]
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    sock.setblocking(True)
    assert script.files["flags"] == 0
    script.answers["recvfrom"] = [EAGAIN]
    with pytest.raises(BlockingIOError):
        sock.recv(1, socket.MSG_DONTWAIT)


def test_recv_with_little_time(script: Script, sock: Socket) -> None:
    """Below one slice the kernel must not wait by itself."""
    sock.settimeout(0.05)
    script.answers["recvfrom"] = [EAGAIN, EAGAIN, put(b"x")]
    assert sock.recv(1) == b"x"
    flags = [arguments[3] for name, arguments in script.asked if name == "recvfrom"]
    assert flags == [DONTWAIT] * 3
    script.answers = {"recvfrom": [EAGAIN], "pollts": [0] * 100}
    before = time.monotonic()
    with pytest.raises(TimeoutError, match="timed out"):
        sock.recv(1)
    assert time.monotonic() - before < 1


def test_waitall(script: Script, sock: Socket) -> None:
    script.answers["recvfrom"] = [put(b"abc"), EAGAIN, put(b"de"), put(b"f")]
    assert sock.recv(6, socket.MSG_WAITALL) == b"abcdef"
    script.answers["recvfrom"] = [put(b"abc"), put(b"")]
    assert sock.recv(6, socket.MSG_WAITALL) == b"abc"
    script.answers["recvfrom"] = [put(b"abc"), -Errno.ECONNRESET]
    assert sock.recv(6, socket.MSG_WAITALL) == b"abc"
    room = bytearray(b"......")
    script.answers["recvfrom"] = [put(b"ab"), put(b"cd")]
    assert sock.recv_into(room, 4, socket.MSG_WAITALL) == 4
    assert room == b"abcd.."


def test_send_sends_all(script: Script, sock: Socket) -> None:
    script.answers["sendto"] = [
        take(4, b"0123456789"),
        EAGAIN,
        EINTR,
        take(1, b"456789"),
        take(5, b"56789"),
    ]
    assert sock.send(b"0123456789") == 10
    script.answers["sendto"] = [take(2, b"abcd"), -Errno.EPIPE]
    assert sock.send(bytearray(b"abcd")) == 2


def test_send_with_timeout(script: Script, sock: Socket) -> None:
    """It takes what there is room for, and the kernel never waits by itself."""
    sock.settimeout(1.0)
    script.answers["sendto"] = [EAGAIN, take(3, b"abcdef")]
    assert sock.send(b"abcdef") == 3
    flags = {arguments[3] for name, arguments in script.asked if name == "sendto"}
    assert flags == {NOSIGNAL | NBIO | DONTWAIT}
    view = memoryview(b"..abcdef..")[2:8]
    script.answers["sendto"] = [take(2, b"abcdef"), EAGAIN, take(4, b"cdef")]
    sock.sendall(view)
    sock.settimeout(0.05)
    script.answers = {"sendto": [take(1, b"ab"), EAGAIN, EAGAIN], "pollts": [0] * 9}
    with pytest.raises(TimeoutError):
        sock.sendall(b"ab")


def test_sendall_is_one_time_limit(script: Script, sock: Socket) -> None:
    def slow(*arguments: Any) -> int:
        time.sleep(0.04)
        return 1

    sock.settimeout(0.1)
    script.answers["sendto"] = [slow, slow, slow, EAGAIN, slow, EAGAIN]
    script.answers["pollts"] = [0] * 100
    with pytest.raises(TimeoutError):
        sock.sendall(b"a" * 100)


def test_sendmsg_goes_on(script: Script, sock: Socket) -> None:
    seen: list[bytes] = []

    def some(fd: int, header: Any, flags: int) -> int:
        from rumphyper.kernel.message import Iovec, Msghdr

        message = ctypes.cast(header, ctypes.POINTER(Msghdr)).contents
        array = (Iovec * message.iov_length).from_address(message.iov)
        whole = b"".join(ctypes.string_at(one.base, one.size) for one in array)
        seen.append(whole)
        return min(3, len(whole))

    script.answers["sendmsg"] = [some, EAGAIN, some, some]
    assert sock.sendmsg([b"ab", bytearray(b"cdef"), memoryview(b"g")]) == 7
    assert seen == [b"abcdefg", b"defg", b"g"]


def test_accept(script: Script, sock: Socket) -> None:
    sock.bind(("127.0.0.1", 1))
    sock.listen()
    assert script.files["flags"] == 4  # accept has no MSG_DONTWAIT
    script.answers["paccept"] = [EAGAIN, EINTR, 9]
    served, _ = sock.accept()
    assert (served.fileno(), served.gettimeout()) == (9, None)
    flags = [arguments[4] for name, arguments in script.asked if name == "paccept"]
    assert flags == [0x10000000 | 0x40000000] * 3  # SOCK_CLOEXEC, SOCK_NOSIGPIPE
    served.detach()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (Errno.ECONNREFUSED, ConnectionRefusedError),
        (Errno.ETIMEDOUT, TimeoutError),
        (Errno.EHOSTUNREACH, OSError),
    ],
)
def test_connect(
    script: Script, sock: Socket, number: Errno, kind: type[OSError]
) -> None:
    def pending(fd: int, level: int, option: int, value: Any, length: Any) -> int:
        assert (level, option) == (0xFFFF, 0x1007)  # SO_ERROR
        ctypes.memmove(value, int(number).to_bytes(4, "little"), 4)
        return 0

    for call in (sock.connect, sock.connect_ex):
        script.answers = {
            "connect": [EINTR, -Errno.EINPROGRESS],
            "getsockopt": [pending],
        }
        if call == sock.connect:
            with pytest.raises(kind) as caught:
                call(("10.0.0.1", 80))
            assert caught.value.errno == getattr(errno, number.name)
        else:
            assert call(("10.0.0.1", 80)) == getattr(errno, number.name)
        assert script.files["flags"] == 0  # blocking again


def test_orphans_are_closed_later(script: Script) -> None:
    face = Face(script)
    made = face.socket()
    with pytest.warns(ResourceWarning, match="unclosed <rumphyper Socket fd=7"):
        made.__del__()
    assert "close" not in script.names()
    face.socket().detach()
    assert ("close", (7,)) in script.asked


def test_hostile_lengths(script: Script, sock: Socket) -> None:
    """Lengths from a kernel elsewhere that cannot be."""

    def recvmsg(fd: int, header: Any, flags: int) -> int:
        from rumphyper.kernel.message import Msghdr

        message = ctypes.cast(header, ctypes.POINTER(Msghdr)).contents
        message.control_length = 1 << 31
        message.name_length = 1 << 31
        return 3

    script.answers["recvmsg"] = [recvmsg]
    data, ancillary, _, address = sock.recvmsg(3, 40)
    assert (len(data), ancillary) == (3, [])
    assert address is None or len(address) <= 256

    def getsockopt(fd: int, level: int, option: int, value: Any, length: Any) -> int:
        ctypes.cast(length, ctypes.POINTER(ctypes.c_uint)).contents.value = 1 << 31
        return 0

    script.answers["getsockopt"] = [getsockopt]
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 4)
    assert isinstance(raw, bytes)
    assert len(raw) == 4


def test_too_large_integers(script: Script, sock: Socket) -> None:
    """ctypes would cut them off and ask for something else."""
    with pytest.raises(OverflowError):
        sock.shutdown(1 << 32)
    with pytest.raises(OverflowError):
        sock.listen(1 << 31)
    with pytest.raises(OverflowError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 << 31)
    assert script.asked == []
