"""Clients of NetBSD's own server that go wrong, or end, or whose server does."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import rumphyper
from rumphyper.errors import KernelError, ServerError, ServerGoneError
from rumphyper.kernel.remote import RemoteKernel
from rumphyper.kernel.remotehandshake import Prefork
from tests.real.proxy_kit import ROOT, SERVERS, Served, add_loopback

pytestmark = pytest.mark.rump
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with SERVERS[request.param]() as served:
        with rumphyper.connect(served.url) as kernel:
            add_loopback(kernel)
            kernel.fs.mkdir("/data")
            kernel.fs.mount("tmpfs", "/data")
        yield served


@pytest.fixture
def kernel(server: Served) -> Iterator[RemoteKernel]:
    with rumphyper.connect(server.url) as connected:
        yield connected


@pytest.fixture
def victim() -> Iterator[Served]:
    """A server of the test's own, to be killed."""
    with SERVERS["rump_server"]() as served:
        yield served


def test_a_wrong_pointer(server: Served) -> None:
    """With the stock server it ends the connection."""
    room = ctypes.create_string_buffer(8)
    with rumphyper.connect(server.url) as kernel:
        _, writing = kernel.fs.pipe()
        with pytest.raises((KernelError, ServerGoneError)) as refused:
            kernel.syscall("write", writing, ctypes.addressof(room), 8)
        if server.understands_refusals:
            assert isinstance(refused.value, KernelError)
            assert refused.value.errno == errno.EFAULT
        else:
            assert "no call has lent that memory" in str(refused.value)
        assert kernel.closed != server.understands_refusals
    with rumphyper.connect(server.url) as kernel:
        reading, writing = kernel.fs.pipe()
        kernel.fs.write(writing, b"12345678")
        with pytest.raises(ServerGoneError, match="for writing"):
            kernel.syscall("read", reading, b"constant", 8)
    with rumphyper.connect(server.url) as kernel:
        with pytest.raises(KernelError) as caught:
            kernel.syscall("fstat", 9999, None)
        assert caught.value.errno == errno.EBADF


def test_signals_of_the_kernel(kernel: RemoteKernel) -> None:
    """SIGPIPE reaches a handler, and does nothing where there is none."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGPIPE)
    try:
        for handler in (lambda number, frame: seen.append(number), signal.SIG_DFL):
            signal.signal(signal.SIGPIPE, handler)
            ends = (ctypes.c_int * 2)()
            kernel.syscall("pipe2", ends, 0)
            kernel.fs.close(ends[0])
            with pytest.raises(KernelError) as caught:
                kernel.syscall("write", ends[1], b"x", 1)
            assert caught.value.errno == errno.EPIPE
            kernel.fs.close(ends[1])
        assert seen == [signal.SIGPIPE]
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_ctrl_c_comes_through(server: Served) -> None:
    program = (
        "import sys, rumphyper\n"
        "kernel = rumphyper.connect(sys.argv[1])\n"
        "a, b = kernel.socketpair()\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    a.recv(1)\n"
        "except KeyboardInterrupt:\n"
        "    b.send(b'x')\n"
        "    print('fine' if a.recv(1) == b'x' else 'lost')\n"
    )
    command = [sys.executable, "-c", program, server.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=10)
    assert (child.returncode, out) == (0, b"fine\n")


def test_a_child_takes_over_copies(kernel: RemoteKernel) -> None:
    """Both ends of PREFORK: descriptors are shared, as after fork(2)."""
    a, b = kernel.socketpair()
    a.set_inheritable(True)
    ticket = kernel.prefork()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with rumphyper.connect(ticket) as copy:
                with copy.socket(fileno=a.fileno()) as sock:
                    sock.sendall(b"from the child")
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    b.settimeout(5)
    assert b.recv(100) == b"from the child"
    a.close()
    assert b.recv(100) == b"", "the child's copy went with its process"
    b.close()


def test_a_prefork_is_good_once(server: Served) -> None:
    with rumphyper.connect(server.url) as kernel:
        ticket = kernel.prefork()
        rumphyper.connect(ticket).close()
        with pytest.raises(ServerError, match="refuses us"):
            rumphyper.connect(ticket)
        with pytest.raises(ServerError, match="refuses us"):
            rumphyper.connect(Prefork(ticket.url, bytes(16)))


def test_descriptors_go_with_the_connection(server: Served) -> None:
    """A stream's other end is in another process: it sees the end."""
    with rumphyper.connect(server.url) as stays:
        listener = stays.create_server((LOOPBACK, 0))
        listener.settimeout(10)
        goes = rumphyper.connect(server.url)
        sock = goes.socket()
        sock.connect(listener.getsockname())
        made, _ = listener.accept()
        goes.close()
        made.settimeout(10)
        assert made.recv(1) == b""
        sock.detach()
        made.close()
        listener.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_dies(victim: Served, how: signal.Signals) -> None:
    """Calls in flight and all later ones say so, in every thread, at once."""
    kernel = rumphyper.connect(victim.url)
    pairs = [kernel.socketpair() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(a.recv, 1) for a, _ in pairs]
        time.sleep(0.3)
        start = time.monotonic()
        os.kill(victim.process.pid, how)
        for one in waiting:
            error = one.exception(timeout=15)
            assert isinstance(error, ConnectionError), error
        assert time.monotonic() - start < 10
    assert kernel.closed
    with pytest.raises(ServerGoneError, match="see whether it still runs"):
        kernel.socket()
    for pair in pairs:
        for sock in pair:
            sock.detach()
    kernel.close()
    victim.process.wait(10)  # a process that dies closes one descriptor at a time
    with pytest.raises(ServerError):
        rumphyper.connect(victim.url, timeout=5)


def test_a_server_that_is_stopped_can_be_left(victim: Served) -> None:
    """Nothing comes, so another thread's close() is what ends the wait."""
    kernel = rumphyper.connect(victim.url)
    os.kill(victim.process.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(kernel.syscall, "getpid") for _ in range(2)]
        time.sleep(0.2)
        assert not any(one.done() for one in waiting)
        kernel.close()
        for one in waiting:
            assert isinstance(one.exception(timeout=5), ServerGoneError)
    with pytest.raises(ServerError, match=r"within 0\.5 s"):
        rumphyper.connect(victim.url, timeout=0.5)
