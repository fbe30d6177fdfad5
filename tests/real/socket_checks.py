"""What the kernel's sockets do that has no counterpart on the host.

Each check takes the kernel and asserts; kernel_session.py runs them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import http.client as http_client
import os
import signal
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rumphyper.errors import KernelClosedError
from rumphyper.kernel.constants import HOST_TIMESTAMP, Native
from rumphyper.net.checksum import checksum

LOOPBACK = "127.0.0.1"
Check = Callable[[Any], None]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


@contextlib.contextmanager
def silent_port(kernel: Any) -> Iterator[tuple[str, int]]:
    """A TCP address that never answers: NetBSD drops a SYN for a socket that is
    bound and does not listen."""
    with kernel.socket() as hold:
        hold.bind((LOOPBACK, 0))
        yield hold.getsockname()


# raw sockets


@check
def raw_icmp(kernel: Any) -> None:
    with kernel.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        assert raw.proto == socket.IPPROTO_ICMP
        raw.settimeout(5)
        body = struct.pack("!HH", 4711, 1) + b"payload"
        head = struct.pack("!BBH", 8, 0, 0)
        total = checksum(head + body)
        raw.sendto(struct.pack("!BBH", 8, 0, total) + body, (LOOPBACK, 0))
        while True:
            packet, sender = raw.recvfrom(2000)
            length = (packet[0] & 15) * 4
            if packet[length] == 0:  # the request is seen as well
                break
        assert sender[0] == LOOPBACK
        assert packet[length + 4 :] == body


@check
def raw_icmpv6(kernel: Any) -> None:
    with kernel.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.settimeout(5)
        only_replies = bytearray(b"\xff" * 32)
        only_replies[129 // 8] &= ~(1 << 129 % 8) & 0xFF  # Linux: 0 lets pass
        raw.setsockopt(socket.IPPROTO_ICMPV6, 1, bytes(only_replies))
        assert raw.getsockopt(socket.IPPROTO_ICMPV6, 1, 32) == bytes(only_replies)
        body = struct.pack("!HH", 4712, 1) + b"payload"
        raw.sendto(struct.pack("!BBH", 128, 0, 0) + body, ("::1", 0))
        packet, sender = raw.recvfrom(2000)
        assert packet[0] == 129, "the filter lets nothing else pass"
        assert packet[4:] == body
        assert sender[0] == "::1"


# addresses


@check
def scope_by_name(kernel: Any) -> None:
    index = kernel.interface("lo0").index
    with kernel.socket(socket.AF_INET6, socket.SOCK_DGRAM) as named:
        named.bind(("fe80::1%lo0", 0))
        assert named.getsockname()[0] == "fe80::1"
        assert named.getsockname()[3] == index
        with kernel.socket(socket.AF_INET6, socket.SOCK_DGRAM) as numbered:
            numbered.bind(("fe80::1", 0, 0, index))
            numbered.sendto(b"scoped", named.getsockname())
            named.settimeout(5)
            data, sender = named.recvfrom(100)
            assert (data, sender) == (b"scoped", numbered.getsockname())
    with pytest.raises(OSError, match="No such device") as caught:
        kernel.getaddrinfo("fe80::1%nosuch0", 1)
    assert caught.value.errno == errno.ENXIO


@check
def getaddrinfo(kernel: Any) -> None:
    for arguments in (
        (LOOPBACK, 80),
        ("::1", "80", 0, socket.SOCK_STREAM),
        (None, 80, socket.AF_INET, socket.SOCK_DGRAM, 0, socket.AI_PASSIVE),
        (b"127.0.0.1", None),
    ):
        ours = kernel.getaddrinfo(*arguments)
        theirs = socket.getaddrinfo(*arguments)
        assert ours == theirs
    local = kernel.getaddrinfo("localhost", 1, 0, socket.SOCK_STREAM)
    assert [info[4][0] for info in local] == [LOOPBACK, "::1"]
    only6 = kernel.getaddrinfo("localhost", 1, socket.AF_INET6, socket.SOCK_STREAM)
    assert [info[4][0] for info in only6] == ["::1"]
    zoned = kernel.getaddrinfo("fe80::1%lo0", 1, 0, socket.SOCK_DGRAM)
    assert zoned[0][4][3] == kernel.interface("lo0").index
    for host, port in (("www.example.org", 80), (LOOPBACK, "http"), ("256.1.1.1", 1)):
        with pytest.raises(socket.gaierror):
            kernel.getaddrinfo(host, port)
    with kernel.socket() as sock, pytest.raises(socket.gaierror, match="no resolver"):
        sock.connect(("www.example.org", 80))


@check
def abstract_addresses(kernel: Any) -> None:
    with kernel.socket(socket.AF_UNIX) as sock:
        with pytest.raises(OSError, match="abstract") as caught:
            sock.bind("\0name")
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(ValueError, match="null byte"):
            sock.bind("/a\0b")
        longest = "/" + "x" * 252
        with pytest.raises(FileNotFoundError):
            sock.connect(longest)
        with pytest.raises(OSError, match="too long"):
            sock.connect(longest + "x")


# options


@check
def native_options(kernel: Any) -> None:
    """What the host has no name for goes by NetBSD's own numbers."""
    level, option, low = Native(0), Native(19), 2  # IP_PORTRANGE, IP_PORTRANGE_LOW
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(level, option, low)
        assert sock.getsockopt(level, option) == low
        sock.bind((LOOPBACK, 0))
        assert 0 < sock.getsockname()[1] < 1024


@check
def peer_credentials(kernel: Any) -> None:
    path = "/sockets/credentials"
    with (
        kernel.socket(socket.AF_UNIX) as server,
        kernel.socket(socket.AF_UNIX) as client,
    ):
        server.bind(path)
        server.listen()
        client.connect(path)
        raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert struct.unpack("iII", raw) == (kernel.syscall("getpid"), 0, 0)
    kernel.calls.do("unlink", path.encode())


@check
def ancillary_data(kernel: Any) -> None:
    with kernel.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        sock.settimeout(5)
        level = socket.IPPROTO_IPV6
        sock.setsockopt(level, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(level, socket.IPV6_RECVHOPLIMIT, 1)
        sock.setsockopt(socket.SOL_SOCKET, HOST_TIMESTAMP, 1)
        hops = struct.pack("i", 17)
        sock.sendmsg(
            [b"x"], [(level, socket.IPV6_HOPLIMIT, hops)], 0, sock.getsockname()
        )
        _, items, flags, _ = sock.recvmsg(10, 1000)
        found = {(lvl, kind): data for lvl, kind, data in items}
        assert flags == 0
        address, index = struct.unpack("16si", found[level, socket.IPV6_PKTINFO])
        assert address == socket.inet_pton(socket.AF_INET6, "::1")
        assert index == kernel.interface("lo0").index
        assert struct.unpack("i", found[level, socket.IPV6_HOPLIMIT]) == (17,)
        assert (socket.SOL_SOCKET, HOST_TIMESTAMP) in found
        sock.sendto(b"y", sock.getsockname())
        assert sock.recvmsg(10, 12)[2] & socket.MSG_CTRUNC


# waiting


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


# life


@check
def unclosed(kernel: Any) -> None:
    sock = kernel.socket()
    fd = sock.fileno()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del sock
        gc.collect()
    assert [one.category for one in caught] == [ResourceWarning]
    assert kernel.calls.fcntl(fd, 3, 0) >= 0, "the collector makes no system call"
    with kernel.socket() as other:
        assert other.fileno() == fd, "the next one does"


@check
def many_threads_and_sockets(kernel: Any) -> None:
    """Each thread's lwp and descriptor go with it."""

    def work() -> None:
        for _ in range(10):
            a, b = kernel.socketpair()
            with a, b:
                a.send(b"x")
                b.recv(1)

    for _ in range(20):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@check
def http(kernel: Any) -> None:
    """The standard library's HTTP client over a kernel socket."""
    body = bytes(range(256)) * 400

    def serve(server: Any) -> None:
        served, _ = server.accept()
        with served, served.makefile("rwb") as stream:
            assert stream.readline() == b"GET /file HTTP/1.1\r\n"
            while stream.readline() != b"\r\n":
                pass
            stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            stream.write(body)
            stream.flush()

    with kernel.create_server((LOOPBACK, 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        address = server.getsockname()
        connection = http_client.HTTPConnection(*address)
        connection.sock = kernel.create_connection(address, timeout=10)
        connection.request("GET", "/file")
        answer = connection.getresponse()
        assert (answer.status, answer.read() == body) == (200, True)
        connection.close()
        thread.join()


@check
def after_fork(kernel: Any) -> None:
    with kernel.socket() as sock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for call in (kernel.socket, lambda: sock.send(b"x"), sock.close):
                    with pytest.raises(KernelClosedError, match="fork"):
                        call()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0


@check
def closes_the_kernel(kernel: Any) -> None:
    """Last of all: everything says that the kernel is closed, nothing hangs."""
    sock = kernel.socket()
    sock.bind((LOOPBACK, 0))
    a, _b = kernel.socketpair()
    ended: list[BaseException] = []

    def read() -> None:
        try:
            a.recv(1)
        except BaseException as error:
            ended.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    time.sleep(0.2)
    kernel.close()
    calls: list[Callable[[], Any]] = [
        kernel.socket,
        kernel.socketpair,
        sock.getsockname,
        lambda: sock.sendto(b"x", (LOOPBACK, 9)),
        lambda: sock.recv(1),
        lambda: kernel.select([sock], [], [], 1),
    ]
    for call in calls:
        with pytest.raises(KernelClosedError, match="shut down"):
            call()
    sock.detach()
    a.detach()
    _b.detach()
