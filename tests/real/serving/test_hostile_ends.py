"""Clients that die, never read, fork and exec without end, come in crowds."""

from __future__ import annotations

import resource
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from rumphyper.hypercalls.proxy import frames as f
from tests.real.serving.kit import Served, hostile_kernel, witnessed
from tests.real.serving.raw import (
    CLOSE,
    GETPID,
    OPEN,
    PIPE2,
    READ,
    RECVFROM,
    WRITE,
    Cut,
    Raw,
    bind,
    cut_by,
    rss,
)

pytestmark = pytest.mark.rump

EAGAIN = 35


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from hostile_kernel()


@pytest.fixture(autouse=True)
def _unharmed(served: Served) -> Iterator[None]:
    yield from witnessed(served)


def test_death_in_the_middle_of_a_call(served: Served) -> None:
    before = served.settled()
    for _ in range(20):
        raw = Raw(served.url)
        raw.call(RECVFROM, raw.udp(), 0x1000, 10, 0, 0, 0)
        if _ % 2:
            raw.call(READ, 0, 0, 0)
        raw.close()
        raw = Raw(served.url)
        bind(raw)
        raw.close()
    wanted = {name: before[name] for name in ("processes", "descriptors")}
    assert wanted.items() <= served.settled(wanted).items()


def test_who_never_reads(served: Served) -> None:
    """Neither requests nor what they return may pile up."""
    before = rss(served.process.pid)

    def ask(raw: Raw, times: int) -> None:
        for _ in range(times):
            raw.send(f.pack(1, f.REQ, f.SYSCALL, GETPID) * 1000)

    with Raw(served.url) as raw:
        raw.sock.settimeout(5)
        with pytest.raises((Cut, TimeoutError)):
            ask(raw, 10_000)
    assert rss(served.process.pid) - before < 8 << 20


def test_who_never_reads_what_it_asked_for(served: Served) -> None:
    """A read of a megabyte, and the file is still there for others."""
    with Raw(served.url) as raw:
        raw.memory[0x1000] = b"/tmp/large\0"
        error, fd = raw.syscall(OPEN, 0x1000, 0x202, 0o600)
        assert not error
        assert raw.syscall(WRITE, fd, 0x2000, 1 << 20) == (0, 1 << 20)
        with Raw(served.url) as rude:
            rude.memory[0x1000] = b"/tmp/large\0"
            _, same = rude.syscall(OPEN, 0x1000, 0, 0)
            rude.call(READ, same, 0x3000, 1 << 20)
            error, fd = raw.syscall(OPEN, 0x1000, 0, 0)
            assert raw.syscall(READ, fd, 0x4000, 1 << 20) == (0, 1 << 20)
            time.sleep(1.5)
            assert rude.is_cut()


def test_more_sleeping_calls_than_a_client_may_have(served: Served) -> None:
    with Raw(served.url) as raw:
        fd = raw.udp()
        deadline = time.monotonic() + 10
        refused = 0
        while refused < 10 and time.monotonic() < deadline:
            # A call counts until a moment after its answer, so some may be lost.
            raw.call(RECVFROM, fd, 0x1000, 10, 0, 0, 0)
            refused = refused + 1 if raw.syscall(GETPID)[0] == EAGAIN else 0
        assert refused == 10


def test_forks_that_nobody_claims(served: Served) -> None:
    before = served.settled()
    for _ in range(2):
        with Raw(served.url) as raw:
            answers = [raw.response(raw.request(f.PREFORK)) for _ in range(100)]
            assert [a.cls for a in answers] == [f.RESP] * 64 + [f.ERROR] * 36
            assert answers[-1].word == f.ERR_NOMEM
            assert len({a.body for a in answers[:64]}) == 64
    wanted = {"processes": before["processes"] + 2 * 64}
    assert wanted.items() <= served.settled(wanted).items()
    time.sleep(0.3)
    with Raw(served.url) as raw:  # the next fork ends what is left of old ones
        raw.response(raw.request(f.PREFORK))
    wanted = {"processes": before["processes"] + 1}
    assert wanted.items() <= served.settled(wanted).items()


def test_a_fork_is_claimed_once(served: Served) -> None:
    with Raw(served.url) as raw:
        fd = raw.udp()
        secret = raw.response(raw.request(f.PREFORK)).body
        assert raw.syscall(CLOSE, fd)[0] == 0
        claim = f.FORK.pack(secret, 0)
        with Raw(served.url, guest=False) as child:
            assert child.handshake(f.FORK_OF, claim).cls == f.RESP
            assert child.syscall(GETPID) != raw.syscall(GETPID)
            assert child.syscall(CLOSE, fd)[0] == 0  # as it was at the fork
            got = cut_by(
                served.url,
                lambda raw: raw.request(f.HANDSHAKE, f.FORK_OF, claim),
                False,
            )
            assert got[0].word == f.ERR_INVALID_PREFORK


def test_a_fork_is_cancelled(served: Served) -> None:
    with Raw(served.url) as raw:
        secret = raw.response(raw.request(f.PREFORK)).body
        processes = served.ask("state")["processes"]
        cancel = f.FORK.pack(secret, 1)
        got = cut_by(
            served.url, lambda raw: raw.request(f.HANDSHAKE, f.FORK_OF, cancel), False
        )
        assert got == []
        wanted = {"processes": processes - 1}
        assert wanted.items() <= served.settled(wanted).items()


def test_exec_wakes_what_sleeps(served: Served) -> None:
    with Raw(served.url) as raw:
        pid = raw.syscall(GETPID)
        for _ in range(3):
            fd = raw.udp()
            raw.call(RECVFROM, fd, 0x1000, 10, 0, 0, 0)
            bind(raw)  # asks a program that is about to be no more
            assert raw.handshake(f.EXEC, b"another\0").body == bytes(4)
            assert raw.syscall(GETPID) == pid
            assert raw.syscall(CLOSE, fd)[0] == 0


def test_a_storm_of_execs_and_ends(served: Served) -> None:
    before = served.settled()
    for number in range(30):
        with Raw(served.url) as raw:
            raw.call(RECVFROM, raw.udp(), 0x1000, 10, 0, 0, 0)
            raw.request(f.HANDSHAKE, f.EXEC, b"x" * 1000 + b"\0")
            if number % 3:
                raw.request(f.HANDSHAKE, f.EXEC, b"no end")
            if number % 2:
                raw.call(GETPID)
    wanted = {"processes": before["processes"]}
    assert served.settled(wanted)["processes"] == before["processes"]


def test_a_thousand_connections(served: Served) -> None:
    """The silent make room after a while; who speaks is served all the time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip(f"only {hard} descriptors may be opened here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    before = served.settled()
    crowd = []
    try:
        for _ in range(1000):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(served.path)
            crowd.append(sock)
        time.sleep(0.6)
        with Raw(served.url) as raw:
            assert raw.works()
    finally:
        for sock in crowd:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wanted = {"descriptors": before["descriptors"]}
    assert served.settled(wanted)["descriptors"] == before["descriptors"]
    with Raw(served.url) as raw:
        assert raw.works()


def test_no_descriptors_left(served: Served) -> None:
    """Who comes meanwhile waits; who is there is served."""
    pid = served.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with Raw(served.url) as raw:
        used = served.settled()["descriptors"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used - 8, limits[1]))
        try:
            waiting = socket.socket(socket.AF_UNIX)
            waiting.connect(served.path)
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(100)
            assert raw.works()
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        waiting.settimeout(10)
        assert waiting.recv(100) == raw.banner
        waiting.close()
    assert any("open files" in line for line in served.ask("state")["problems"])


def test_pipes_between_clients_that_die(served: Served) -> None:
    """The end of one process closes its end of a pipe."""
    with Raw(served.url) as raw:
        assert raw.syscall(PIPE2, 0x1000, 0)[0] == 0
        reader, writer = struct.unpack("=ii", raw.copied[0x1000])
        secret = raw.response(raw.request(f.PREFORK)).body
        child = Raw(served.url, guest=False)
        child.handshake(f.FORK_OF, f.FORK.pack(secret, 0))
        assert raw.syscall(CLOSE, writer)[0] == 0
        waiting = raw.call(READ, reader, 0x2000, 10)
        child.close()
        end = f.SYSRESP.unpack(raw.response(waiting).body)
        assert end[:2] == (0, 0)
