"""The server of the syscall proxy when the kernel or the host fails it."""

from __future__ import annotations

import contextlib
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
from tests.hypercalls.proxy.fakekernel import FakeKernel, eventually, fake_served
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
        assert len(closed) == len(set(closed)) == 2
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
