"""The virt(4) interface's hypercalls over links of the tests' own."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.trace import Trace
from tests.hypercalls.test_files import iovecs
from tests.hypercalls.virtifs import (
    MAC,
    RECEIVER_IS_THERE,
    SOFTC,
    Interfaces,
    Memory,
    until,
)


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
