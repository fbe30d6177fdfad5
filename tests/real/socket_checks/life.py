"""How sockets begin and end."""

from __future__ import annotations

import gc
import http.client
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from rumphyper.errors import KernelClosedError
from tests.real.socket_checks.kit import LOOPBACK, check


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
def http_get(kernel: Any) -> None:
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
        connection = http.client.HTTPConnection(*address)
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
        with pytest.raises(KernelClosedError, match=r"shut down|was closed"):
            call()
    sock.detach()
    a.detach()
    _b.detach()
