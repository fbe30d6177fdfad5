"""Scenarios that run alike on the host's loopback and in the rump kernel.

Each takes a `Net` and returns plain values: what socket.socket does on the host
is what the kernel's sockets are judged by. Errors are part of the outcome, by
class and errno. kernel_session.py runs them in a kernel.
"""

# ruff: noqa: PLW0108, RUF059, SIM117 - all cases are written in one form

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

LOOPBACK = "127.0.0.1"
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
INET, INET6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX


class Net(Protocol):
    """The host's or the kernel's way to the same things."""

    def socket(self, family: int = ..., type: int = ..., proto: int = ...) -> Any: ...
    def socketpair(self, family: int = ..., type: int = ...) -> Any: ...
    def create_connection(self, address: Any, timeout: Any = ...) -> Any: ...
    def create_server(self, address: Any, **options: Any) -> Any: ...
    def select(self, r: Any, w: Any, x: Any, timeout: Any) -> Any: ...
    def poll(self) -> Any: ...
    def path(self, name: str) -> str: ...
    def unlink(self, path: str) -> None: ...
    def adopt(self, fd: int) -> Any: ...


Scenario = Callable[[Net], Any]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def outcome(call: Callable[[], Any]) -> Any:
    """The value of a call, or its exception's class and errno name."""
    try:
        return call()
    except OSError as error:
        name = errno.errorcode.get(error.errno, error.errno) if error.errno else None
        return [type(error).__name__, name]
    except (ValueError, TypeError, OverflowError, BufferError) as error:
        return [type(error).__name__]


@contextlib.contextmanager
def tcp(net: Net, family: int = INET, host: str = LOOPBACK) -> Iterator[Any]:
    """A connected pair: client, served."""
    with net.socket(family, STREAM) as server:
        server.bind((host, 0))
        server.listen(1)
        with net.socket(family, STREAM) as client:
            client.connect(server.getsockname())
            served, _ = server.accept()
            with served:
                yield client, served


@contextlib.contextmanager
def udp(net: Net, family: int = INET, host: str = LOOPBACK) -> Iterator[Any]:
    """Two datagram sockets, each bound; a sends to b."""
    with net.socket(family, DGRAM) as a, net.socket(family, DGRAM) as b:
        a.bind((host, 0))
        b.bind((host, 0))
        a.settimeout(5)
        b.settimeout(5)
        yield a, b


def exactly(sock: Any, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = sock.recv(size - len(data))
        if not block:
            break
        data += block
    return bytes(data)


# making sockets


@scenario
def make(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET6, DGRAM) as d:
        return [
            [int(s.family), int(s.type), s.proto, repr(s.family), repr(s.type)],
            [int(d.family), int(d.type), d.proto, s.fileno() >= 0, s.gettimeout()],
        ]


@scenario
def make_nonblocking(net: Net) -> Any:
    with net.socket(INET, DGRAM | socket.SOCK_NONBLOCK) as s:
        return [
            int(s.type),
            s.gettimeout(),
            s.getblocking(),
            outcome(lambda: s.recv(1)),
        ]


@scenario
def bad_family(net: Net) -> Any:
    return outcome(lambda: net.socket(99, STREAM))


@scenario
def closed_socket(net: Net) -> Any:
    s = net.socket(INET, DGRAM)
    s.close()
    s.close()
    return [
        s.fileno(),
        outcome(lambda: s.recv(1)),
        outcome(lambda: s.send(b"x")),
        outcome(lambda: s.bind((LOOPBACK, 0))),
        outcome(lambda: s.getsockname()),
        outcome(lambda: s.listen()),
        outcome(lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)),
        outcome(lambda: s.sendto(b"x", (LOOPBACK, 9))),
        outcome(lambda: s.accept()),
    ]


@scenario
def detach(net: Net) -> Any:
    s = net.socket(INET, DGRAM)
    fd = s.detach()
    first = [fd >= 0, s.fileno(), outcome(lambda: s.recv(1))]
    with net.adopt(fd) as again:
        again.bind((LOOPBACK, 0))
        return [first, int(again.family), int(again.type), again.getsockname()[0]]


@scenario
def dup(net: Net) -> Any:
    with udp(net) as (a, b):
        with b.dup() as c:
            different = c.fileno() != b.fileno()
            b.close()
            a.sendto(b"still", c.getsockname())
            return [different, c.recv(10).decode()]


# addresses


@scenario
def bad_addresses(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET6, DGRAM) as t:
        return [
            outcome(lambda: s.bind(LOOPBACK)),
            outcome(lambda: s.bind((LOOPBACK,))),
            outcome(lambda: s.bind((LOOPBACK, 1, 2))),
            outcome(lambda: s.bind((LOOPBACK, "http"))),
            outcome(lambda: s.bind((LOOPBACK, 65536))),
            outcome(lambda: s.bind((LOOPBACK, -1))),
            outcome(lambda: s.bind((5, 0))),
            outcome(lambda: s.bind(("192.0.2.1", 0))),
            outcome(lambda: s.bind(None)),
            outcome(lambda: t.bind(("::1", 0, 1 << 20))),
            outcome(lambda: t.bind(("::1", 0, 0, 0, 0))),
            outcome(lambda: t.bind("::1")),
            outcome(lambda: s.sendto(b"x")),
            outcome(lambda: s.sendto(b"x", 0, (LOOPBACK, 9), 1)),
            outcome(lambda: s.sendto("x", (LOOPBACK, 9))),
        ]


@scenario
def any_address(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET6, DGRAM) as t:
        fresh = [s.getsockname(), t.getsockname()]
        s.bind(("", 0))
        t.bind(("", 0))
        return [fresh, s.getsockname()[0], t.getsockname()[0], s.getsockname()[1] > 0]


@scenario
def short_address(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        s.bind(("127.1", 0))
        return s.getsockname()[0]


@scenario
def bytes_host(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        s.bind((b"127.0.0.1", 0))
        return s.getsockname()[0]


@scenario
def bind_twice(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        s.bind((LOOPBACK, 0))
        return outcome(lambda: s.bind((LOOPBACK, 0)))


@scenario
def address_in_use(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET, STREAM) as t:
        s.bind((LOOPBACK, 0))
        s.listen()
        return outcome(lambda: t.bind(s.getsockname()))


@scenario
def udp_address_in_use(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET, DGRAM) as t:
        s.bind((LOOPBACK, 0))
        return outcome(lambda: t.bind(s.getsockname()))


@scenario
def reuse_port(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET, DGRAM) as t:
        for one in (s, t):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((LOOPBACK, 0))
        return outcome(lambda: t.bind(s.getsockname()))


# connecting


@scenario
def refused(net: Net) -> Any:
    with net.socket(INET, STREAM) as hold:
        hold.bind((LOOPBACK, 0))
        to = hold.getsockname()
    results = []
    for timeout in (None, 5.0):
        with net.socket(INET, STREAM) as s, net.socket(INET, STREAM) as t:
            s.settimeout(timeout)
            t.settimeout(timeout)
            results.append(outcome(functools.partial(s.connect, to)))
            results.append(errno.errorcode[t.connect_ex(to)])
    results.append(outcome(lambda: net.create_connection(to, timeout=5)))
    return results


@scenario
def refused_udp(net: Net) -> Any:
    with net.socket(INET, DGRAM) as hold, net.socket(INET, DGRAM) as s:
        hold.bind((LOOPBACK, 0))
        to = hold.getsockname()
        hold.close()
        s.settimeout(5)
        s.connect(to)
        s.send(b"x")
        return outcome(lambda: s.recv(1))


@scenario
def connect_nonblocking(net: Net) -> Any:
    with net.socket(INET, STREAM) as server, net.socket(INET, STREAM) as s:
        server.bind((LOOPBACK, 0))
        server.listen()
        s.setblocking(False)
        number = s.connect_ex(server.getsockname())
        ready = net.select([], [s], [], 5)[1] == [s]
        error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        again = errno.errorcode.get(s.connect_ex(server.getsockname()), 0)
        return [number in (0, errno.EINPROGRESS), ready, error, again]


@scenario
def connect_twice(net: Net) -> Any:
    with tcp(net) as (client, served):
        return outcome(lambda: client.connect(client.getpeername()))


@scenario
def names(net: Net) -> Any:
    with tcp(net) as (client, served):
        return [
            client.getsockname() == served.getpeername(),
            client.getpeername() == served.getsockname(),
            client.getsockname()[0],
        ]


@scenario
def unconnected(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET, DGRAM) as d:
        return [
            outcome(lambda: s.getpeername()),
            outcome(lambda: s.recv(1)),
            outcome(lambda: s.send(b"x")),
            outcome(lambda: s.shutdown(socket.SHUT_RDWR)),
            outcome(lambda: d.send(b"x")),
            outcome(lambda: d.getpeername()),
            outcome(lambda: d.listen()),
            outcome(lambda: d.accept()),
            outcome(lambda: s.accept()),
        ]


@scenario
def create_server(net: Net) -> Any:
    with net.create_server((LOOPBACK, 0)) as server:
        with net.create_connection(server.getsockname(), timeout=5) as client:
            served, peer = server.accept()
            with served:
                served.sendall(b"hello")
                return [
                    peer == client.getsockname(),
                    client.gettimeout(),
                    served.gettimeout(),
                    exactly(client, 5).decode(),
                    server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR),
                    server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
                ]


@scenario
def accepted_is_blocking(net: Net) -> Any:
    with net.create_server((LOOPBACK, 0)) as server:
        server.settimeout(5)
        with net.create_connection(server.getsockname()) as client:
            served, _ = server.accept()
            with served:
                timer = threading.Timer(0.3, lambda: client.send(b"late"))
                timer.start()
                got = served.recv(10)
                timer.join()
                return [served.gettimeout(), got.decode()]


# timeouts and blocking


@scenario
def timeouts(net: Net) -> Any:
    results = []
    with net.create_server((LOOPBACK, 0)) as server, udp(net) as (a, b):
        for span in (0.05, 0.3):
            server.settimeout(span)
            b.settimeout(span)
            calls: list[Callable[[], Any]] = [
                server.accept,
                lambda: b.recv(1),
                lambda: b.recvfrom(1),
                lambda: b.recv_into(bytearray(1)),
                lambda: b.recvmsg(1),
            ]
            for call in calls:
                before = time.monotonic()
                results.append(outcome(call))
                took = time.monotonic() - before
                results.append(span - 0.02 <= took < span + 0.5)
    return results


@scenario
def timeout_values(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        results = [s.gettimeout(), s.getblocking(), s.timeout]
        for value in (None, 0, 1, 2.5, -1, "x", float("nan"), 1e30):
            results.append(outcome(functools.partial(s.settimeout, value)))
            results.append(s.gettimeout())
        s.setblocking(False)
        results += [s.gettimeout(), s.getblocking()]
        s.setblocking(True)
        results += [s.gettimeout(), s.getblocking()]
        return results


@scenario
def non_blocking(net: Net) -> Any:
    with udp(net) as (a, b), net.create_server((LOOPBACK, 0)) as server:
        b.setblocking(False)
        a.settimeout(0.1)
        c, d = net.socketpair()
        with c, d:
            pair = outcome(lambda: c.recv(1, socket.MSG_DONTWAIT))
        server.setblocking(False)
        return [
            outcome(lambda: b.recv(1)),
            outcome(lambda: b.recvfrom(1)),
            outcome(lambda: b.recvmsg(1)),
            outcome(lambda: server.accept()),
            outcome(lambda: a.recv(1, socket.MSG_DONTWAIT)),
            pair,
        ]


@scenario
def back_to_blocking(net: Net) -> Any:
    with udp(net) as (a, b):
        b.setblocking(False)
        first = outcome(lambda: b.recv(1))
        b.setblocking(True)
        timer = threading.Timer(0.3, lambda: a.sendto(b"late", b.getsockname()))
        timer.start()
        got = b.recv(10)
        timer.join()
        return [first, got.decode()]


@scenario
def full_buffer(net: Net) -> Any:
    results = []
    with tcp(net) as (client, served):
        client.setblocking(False)
        block = bytes(65536)
        sent = refusals = 0
        while refusals < 3:  # what is on its way makes room once more
            try:
                sent += client.send(block)
                refusals = 0
            except BlockingIOError:
                refusals += 1
                time.sleep(0.05)
        results.append(outcome(lambda: client.send(block)))
        results.append(outcome(lambda: client.sendmsg([block])))
        client.settimeout(0.1)
        results.append(outcome(lambda: client.sendall(block)))
        results.append(net.select([], [client], [], 0)[1])
        served.settimeout(5)
        results.append(len(exactly(served, sent)) == sent)
        return results


@scenario
def timeout_in_sendall(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.settimeout(0.3)
        before = time.monotonic()
        result = outcome(lambda: client.sendall(bytes(50_000_000)))
        return [result, time.monotonic() - before < 3]


@scenario
def user_receive_timeout(net: Net) -> Any:
    with udp(net) as (a, b):
        b.settimeout(None)
        span = struct.pack("ll", 0, 150_000)
        b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
        raw = b.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        before = time.monotonic()
        result = outcome(lambda: b.recv(1))
        took = time.monotonic() - before
        return [struct.unpack("ll", raw)[0], result, 0.1 < took < 1.0]


# streams


@scenario
def stream_ends(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        first = exactly(served, 100).decode()
        served.sendall(b"answer")
        served.close()
        return [first, exactly(client, 100).decode(), outcome(lambda: client.recv(1))]


@scenario
def send_after_shutdown(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.shutdown(socket.SHUT_WR)
        return [
            outcome(lambda: client.send(b"x")),
            outcome(lambda: client.sendall(b"x")),
            outcome(lambda: client.sendmsg([b"x"])),
        ]


@scenario
def receive_after_shutdown(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.shutdown(socket.SHUT_RD)
        return outcome(lambda: served.recv(1).decode())


@scenario
def reset(net: Net) -> Any:
    with tcp(net) as (client, served):
        linger = struct.pack("ii", 1, 0)
        served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        served.close()
        client.settimeout(5)
        return [outcome(lambda: client.recv(1)), outcome(lambda: client.send(b"x"))]


@scenario
def peek_and_waitall(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.settimeout(5)
        client.sendall(b"abcdef")
        peeked = served.recv(3, socket.MSG_PEEK)
        taken = served.recv(3)
        timer = threading.Timer(0.5, lambda: client.sendall(b"ghij"))
        timer.start()
        served.settimeout(None)
        rest = served.recv(7, socket.MSG_WAITALL)
        timer.join()
        client.sendall(b"xy")
        client.close()
        end = served.recv(5, socket.MSG_WAITALL)
        return [peeked.decode(), taken.decode(), rest.decode(), end.decode()]


@scenario
def out_of_band(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.send(b"ab")
        client.send(b"!", socket.MSG_OOB)
        served.settimeout(5)
        ready = net.select([], [], [served], 5)[2] == [served]
        urgent = served.recv(1, socket.MSG_OOB)
        return [ready, urgent.decode(), served.recv(10).decode()]


@scenario
def ten_megabytes(net: Net) -> Any:
    """Both directions at once, from two threads each; checksums at the end."""
    one = hashlib.sha256(b"one").digest() * 327_680
    two = hashlib.sha256(b"two").digest() * 327_680
    sums: dict[str, str] = {}

    def receive(name: str, sock: Any) -> None:
        digest = hashlib.sha256()
        size = 0
        while block := sock.recv(100_000):
            digest.update(block)
            size += len(block)
        sums[name] = f"{size} {digest.hexdigest()}"

    def send(sock: Any, data: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    with tcp(net) as (client, served):
        threads = [
            threading.Thread(target=receive, args=("one", served)),
            threading.Thread(target=receive, args=("two", client)),
            threading.Thread(target=send, args=(client, one)),
            threading.Thread(target=send, args=(served, two)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sums


@scenario
def blocking_send_takes_all(net: Net) -> Any:
    """Without a timeout send returns when everything is taken."""
    with tcp(net) as (client, served):
        size = 3_000_000
        got: list[int] = []
        reader = threading.Thread(target=lambda: got.append(len(exactly(served, size))))
        timer = threading.Timer(0.5, reader.start)
        timer.start()
        sent = client.send(bytes(size))
        timer.join()
        reader.join()
        return [sent, got]


@scenario
def buffers(net: Net) -> Any:
    with tcp(net) as (client, served):
        from array import array

        for data in (
            b"bytes",
            bytearray(b"array"),
            memoryview(b"viewed")[1:5],
            memoryview(bytearray(b"writable"))[2:6],
            array("i", [1, 2]),
        ):
            client.sendall(data)
        room = bytearray(b"." * 40)
        count = 0
        view = memoryview(room)
        while count < 26:
            count += served.recv_into(view[count:])
        client.sendall(b"hello")
        few = served.recv_into(room, 2)
        numbers = array("i", [0, 0])
        more = served.recv_into(numbers, 3)
        return [
            room[2:26].hex(),
            few,
            more,
            numbers.tobytes()[:3].decode(),
            outcome(lambda: served.recv_into(b"no")),
            outcome(lambda: served.recv_into(bytearray(1), 2)),
            outcome(lambda: served.recv_into(bytearray(1), -1)),
            outcome(lambda: served.recv(-1)),
            outcome(lambda: client.send("text")),
            outcome(lambda: client.send(memoryview(b"abcd")[::2])),
            client.send(b""),
        ]


# datagrams


@scenario
def datagrams(net: Net) -> Any:
    with udp(net) as (a, b):
        results = []
        for size in (0, 1, 100, 1472, 5000):
            data = bytes(index % 251 for index in range(size))
            results.append(a.sendto(data, b.getsockname()))
            got, sender = b.recvfrom(10000)
            results.append([got == data, sender == a.getsockname()])
        room = bytearray(10)
        a.sendto(b"into", 0, b.getsockname())
        count, sender = b.recvfrom_into(room)
        results.append([count, room[:4].decode(), sender == a.getsockname()])
        return results


@scenario
def datagram_cut(net: Net) -> Any:
    with udp(net) as (a, b):
        a.sendto(b"0123456789", b.getsockname())
        a.sendto(b"next", b.getsockname())
        a.sendto(b"0123456789", b.getsockname())
        first = b.recv(4).decode()
        second = b.recv(100).decode()
        data, _, flags, sender = b.recvmsg(4)
        return [first, second, data.decode(), flags == socket.MSG_TRUNC, sender[0]]


@scenario
def datagram_too_long(net: Net) -> Any:
    with udp(net) as (a, b):
        return outcome(lambda: a.sendto(bytes(65_600), b.getsockname()))


@scenario
def datagram_to_no_port(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        return [
            outcome(lambda: s.connect((LOOPBACK, 9))),
            s.getpeername(),
        ]


@scenario
def connected_datagrams(net: Net) -> Any:
    with udp(net) as (a, b), net.socket(INET, DGRAM) as other:
        b.connect(a.getsockname())
        other.sendto(b"stranger", b.getsockname())
        a.sendto(b"friend", b.getsockname())
        got = b.recv(100).decode()
        b.send(b"back")
        return [got, a.recv(100).decode(), b.getpeername() == a.getsockname()]


@scenario
def messages(net: Net) -> Any:
    with udp(net) as (a, b):
        sent = a.sendmsg([b"one", bytearray(b"two"), b""], [], 0, b.getsockname())
        first, second = bytearray(4), bytearray(10)
        count, anc, flags, sender = b.recvmsg_into([first, second])
        return [
            sent,
            count,
            first.decode(),
            second[:2].decode(),
            anc,
            flags,
            sender == a.getsockname(),
            outcome(lambda: a.sendmsg(["x"])),
            outcome(lambda: b.recvmsg(-1)),
        ]


# options


@scenario
def flag_options(net: Net) -> Any:
    results = []
    with net.socket(INET, STREAM) as s:
        for name in ("SO_REUSEADDR", "SO_KEEPALIVE", "SO_OOBINLINE", "SO_REUSEPORT"):
            option = getattr(socket, name)
            before = s.getsockopt(socket.SOL_SOCKET, option)
            s.setsockopt(socket.SOL_SOCKET, option, 1)
            after = s.getsockopt(socket.SOL_SOCKET, option)
            s.setsockopt(socket.SOL_SOCKET, option, 0)
            results.append([before, after, s.getsockopt(socket.SOL_SOCKET, option)])
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        results.append(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    with net.socket(INET, DGRAM) as d:
        d.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        results.append(d.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
    return results


@scenario
def number_options(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET6, DGRAM) as t:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 42)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
        t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 43)
        t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return [
            s.getsockopt(socket.IPPROTO_IP, socket.IP_TTL),
            s.getsockopt(socket.IPPROTO_IP, socket.IP_TOS),
            t.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
            t.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
        ]


@scenario
def keepalive_options(net: Net) -> Any:
    tcp = socket.IPPROTO_TCP
    with net.socket(INET, STREAM) as s:
        return [
            outcome(lambda: s.setsockopt(tcp, socket.TCP_KEEPIDLE, 77)),
            outcome(lambda: s.setsockopt(tcp, socket.TCP_KEEPINTVL, 9)),
            outcome(lambda: s.setsockopt(tcp, socket.TCP_KEEPCNT, 3)),
            outcome(lambda: s.getsockopt(tcp, socket.TCP_KEEPIDLE)),
        ]


@scenario
def structure_options(net: Net) -> Any:
    with net.socket(INET, STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
        raw = s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        on, seconds = struct.unpack("ii", raw)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        return [
            bool(on),
            seconds,
            s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 32768,
            s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 32768,
            len(s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 4)),
        ]


@scenario
def bad_options(net: Net) -> Any:
    with net.socket(INET, STREAM) as s:
        return [
            outcome(lambda: s.setsockopt(socket.SOL_SOCKET, 4711, 1)),
            outcome(lambda: s.getsockopt(socket.SOL_SOCKET, 4711)),
            outcome(lambda: s.getsockopt(socket.IPPROTO_TCP, 4711)),
            outcome(lambda: s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 5000)),
            outcome(lambda: s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, -1)),
            outcome(lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 1)),
            outcome(
                lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\0\0\0")
            ),
        ]


@scenario
def multicast(net: Net) -> Any:
    group = socket.inet_aton("239.1.2.3")
    with udp(net) as (a, b):
        mreq = group + socket.inet_aton(LOOPBACK)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 3)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        a.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK)
        )
        return [
            a.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL),
            outcome(
                lambda: b.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
            ),
            outcome(
                lambda: b.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
            ),
            outcome(
                lambda: b.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, mreq)
            ),
        ]


# waiting


@scenario
def select_sockets(net: Net) -> Any:
    with tcp(net) as (client, served):
        idle = net.select([served], [], [], 0.05)
        writable = net.select([], [client], [], 1)[1] == [client]
        client.send(b"x")
        readable = net.select([served, client], [], [], 5)[0] == [served]
        client.close()
        served.recv(1)
        ended = net.select([served], [], [], 5)[0] == [served]
        return [
            [len(part) for part in idle],
            writable,
            readable,
            ended,
            outcome(lambda: net.select([client], [], [], 0)),
            outcome(lambda: net.select([served], [], [], -1)),
        ]


@scenario
def poll_sockets(net: Net) -> Any:
    import select

    with tcp(net) as (client, served):
        poll = net.poll()
        poll.register(served, select.POLLIN)
        idle = poll.poll(20)
        client.send(b"x")
        one = poll.poll(5000) == [(served.fileno(), select.POLLIN)]
        poll.modify(served, select.POLLOUT)
        two = poll.poll(5000) == [(served.fileno(), select.POLLOUT)]
        poll.unregister(served)
        return [
            idle,
            one,
            two,
            outcome(lambda: poll.modify(served, 1)),
            poll.poll(10),
        ]


# files over sockets


@scenario
def files(net: Net) -> Any:
    with tcp(net) as (client, served):
        writer = client.makefile("w", encoding="utf-8", newline="\n")
        reader = served.makefile("r", encoding="utf-8")
        writer.write("höhe\nzweite\nrest")
        writer.flush()
        lines = [reader.readline(), reader.readline()]
        both = served.makefile("rwb", buffering=0)
        both.write(b"raw")
        raw = client.makefile("rb", buffering=0).read(3).decode()
        writer.close()
        client.close()
        served.close()
        kept = served.fileno() >= 0
        rest = reader.read()
        reader.close()
        both.close()
        return [lines, raw, kept, rest, served.fileno()]


@scenario
def file_modes(net: Net) -> Any:
    with tcp(net) as (client, served):
        return [
            outcome(lambda: client.makefile("x")),
            outcome(lambda: client.makefile("r", buffering=0)),
            type(client.makefile("rb")).__name__,
            type(client.makefile("wb")).__name__,
            type(client.makefile("rwb")).__name__,
            type(client.makefile()).__name__,
            outcome(lambda: client.makefile("rb").write(b"x")),
            outcome(lambda: client.makefile("wb").read(1)),
            client.makefile("rwb", 0).seekable(),
            client.makefile("rb").name == client.fileno(),
        ]


@scenario
def file_timeout(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.settimeout(0.1)
        reader = served.makefile("rb")
        first = outcome(lambda: reader.read(1))
        client.send(b"x")
        second = outcome(lambda: reader.read(1))
        return [first, second]


@scenario
def file_non_blocking(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.setblocking(False)
        return served.makefile("rb", buffering=0).read(1)


@scenario
def send_a_file(net: Net) -> Any:
    import io

    with tcp(net) as (client, served):
        count = client.sendfile(io.BytesIO(b"0123456789"), offset=2, count=5)
        return [count, exactly(served, 5).decode()]


# IPv6


@scenario
def ipv6(net: Net) -> Any:
    with tcp(net, INET6, "::1") as (client, served):
        client.sendall(b"six")
        name = client.getsockname()
        got = exactly(served, 3).decode()
        with udp(net, INET6, "::1") as (a, b):
            a.sendto(b"datagram", b.getsockname()[:2])
            data, sender = b.recvfrom(100)
            return [got, name[0], name[2:], data.decode(), sender == a.getsockname()]


@scenario
def ipv6_bad(net: Net) -> Any:
    with net.socket(INET6, DGRAM) as s:
        return [
            outcome(lambda: s.bind(("2001:db8::1", 0))),
            outcome(lambda: s.bind(("fe80::1", 0))),
            outcome(lambda: s.connect(("::1", 9, 0, 0))),
            s.getpeername(),
        ]


# local sockets


@scenario
def pair(net: Net) -> Any:
    results = []
    for kind in (STREAM, DGRAM, socket.SOCK_SEQPACKET):
        a, b = net.socketpair(UNIX, kind)
        with a, b:
            a.sendall(b"ping")
            got = b.recv(10).decode()
            b.send(b"pong")
            results.append([got, a.recv(10).decode(), a.getsockname(), b.getpeername()])
    return results


@scenario
def pair_ends(net: Net) -> Any:
    a, b = net.socketpair(UNIX, STREAM)
    with a, b:
        b.close()
        return [outcome(lambda: a.recv(1).decode()), outcome(lambda: a.send(b"x"))]


@scenario
def local_stream(net: Net) -> Any:
    path = net.path("stream")
    with net.socket(UNIX, STREAM) as server, net.socket(UNIX, STREAM) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        served, peer = server.accept()
        with served:
            served.sendall(b"local")
            results = [
                exactly(client, 5).decode(),
                peer,
                client.getpeername() == path,
                server.getsockname() == path,
                client.getsockname(),
            ]
        with net.socket(UNIX, STREAM) as again:
            results.append(outcome(lambda: again.bind(path)))
    net.unlink(path)
    return results


@scenario
def local_datagrams(net: Net) -> Any:
    one, two = net.path("one"), net.path("two")
    with net.socket(UNIX, DGRAM) as a, net.socket(UNIX, DGRAM) as b:
        a.bind(one)
        b.bind(two.encode())
        a.sendto(b"x" * 1000, two)
        data, sender = b.recvfrom(2000)
        results = [len(data), sender == one]
    net.unlink(one)
    net.unlink(two)
    return results


@scenario
def local_bad(net: Net) -> Any:
    with net.socket(UNIX, STREAM) as s:
        return [
            outcome(lambda: s.connect(net.path("nobody"))),
            outcome(lambda: s.connect(net.path("no/folder"))),
            outcome(lambda: s.bind(net.path("no/folder"))),
            outcome(lambda: s.connect(("x", 1))),
            outcome(lambda: s.bind("/x" * 200)),
        ]


@scenario
def local_refused(net: Net) -> Any:
    path = net.path("dead")
    with net.socket(UNIX, STREAM) as s:
        s.bind(path)
    with net.socket(UNIX, STREAM) as s:
        result = outcome(lambda: s.connect(path))
    net.unlink(path)
    return result


@scenario
def descriptors_travel(net: Net) -> Any:
    import array

    a, b = net.socketpair(UNIX, STREAM)
    with a, b, udp(net) as (c, d):
        rights = array.array("i", [d.fileno()])
        a.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        data, anc, flags, _ = b.recvmsg(10, socket.CMSG_SPACE(4))
        level, kind, raw = anc[0]
        fd = struct.unpack("i", raw[:4])[0]
        with net.adopt(fd) as e:
            e.settimeout(5)
            c.sendto(b"through", d.getsockname())
            return [
                data.decode(),
                level == socket.SOL_SOCKET,
                kind == socket.SCM_RIGHTS,
                fd != d.fileno(),
                e.recv(100).decode(),
            ]


# threads


@scenario
def many_threads(net: Net) -> Any:
    """Eight clients at once against one accepting thread."""
    answers: list[int] = []
    with net.create_server((LOOPBACK, 0), backlog=16) as server:

        def serve() -> None:
            for _ in range(8):
                served, _ = server.accept()
                with served:
                    number = int(exactly(served, 4))
                    served.sendall(b"%08d" % (number * number))

        def ask(number: int) -> None:
            with net.create_connection(server.getsockname()) as client:
                client.sendall(b"%04d" % number)
                answers.append(int(exactly(client, 8)))

        threads = [threading.Thread(target=serve)]
        threads += [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(answers)
