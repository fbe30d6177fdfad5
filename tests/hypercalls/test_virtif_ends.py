"""Links of virt(4) interfaces that do not open, fail, or end."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from ctypes import c_void_p

import pytest

from rumphyper.errors import CorruptError, LinkClosedError, LinkEndedError
from rumphyper.host import thunks
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.tables.virtif import DELIVER
from tests.hypercalls.support import Setup
from tests.hypercalls.test_files import iovecs
from tests.hypercalls.virtifs import SOFTC, Datagrams, Interfaces, Memory, until


@pytest.fixture
def link() -> Iterator[Memory]:
    """The link of interface 0."""
    made = Memory()
    yield made
    made.close()


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
