"""NetBSD's librumpclient in a process of its own, through ctypes.

    RUMP_SERVER=URL python -m tests.real.serving.stockclient LIBRARY JOB [WORD...]

prints what the job returns as a line of JSON, the last of its output. System
calls have NetBSD's numbers, structures and errno.
"""

from __future__ import annotations

import ctypes
import faulthandler
import hashlib
import json
import os
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

STREAM, DATAGRAM, INET = 1, 2, 2
CREATE, WRITE, READ_WRITE = 0x200, 1, 2
EBADF, EFAULT, EINTR = 9, 14, 4


class Client:
    """The library; ``syscall`` makes a call by the name of its C function."""

    def __init__(self, path: str, connect: bool = True) -> None:
        self.path = path
        self.library = ctypes.CDLL(path, use_errno=True)
        if connect and self.library.rumpclient_init():
            raise OSError(ctypes.get_errno(), "rumpclient_init")

    def syscall(self, name: str, *values: Any) -> int:
        """Integers and buffers go as they are; raises OSError."""
        function = getattr(self.library, f"rump___sysimpl_{name}")
        function.restype = ctypes.c_ssize_t
        result: int = function(
            *(ctypes.c_ssize_t(v) if isinstance(v, int) else v for v in values)
        )
        if ctypes.c_int(result).value == -1:
            raise OSError(ctypes.get_errno(), name)
        return result

    def socket(self, kind: int) -> int:
        return self.syscall("socket30", INET, kind, 0)

    def bound(self, kind: int) -> tuple[int, bytes]:
        """A socket on the loopback, and its address."""
        fd = self.socket(kind)
        self.syscall("bind", fd, address(0), 16)
        name, size = ctypes.create_string_buffer(16), ctypes.c_uint(16)
        self.syscall("getsockname", fd, name, ctypes.byref(size))
        return fd, name.raw

    def read(self, fd: int, room: int = 1 << 16) -> bytes:
        buffer = ctypes.create_string_buffer(room)
        count = self.syscall("read", fd, buffer, room)
        return buffer.raw[:count]

    def refused(self, name: str, *values: Any) -> int:
        """The errno of a call that fails."""
        try:
            self.syscall(name, *values)
        except OSError as error:
            return error.errno or 0
        return 0


def address(port: int) -> bytes:
    """struct sockaddr_in of NetBSD, on the loopback."""
    return struct.pack("=BB", 16, INET) + struct.pack(">H4s8x", port, b"\x7f\0\0\1")


def in_thread(job: Callable[[], Any]) -> Callable[[], Any]:
    """Begin ``job`` on a thread; call the result for what it returned."""
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(job()), daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(20)
        return box[0]

    return join


def sockets(client: Client) -> Any:
    """TCP and UDP within the kernel, of data that is checked."""
    server, name = client.bound(STREAM)
    client.syscall("listen", server, 1)
    data = os.urandom(700_000)

    def send() -> None:
        sock = client.socket(STREAM)
        client.syscall("connect", sock, name, 16)
        left = data
        while left:
            left = left[client.syscall("write", sock, left, min(len(left), 99_999)) :]
        client.syscall("close", sock)

    sent = in_thread(send)
    peer, size = ctypes.create_string_buffer(16), ctypes.c_uint(16)
    connection = client.syscall("accept", server, peer, ctypes.byref(size))
    got = b""
    while piece := client.read(connection):
        got += piece
    sent()
    near, name = client.bound(DATAGRAM)
    echoes = 0
    for number in range(40):
        text = os.urandom(1 + number * 200)
        client.syscall("sendto", near, text, len(text), 0, name, 16)
        echoes += client.read(near) == text
    return {
        "same": hashlib.sha256(got).digest() == hashlib.sha256(data).digest(),
        "family": peer.raw[1],
        "echoes": echoes,
        "not a socket": client.refused("listen", 77, 1),
        "bad address": client.refused("bind", client.socket(STREAM), 0, 16),
    }


def files(client: Client, folder: str) -> Any:
    """Files, with strings and large buffers."""
    path = f"{folder}/{os.getpid()}".encode()
    data = os.urandom(1_000_000)
    fd = client.syscall("open", path, CREATE | READ_WRITE, 0o600)
    written = client.syscall("write", fd, data, len(data))
    buffer = ctypes.create_string_buffer(len(data))
    got = client.syscall("pread", fd, buffer, len(data), 0)
    link = path + b"." + b"x" * 200
    client.syscall("symlink", path, link)
    target = ctypes.create_string_buffer(1000)
    length = client.syscall("readlink", link, target, 1000)
    client.syscall("unlink", link)
    client.syscall("close", fd)
    client.syscall("unlink", path)
    return {
        "written": written == got == len(data),
        "same": buffer.raw == data,
        "link": target.raw[:length] == path,
        "no file": client.refused("open", b"/no/such", 0, 0),
        "too long": client.refused("open", b"/" + b"x" * 5000, 0, 0),
        "closed": client.refused("read", fd, buffer, 1),
    }


def fork(client: Client) -> Any:
    """A child has its parent's descriptors, and is another process."""
    ends = (ctypes.c_int * 2)()
    client.syscall("pipe2", ends, 0)
    mine = client.syscall("getpid")
    child = client.library.rumpclient_fork()
    if not child:
        try:
            text = f"{client.syscall('getpid')} {client.syscall('getppid')}"
            client.syscall("close", ends[0])
            client.syscall("write", ends[1], text.encode(), len(text))
        finally:
            os._exit(0)
    client.syscall("close", ends[1])
    said = b""
    while piece := client.read(ends[0]):  # to the end: the child's are closed
        said += piece
    status = os.waitpid(child, 0)[1]
    theirs, _ = map(int, said.split())
    return {"status": status, "another": theirs != mine}


def execute(client: Client) -> Any:
    """Become another program: descriptors stay, but for those closed on exec."""
    kept, _ = client.bound(DATAGRAM)
    lost, _ = client.bound(DATAGRAM)
    client.syscall("fcntl", lost, 2, 1)  # F_SETFD, FD_CLOEXEC
    sleeper = client.socket(DATAGRAM)
    in_thread(lambda: client.refused("read", sleeper, bytes(10), 10))
    words = [sys.executable, "-m", __spec__.name if __spec__ else "", client.path]
    words += ["executed", str(client.syscall("getpid")), str(kept), str(lost)]
    array = (ctypes.c_char_p * (len(words) + 1))(*(w.encode() for w in words), None)
    environment = [f"{name}={value}".encode() for name, value in os.environ.items()]
    variables = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
    client.library.rumpclient_exec(words[0].encode(), array, variables)
    return {"exec failed": ctypes.get_errno()}


def executed(client: Client, pid: str, kept: str, lost: str) -> Any:
    """The program that `execute` becomes."""
    return {
        "same process": client.syscall("getpid") == int(pid),
        "kept": client.refused("fcntl", int(kept), 1, 0),
        "lost": client.refused("fcntl", int(lost), 1, 0),
    }


def threads(client: Client) -> Any:
    """Calls of one client at the same time, some asleep for long."""
    pairs = [client.bound(DATAGRAM) for _ in range(20)]
    waiting = [in_thread(lambda fd=fd: client.read(fd)) for fd, _ in pairs]  # type: ignore[misc]
    numbers = [client.syscall("getpid") for _ in range(50)]
    sender = client.socket(DATAGRAM)
    for number, (_, name) in enumerate(pairs):
        text = b"%d" % number * (number + 1)
        client.syscall("sendto", sender, text, len(text), 0, name, 16)
    answers = [join() for join in waiting]
    return {
        "one process": len(set(numbers)) == 1,
        "answers": answers == [b"%d" % n * (n + 1) for n in range(20)],
    }


def signal(client: Client) -> Any:
    """The kernel's SIGPIPE arrives as the host's, before the call's errno."""
    import signal as host

    got: list[int] = []
    host.signal(host.SIGPIPE, lambda number, frame: got.append(number))
    ends = (ctypes.c_int * 2)()
    client.syscall("pipe2", ends, 0)
    client.syscall("close", ends[0])
    error = client.refused("write", ends[1], b"x", 1)
    return {"errno": error, "signals": got}


def block(client: Client) -> Any:
    """Sleep in the kernel for ever, descriptors open, and say so."""
    fd, _ = client.bound(DATAGRAM)
    print("asleep", flush=True)
    client.read(fd)
    return {}


def load(client: Client, seconds: str = "1000") -> Any:
    """Work as fast as possible, with copies both ways."""
    import time

    fd, name = client.bound(DATAGRAM)
    print("at work", flush=True)
    end = time.monotonic() + float(seconds)
    count = 0
    while time.monotonic() < end:
        data = os.urandom(1000)
        client.syscall("sendto", fd, data, len(data), 0, name, 16)
        assert client.read(fd) == data
        count += 1
    return {"count": count}


def reboot(client: Client) -> Any:
    """End the kernel, as its root may."""
    return {"result": client.refused("reboot", 0, 0)}


JOBS: dict[str, Callable[..., Any]] = {
    job.__name__: job
    for job in (sockets, files, fork, execute, executed, threads, signal, block, load)
} | {"reboot": reboot}


if __name__ == "__main__":
    faulthandler.dump_traceback_later(60, exit=True)
    path, name, *words = sys.argv[1:]
    print(json.dumps(JOBS[name](Client(path), *words)), flush=True)
