"""The virt(4) interface's hypercalls over links of the tests' own."""

from __future__ import annotations

import ctypes
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from ctypes import c_size_t, c_void_p
from pathlib import Path

import pytest
from typing_extensions import Buffer

from rumphyper.errors import CorruptError, LinkClosedError, LinkEndedError
from rumphyper.host import thunks
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.tables.virtif import DELIVER
from rumphyper.hypercalls.trace import Trace
from rumphyper.link.base import BATCH, Link
from tests.hypercalls.support import Setup, shared_object
from tests.hypercalls.test_files import iovecs

SOFTC = 0x5C5C50
MAC = bytes.fromhex("b2a000112233")
RECEIVER_IS_THERE = "hyp_unschedule"
"""Its last call until frames come."""


class Memory(Link):
    """A link of which the test holds the other end."""

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__("memory:", MAC)
        self.arriving: queue.SimpleQueue[list[bytes] | Exception] = queue.SimpleQueue()
        self.sent: list[bytes] = []
        self.room = room
        self.limits: list[int] = []

    def send(self, frames: Sequence[Buffer]) -> int:
        self.check_open()
        self.check_frames(frames)
        if len(self.sent) >= self.room:
            return 0
        self.sent += [bytes(frame) for frame in frames]
        return len(frames)

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        self.limits.append(limit)
        item = self.arriving.get()
        if isinstance(item, Exception):
            raise item
        return item

    def fileno(self) -> int:
        raise NotImplementedError

    def _wake(self) -> None:
        self.arriving.put(LinkClosedError(self.linkstr, "closed"))

    def _release(self) -> None:
        pass


JUDGE = f"""
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
static void (*sink)(void *, const void *, size_t);
void set(void (*f)(void *, const void *, size_t)) {{ sink = f; }}
void {DELIVER}(void *sc, struct iovec *iov, size_t n)
{{
    if (n == 1)
        sink(sc, iov[0].iov_base, iov[0].iov_len);
}}
"""


class Interfaces:
    """A kernel with virt interfaces: what it was delivered, in which context."""

    def __init__(self, library: ctypes.CDLL, virtif: Virtif, **options: object) -> None:
        virtif.library = library
        setup = Setup(override={"virtif": virtif}, **options)
        self.setup = setup
        self.delivered: list[tuple[int, bytes]] = []
        kind = ctypes.CFUNCTYPE(None, c_size_t, c_size_t, c_size_t)
        self._sink = kind(self._deliver)
        library.set(self._sink)

    def _deliver(self, softc: int, base: int, length: int) -> None:
        self.delivered.append((softc, ctypes.string_at(base, length)))
        self.setup.kernel.events.append(("deliver", threading.get_ident(), ()))

    def create(self, devstr: bytes) -> tuple[int, int, bytes]:
        """Result, handle and MAC of rumpcomp_virt_create."""
        mac = (ctypes.c_uint8 * 6)(*b"\xb2\x0a\x00\x0b\x0e\x01")
        user = c_void_p()
        result = self.setup.call(
            "virt_create", devstr, SOFTC, ctypes.addressof(mac), ctypes.byref(user)
        )
        return result, user.value or 0, bytes(mac)


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A library with the upcall, as librumpnet_virtif has it."""
    return shared_object(tmp_path_factory.mktemp("virtif"), JUDGE)


@pytest.fixture
def link() -> Iterator[Memory]:
    """The link of interface 0."""
    made = Memory()
    yield made
    made.close()


def test_frames_out(library: ctypes.CDLL, link: Memory) -> None:
    """The parts of a frame are joined; sending is without the virtual CPU."""
    kernel = Interfaces(library, Virtif({"0": link}))
    result, user, mac = kernel.create(b"0")
    assert (result, mac) == (0, MAC)
    until(lambda: RECEIVER_IS_THERE in kernel.setup.kernel.names())
    kernel.setup.kernel.events.clear()
    parts = [ctypes.create_string_buffer(os.urandom(n), n) for n in (14, 1, 485)]
    kernel.setup.call("virt_send", user, iovecs(*parts), 3)
    assert link.sent == [b"".join(part.raw for part in parts)]
    assert kernel.setup.kernel.names() == [
        "hyp_backend_unschedule", "hyp_backend_schedule"
    ]  # fmt: skip
    assert kernel.setup.call("virt_dying", user) == 0
    kernel.setup.call("virt_destroy", user)
    assert link.closed
    assert kernel.setup.reports == []


def test_frames_in(library: ctypes.CDLL, link: Memory) -> None:
    """One lwp for the thread; one virtual CPU for each burst; octets unchanged."""
    kernel = Interfaces(library, Virtif({"0": link}, batch=7))
    _, user, _ = kernel.create(b"0")
    bursts = [[os.urandom(14 + 37 * n) for n in range(size)] for size in (1, 5, 3)]
    for burst in bursts:
        link.arriving.put(burst)
    until(lambda: len(kernel.delivered) == 9)
    kernel.setup.call("virt_dying", user)
    kernel.setup.call("virt_destroy", user)
    frames = [frame for burst in bursts for frame in burst]
    assert kernel.delivered == [(SOFTC, frame) for frame in frames]
    assert set(link.limits) == {7}
    events = kernel.setup.kernel.events
    receiver = next(thread for name, thread, _ in events if name == "deliver")
    assert receiver != threading.get_ident()
    seen = [name.removeprefix("hyp_") for name, t, _ in events if t == receiver]
    expected = ["schedule", "lwproc_newlwp", "unschedule"]
    for burst in bursts:
        expected += ["backend_schedule", *["deliver"] * len(burst)]
        expected += ["backend_unschedule"]
    assert seen == [*expected, "schedule", "lwproc_release", "unschedule"]
    assert kernel.setup.reports == []


def test_many_times(library: ctypes.CDLL) -> None:
    """Create and destroy leave neither threads nor handles nor descriptors."""
    virtif = Virtif()
    kernel = Interfaces(library, virtif)
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        virtif.links["3"] = Memory()
        result, user, _ = kernel.create(b"3")
        assert result == 0
        assert kernel.setup.call("virt_dying", user) == 0
        kernel.setup.call("virt_destroy", user)
    assert threading.active_count() == threads
    assert virtif.interfaces() == []
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert kernel.setup.reports == []


@pytest.mark.parametrize(
    ("devstr", "result", "text"),
    [
        (b"1", Errno.ENXIO, "no link is known for this unit"),
        (b"nonsense", Errno.ENXIO, "SCHEME:NAME"),
        (b"nonsense:x", Errno.ENXIO, "unknown scheme"),
        (b"pcap:/no/such/file", Errno.ENOENT, "/no/such/file"),
        (b"\xff\xfe", Errno.ENXIO, "SCHEME:NAME"),
        (None, Errno.ENXIO, ""),
    ],
)
def test_links_that_do_not_open(
    library: ctypes.CDLL, devstr: bytes, result: int, text: str
) -> None:
    """The errno says what it can, the report the rest; nothing is left half made."""
    virtif = Virtif()
    kernel = Interfaces(library, virtif)
    threads = threading.active_count()
    assert kernel.create(devstr)[:2] == (result, 0)
    assert text in kernel.setup.reports[0]
    assert virtif.interfaces() == []
    assert threading.active_count() == threads
    names = kernel.setup.kernel.names()
    assert names.count("hyp_backend_unschedule") == names.count("hyp_backend_schedule")


def test_without_the_upcall(link: Memory) -> None:
    """A kernel without the virtif component is told so."""
    without = ctypes.CDLL("libm.so.6")
    kernel = Setup(override={"virtif": Virtif({"0": link}, without)})
    user = c_void_p()
    mac = ctypes.create_string_buffer(6)
    address = ctypes.addressof(mac)
    result = kernel.call("virt_create", b"0", SOFTC, address, ctypes.byref(user))
    assert result == Errno.ENXIO
    assert DELIVER in kernel.reports[0]
    assert not link.closed


def test_trouble_while_running(library: ctypes.CDLL) -> None:
    """A full link drops; a frame that is too long is dropped and reported."""
    link = Memory(room=1)
    virtif = Virtif({"0": link})
    kernel = Interfaces(library, virtif)
    _, user, _ = kernel.create(b"0")
    frame = ctypes.create_string_buffer(60)
    for _ in range(3):
        kernel.setup.call("virt_send", user, iovecs(frame), 1)
    assert len(link.sent) == 1
    assert virtif.interfaces()[0].dropped == 2
    assert kernel.setup.reports == []
    jumbo = ctypes.create_string_buffer(5000)
    for _ in range(2):
        kernel.setup.call("virt_send", user, iovecs(jumbo), 1)
    kernel.setup.call("virt_send", user, iovecs(), 1 << 40)
    assert virtif.interfaces()[0].dropped == 4
    assert len(kernel.setup.reports) == 2
    assert "5000" in kernel.setup.reports[0]
    kernel.setup.call("virt_dying", user)
    kernel.setup.call("virt_send", user, iovecs(frame), 1)
    assert virtif.interfaces()[0].dropped == 5
    assert len(kernel.setup.reports) == 2
    kernel.setup.call("virt_destroy", user)


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (LinkEndedError("memory:", "the file is over"), 0),
        (LinkClosedError("memory:", "closed by somebody"), 0),
        (CorruptError("bus", "field x is 5"), 1),
        (ValueError("a bug"), 1),
    ],
)
def test_ends_of_a_link(
    library: ctypes.CDLL, link: Memory, error: Exception, reported: int
) -> None:
    """The receiver ends with its link, gives its lwp back, and says why."""
    kernel = Interfaces(library, Virtif({"0": link}))
    _, user, _ = kernel.create(b"0")
    link.arriving.put(error)
    until(lambda: kernel.setup.kernel.names()[-2:] == ["hyp_lwproc_release",
                                                       "hyp_unschedule"])  # fmt: skip
    until(lambda: len(kernel.setup.reports) == reported)
    kernel.setup.call("virt_dying", user)
    kernel.setup.call("virt_destroy", user)
    assert len(kernel.setup.reports) == reported


def test_handles(library: ctypes.CDLL, link: Memory) -> None:
    """A handle that is not ours sends nothing and frees nothing."""
    kernel = Interfaces(library, Virtif({"0": link}))
    _, user, _ = kernel.create(b"0")
    frame = ctypes.create_string_buffer(60)
    for wrong in (None, 1, user + 1, user << 1):
        kernel.setup.call("virt_send", wrong, iovecs(frame), 1)
        assert kernel.setup.call("virt_dying", wrong) == Errno.EINVAL
        kernel.setup.call("virt_destroy", wrong)
    assert link.sent == []
    assert not link.closed
    assert len(kernel.setup.reports) == 12
    kernel.setup.call("virt_destroy", user)
    kernel.setup.call("virt_destroy", user)
    assert len(kernel.setup.reports) == 13


def test_close_of_the_hypervisor(library: ctypes.CDLL, link: Memory) -> None:
    """Links are closed with it, and the receivers end."""
    kernel = Interfaces(library, Virtif({"0": link}))
    kernel.create(b"0")
    receivers = [t for t in threading.enumerate() if t.name == "virtif 0"]
    kernel.setup.hv.close()
    assert link.closed
    for receiver in receivers:
        receiver.join(10)
        assert not receiver.is_alive()


class Datagrams(Memory):
    """A link whose frames are read by its descriptor: the near end of a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)

    def frame_fd(self) -> int:
        return self.near.fileno()

    def _release(self) -> None:
        self.near.close()
        self.far.close()


@pytest.mark.skipif(not thunks.supported(), reason="no machine-code templates")
def test_close_of_the_hypervisor_in_the_middle_of_a_burst(
    library: ctypes.CDLL,
) -> None:
    """The descriptor stays open while it is read: its number is nobody else's."""
    before = set(os.listdir("/proc/self/fd"))
    link = Datagrams()
    virtif = Virtif({"0": link})
    kernel = Interfaces(library, virtif)
    assert kernel.create(b"0")[0] == 0
    interface = virtif.interfaces()[0]
    burst, fd = interface.burst, link.near.fileno()
    assert burst is not None
    read, reading = burst.read, threading.Event()
    found: list[str] = []

    def slow() -> int:
        reading.set()
        time.sleep(0.3)
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        return read()

    burst.read = slow  # type: ignore[method-assign]
    link.far.send(bytes(60))
    assert reading.wait(10)
    kernel.setup.hv.close()
    assert "socket" in found[0]
    assert interface.thread is not None
    interface.thread.join(10)
    assert not interface.thread.is_alive()
    assert set(os.listdir("/proc/self/fd")) == before
    burst.wake()  # of a kernel that destroys it late
    assert kernel.setup.reports == []


def test_traced(library: ctypes.CDLL, link: Memory, tmp_path: Path) -> None:
    """The trace shows linkstr, MAC, handle and the parts of frames."""
    trace = Trace(families=["virtif", "component"])
    kernel = Interfaces(library, Virtif({"0": link}), trace=trace)
    _, user, _ = kernel.create(b"0")
    frame = ctypes.create_string_buffer(60)
    kernel.setup.call("virt_send", user, iovecs(frame), 1)
    kernel.setup.call("virt_dying", user)
    kernel.setup.call("virt_destroy", user)
    shown = {r.name: f"({', '.join(r.arguments)}) {r.result}" for r in trace.records}
    assert shown["rumpcomp_virt_create"] == (
        f'("0", {SOFTC:#x}, b2:a0:00:11:22:33, [{user:#x}]) 0'
    )
    base = ctypes.addressof(frame)
    assert shown["rumpcomp_virt_send"] == f"({user:#x}, [{{{base:#x}, 60}}], 1) "
    names = {record.name for record in trace.records}
    assert "rumpuser_component_kthread_release" in names
