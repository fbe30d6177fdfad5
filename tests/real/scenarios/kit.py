"""What the scenarios of sockets are made with."""

from __future__ import annotations

import contextlib
import errno
import socket
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
