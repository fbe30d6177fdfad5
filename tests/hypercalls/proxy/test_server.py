"""The server of the syscall proxy when the kernel or the host fails it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from pathlib import Path

import pytest

from rumphyper.errors import HostError
from rumphyper.hypercalls.catalogue import lookup
from rumphyper.hypercalls.families.sysproxy import SysProxy
from rumphyper.hypercalls.guard import guard
from rumphyper.hypercalls.proxy import frames as f
from rumphyper.hypercalls.report import Reporter
from rumphyper.hypercalls.upcalls import Upcalls
from tests.hypercalls.proxy.fakekernel import (
    FakeKernel,
    Memory,
    eventually,
    fake_served,
)
from tests.real.serving.raw import Raw, cut_by

CALL = 100
ENOMEM, EFAULT, EAGAIN, ENXIO, EALREADY = 12, 14, 35, 6, 37


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "sysproxy"]


def test_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    kernel = FakeKernel()
    before = len(os.listdir("/proc/self/fd"))
    with fake_served(tmp_path, kernel) as (family, url):
        clients = [Raw(url) for _ in range(5)]
        assert all(raw.syscall(CALL)[0] == 78 for raw in clients)
        assert family.sp_init(url.encode(), b"", b"", b"") == EALREADY
    assert all(raw.is_cut() for raw in clients)
    for raw in clients:
        raw.close()
    assert not threads()
    assert not kernel.lwps
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_two_threads_that_close_it_close_its_descriptors_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed twice, a number may be somebody else's by then."""
    with fake_served(tmp_path, FakeKernel()) as (family, _):
        server = family.server
        assert server is not None
        closed: list[int] = []
        ended: list[bool] = []
        close, getpid = os.close, os.getpid
        both = threading.Barrier(2)

        def recorded(fd: int) -> None:
            closed.append(fd)
            with contextlib.suppress(OSError):
                close(fd)

        def late() -> int:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.5)
            return getpid()

        monkeypatch.setattr("rumphyper.hypercalls.proxy.pool.os.close", recorded)
        monkeypatch.setattr("rumphyper.hypercalls.proxy.server.os.getpid", late)

        def end() -> None:
            server.close()
            ended.append(True)

        closers = [threading.Thread(target=end) for _ in range(2)]
        for thread in closers:
            thread.start()
        for thread in closers:
            thread.join(9)
        monkeypatch.undo()
        assert len(closed) == 1
        assert ended == [True, True]


def test_what_ends_after_the_server_rings_no_bell_of_others(tmp_path: Path) -> None:
    """A thread of the kernel may leave a client late; the bell's number is free."""
    with fake_served(tmp_path, FakeKernel()) as (family, url), Raw(url):
        server = family.server
        assert server is not None
        [client] = server.clients.values()
        bell = server.pool._bell
        assert client.enter() == 0
        threading.Timer(0.2, client.leave).start()
        server.close()
        other = os.eventfd(0, os.EFD_NONBLOCK)
        if other != bell:
            os.dup2(other, bell)
        server.pool.post(lambda worker: None)
        with pytest.raises(BlockingIOError):
            os.eventfd_read(other)
        for fd in {other, bell}:
            os.close(fd)


def test_before_the_kernel_runs() -> None:
    assert SysProxy(Upcalls()).sp_init(b"unix:///x", b"", b"", b"") == ENXIO


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("nonsense", 22),
        ("tcp://0:0", 13),
        ("unix:///dev/null", 48),
        ("unix:///no/such/folder/socket", 2),
    ],
)
def test_where_nobody_can_be_served(url: str, error: int) -> None:
    """The errno, as C gets it."""
    family = SysProxy(FakeKernel().upcalls)
    call = lookup("rumpuser_sp_init")
    answer = guard(call, family.sp_init, Reporter(lambda text: None))
    assert answer(url.encode(), b"NetBSD", b"7", b"amd64") == error
    assert family.server is None


def test_no_lwp_for_the_first_worker(tmp_path: Path) -> None:
    kernel = FakeKernel()
    kernel.fail["newlwp"] = ENOMEM
    with (
        pytest.raises(HostError, match="no lwp for a worker"),
        fake_served(tmp_path, kernel),
    ):
        pass
    assert eventually(lambda: not threads())
    assert os.listdir(tmp_path) == []


def test_no_process_for_a_client(tmp_path: Path) -> None:
    kernel = FakeKernel()

    def refused(kind: int, body: bytes) -> int:
        [frame] = cut_by(url, lambda raw: raw.request(f.HANDSHAKE, kind, body), False)
        assert frame.cls == f.ERROR
        return frame.word

    with fake_served(tmp_path, kernel) as (_, url), Raw(url) as parent:
        secret = parent.response(parent.request(f.PREFORK)).body
        kernel.fail["rfork"] = ENOMEM
        assert refused(f.GUEST, b"x\0") == f.ERR_RFORK_FAILED
        assert refused(f.FORK_OF, f.FORK.pack(secret, 0)) == f.ERR_RFORK_FAILED
        frame = parent.response(parent.request(f.PREFORK))
        assert (frame.cls, frame.word) == (f.ERROR, f.ERR_RFORK_FAILED)
        kernel.fail.clear()
        assert parent.response(parent.request(f.PREFORK)).cls == f.RESP
    assert not kernel.lwps


def test_no_lwp_for_a_call(tmp_path: Path) -> None:
    kernel = FakeKernel()
    with fake_served(tmp_path, kernel) as (_, url), Raw(url) as raw:
        kernel.fail["newlwp"] = ENOMEM
        assert raw.syscall(CALL) == (ENOMEM, -1)
        kernel.fail.clear()
        assert raw.syscall(CALL)[0] == 78


def test_no_thread_left(tmp_path: Path) -> None:
    """What might sleep is refused; coming and going still work."""
    kernel = FakeKernel()
    with fake_served(tmp_path, kernel, workers=1) as (_, url):
        for _ in range(3):
            with Raw(url) as raw:
                assert raw.syscall(CALL) == (EAGAIN, -1)
        assert eventually(lambda: len(kernel.lwps) == 1)


def test_calls_that_sleep_leave_room_for_one(tmp_path: Path) -> None:
    kernel = FakeKernel()
    awake = threading.Event()
    kernel.calls[CALL] = lambda args: 0 if awake.wait(10) else 1
    with fake_served(tmp_path, kernel, workers=4) as (_, url), Raw(url) as raw:
        asleep = [raw.call(CALL) for _ in range(3)]
        assert eventually(lambda: len(threads()) == 4)
        with Raw(url) as other:
            assert eventually(lambda: other.syscall(99)[0] == EAGAIN)
        awake.set()
        frames = [raw.frame() for _ in asleep]
        assert {f.SYSRESP.unpack(frame.body)[0] for frame in frames} == {0}
        assert eventually(lambda: raw.syscall(99)[0] == 78)


def test_the_memory_of_a_client(tmp_path: Path) -> None:
    """In the middle of a call, in every way that the kernel has."""
    kernel = FakeKernel()
    memory = Memory(200_000)
    found: list[object] = []
    with fake_served(tmp_path, kernel) as (family, url), Raw(url) as raw:
        [client] = kernel.clients
        size = ctypes.pointer(ctypes.c_size_t(64))
        place = ctypes.pointer(ctypes.c_void_p())

        def call(args: bytes) -> int:
            a = memory.address
            found.append(family.sp_copyin(client, 0x1000, a, 100_000))
            found.append(memory.octets.raw[:100_000] == raw.memory[0x1000])
            found.append(family.sp_copyin(client, 0x1000, a, 0))
            found.append(family.sp_copyinstr(client, 0x2000, a, size))
            found.append((size[0], memory.octets.value))
            for length in (0, 1, 60_000, 150_000):
                family.sp_copyout(client, a, 0x10_0000 + length, length)
            family.sp_copyoutstr(client, a, 0x3000, size)
            found.append(family.sp_anonmmap(client, 4096, place))
            found.append(family.sp_raise(client, 13))
            return 0

        kernel.calls[CALL] = call
        raw.memory = {0x1000: os.urandom(100_000), 0x2000: b"a string\0"}
        number = raw.call(CALL)
        while (frame := raw.frame()).reqno != number or frame.cls == f.REQ:
            if frame.type == f.ANONMMAP:
                assert f.SIZE.unpack(frame.body) == (4096,)
                raw.send(f.pack(frame.reqno, f.RESP, f.ANONMMAP, 0, bytes(8)))
            elif frame.type == f.RAISE:
                assert frame.word == 13
            else:
                raw.serve(frame)
        assert found == [0, True, 0, 0, (9, b"a string"), ENOMEM, 0]
        whole = memory.octets.raw
        for length in (0, 1, 60_000, 150_000):
            assert raw.copied[0x10_0000 + length] == whole[:length]
        assert raw.copied[0x3000] == b"a string\0"


def test_the_memory_of_a_client_from_elsewhere(tmp_path: Path) -> None:
    """The kernel's own threads reach it too, while it is doing nothing."""
    kernel = FakeKernel()
    memory = Memory(16)
    with fake_served(tmp_path, kernel) as (family, url), Raw(url) as raw:
        [client] = kernel.clients
        results: list[int] = []

        def from_elsewhere() -> None:
            kernel._make()
            results.append(family.sp_copyin(client, 0x1000, memory.address, 16))
            results.append(family.sp_copyout(client, memory.address, 0x2000, 16))
            results.append(family.sp_raise(client, 1))

        raw.memory[0x1000] = b"0123456789abcdef"
        thread = threading.Thread(target=from_elsewhere)
        thread.start()
        raw.serve(raw.frame())
        raw.serve(raw.frame())
        signalled = raw.frame()
        thread.join(10)
        assert results == [0, 0, 0]
        assert memory.octets.raw == raw.copied[0x2000] == raw.memory[0x1000]
        assert (signalled.type, signalled.word) == (f.RAISE, 1)
        assert raw.syscall(CALL)[0] == 78


def test_clients_that_the_kernel_may_still_name(tmp_path: Path) -> None:
    """A process outlives its client by a moment, and its number for ever."""
    kernel = FakeKernel()
    memory = Memory(16)
    with fake_served(tmp_path, kernel) as (family, url):
        raw = Raw(url)
        [client] = kernel.clients
        raw.close()
        assert eventually(lambda: len(kernel.lwps) == len(threads()))
        for handle in (client, 0, 12345):
            assert family.sp_copyin(handle, 1, memory.address, 16) == EFAULT
            assert family.sp_copyout(handle, memory.address, 1, 16) == EFAULT
            assert family.sp_raise(handle, 15) == EFAULT


def test_a_storm_of_signals(tmp_path: Path) -> None:
    """Nobody waits for the client; what it has not got yet is kept once each."""
    kernel = FakeKernel()
    with fake_served(tmp_path, kernel) as (family, url), Raw(url) as raw:
        [client] = kernel.clients
        for number in range(5_000):
            assert family.sp_raise(client, 1 + number % 64) == 0
        missing = set(range(1, 65))
        while missing:
            missing.discard(raw.frame().word)
        assert raw.syscall(CALL)[0] == 78


def test_signals_for_who_never_reads(tmp_path: Path) -> None:
    kernel = FakeKernel()
    with fake_served(tmp_path, kernel, patience=0.2) as (family, url), Raw(url):
        [client] = kernel.clients
        while not family.sp_raise(client, 1):
            pass
        assert eventually(lambda: len(kernel.lwps) == len(threads()))


def test_an_error_of_ours_ends_one_connection(tmp_path: Path) -> None:
    kernel = FakeKernel()
    kernel.calls[CALL] = lambda args: struct.unpack("=q", b"")[0]
    with fake_served(tmp_path, kernel) as (_, url), Raw(url) as witness:
        assert cut_by(url, lambda raw: raw.call(CALL)) == []
        assert witness.syscall(99)[0] == 78


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_of_the_process_leaves_the_server_alone(tmp_path: Path) -> None:
    kernel = FakeKernel()
    with fake_served(tmp_path, kernel) as (family, url), Raw(url) as raw:
        assert family.server is not None
        fds = [family.server.listener.socket.fileno()]
        fds += [client.fd for client in family.server.clients.values()]
        child = os.fork()
        if not child:
            gone = 0
            for fd in fds:
                try:
                    os.fstat(fd)
                except OSError:
                    gone += 1
            family.stop()
            os._exit(0 if gone == len(fds) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert raw.syscall(CALL)[0] == 78
        with Raw(url) as another:
            assert another.syscall(CALL)[0] == 78


def test_death_while_the_kernel_copies(tmp_path: Path) -> None:
    """At each octet of the exchange."""
    kernel = FakeKernel()
    memory = Memory(64)
    errors: list[int] = []
    with fake_served(tmp_path, kernel) as (family, url):
        for part in range(0, f.HEADER.size + 64, 3):
            raw = Raw(url)
            client = kernel.clients[-1]

            def call(args: bytes, client: int = client) -> int:
                errors.append(family.sp_copyin(client, 0x1000, memory.address, 64))
                return errors[-1]

            kernel.calls[CALL] = call
            raw.call(CALL)
            frame = raw.frame()
            raw.send(f.pack(frame.reqno, f.RESP, f.COPYIN, 0, bytes(64))[:part])
            raw.close()
        count = len(range(0, f.HEADER.size + 64, 3))
        assert eventually(lambda: len(errors) == count)
        assert set(errors) == {EFAULT}
        assert eventually(lambda: len(kernel.lwps) == len(threads()))
