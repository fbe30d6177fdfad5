"""Hypercalls that fail: a clear error, and nothing left behind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from rumphyper.kernel.mini import ContextError, MiniKernel, MiniKernelError
from tests.kernel.machine import (
    ADDRESSES,
    Machine,
    booted,
    machine,
    needs_thunks,
    new_resources,
    resources,
)
from tests.kernel.test_mini_boot import ARP_REQUEST

ENOMEM, EAGAIN, EIO, ENXIO = 12, 35, 5, 6

# Each hypercall of a boot that can fail, how often it is made, and an errno.
FAILING = {
    "rumpuser_init": (1, EIO),
    "rumpuser_malloc": (8, ENOMEM),
    "rumpuser_anonmmap": (1, ENOMEM),
    "rumpuser_clock_gettime": (7, EIO),
    "rumpuser_clock_sleep": (2, EIO),
    "rumpuser_cv_timedwait": (1, EIO),
    "rumpuser_getparam": (2, EIO),
    "rumpuser_getrandom": (1, EIO),
    "rumpuser_thread_create": (1, EAGAIN),
    "rumpcomp_virt_create": (1, ENXIO),
}


def fail(host: Machine, name: str, at: int, errno: int) -> Counter[str]:
    """Let the ``at``-th call of ``name`` fail; the counter counts the calls."""
    calls: Counter[str] = Counter()
    target: Any = host.hypervisor.bindings[name].target

    def failing(*arguments: Any) -> Any:
        calls[name] += 1
        return errno if calls[name] == at else target(*arguments)

    host.hypervisor.bind(name, failing)
    return calls


def up_and_down(host: Machine) -> None:
    """Boot, plug in, answer one frame, shut down."""
    with MiniKernel(host.hypervisor) as kernel:
        kernel.create_interface("virt0", "wire", ADDRESSES)
        host.near.send([ARP_REQUEST])
        assert host.near.recv(timeout=5)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with booted():
        pass  # what is made once for the process
    before = resources()
    yield
    assert new_resources(before) == set()


@pytest.mark.parametrize("name", FAILING)
def test_how_often_a_boot_makes_each(name: str) -> None:
    """So that the cases below are all of them."""
    with machine() as host:
        calls = fail(host, name, 0, 0)
        with MiniKernel(host.hypervisor) as kernel:
            kernel.create_interface("virt0", "wire", ADDRESSES)
            assert calls[name] == FAILING[name][0]


@pytest.mark.parametrize(
    ("name", "at", "errno"),
    [
        (name, at, errno)
        for name, (times, errno) in FAILING.items()
        for at in range(1, times + 1)
    ],
)
def test_each_failure_while_booting(name: str, at: int, errno: int) -> None:
    with machine() as host:
        fail(host, name, at, errno)
        with pytest.raises(MiniKernelError, match=name) as caught:
            up_and_down(host)
        assert caught.value.netbsd_errno == errno
        assert host.memory.held == {}
        assert host.problems == []


def test_no_thread_for_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with machine() as host:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(MiniKernelError, match=r"watchdog.*ulimit -u"):
                up_and_down(host)
        assert host.memory.held == {}
        up_and_down(host)
        assert host.problems == []


@pytest.mark.parametrize("name", FAILING)
def test_the_next_boot_works(name: str) -> None:
    times, errno = FAILING[name]
    with machine() as host:
        fail(host, name, times, errno)
        with pytest.raises(MiniKernelError):
            up_and_down(host)
    with machine() as host:
        up_and_down(host)
        assert host.problems == []


@needs_thunks
def test_no_memory_for_packets_drops_frames() -> None:
    """The pool cannot grow on the way: frames are lost, the kernel is not."""
    with booted() as (kernel, host):
        system = kernel._system
        assert system is not None
        taken = []
        while (packet := system.packets.copy(b"x")) is not None:
            taken.append(packet)
            if len(taken) == 16:
                target: Any = host.hypervisor.bindings["rumpuser_malloc"].target
                host.hypervisor.bind("rumpuser_malloc", lambda *_: ENOMEM)
        assert len(taken) == 16
        host.near.send([ARP_REQUEST])
        assert host.near.recv(timeout=0.1) == []
        assert kernel.interfaces()[0].counters().dropped == 1
        assert kernel.statistics().exhausted == 2
        host.hypervisor.bind("rumpuser_malloc", target)
        for packet in taken:
            system.packets.put(packet)
        host.near.send([ARP_REQUEST])
        assert host.near.recv(timeout=5)


@pytest.mark.parametrize(
    ("name", "errno"), [("rumpcomp_virt_dying", EIO), ("rumpuser_thread_join", EIO)]
)
def test_failures_on_the_way_down_are_told(name: str, errno: int) -> None:
    """The host does its work and says that it failed: all is freed, and said."""
    with machine() as host:
        target: Any = host.hypervisor.bindings[name].target

        def lying(*arguments: Any) -> int:
            target(*arguments)
            return errno

        host.hypervisor.bind(name, lying)
        with pytest.raises((ContextError, MiniKernelError), match=name):
            up_and_down(host)
        assert host.memory.held == {}


@pytest.mark.parametrize(
    ("name", "answer", "what"),
    [
        ("malloc", lambda size, alignment, memp: 0, "gave the address 0x0"),
        ("malloc", lambda size, alignment, memp: _put(memp, 0x1001), "0x1001"),
        ("clock_gettime", lambda clock, sec, nsec: _put(nsec, 10**9), "-1 s and"),
        ("clock_sleep", lambda clock, sec, nsec: 0, "over after"),
        ("mutex_init", lambda mtxp, flags: None, "null pointer"),
        ("cv_init", lambda cvp: None, "null pointer"),
        ("rw_init", lambda rwp: None, "null pointer"),
        ("getrandom", lambda buf, size, flags, retp: 0, "gave 0 octets"),
        ("getrandom", lambda buf, size, flags, retp: _put(retp, 99), "gave 99 octets"),
    ],
)
def test_answers_that_cannot_be(name: str, answer: Any, what: str) -> None:
    with machine({name: answer}) as host:
        with pytest.raises(MiniKernelError, match=what):
            up_and_down(host)
        assert host.memory.held == {}


def _put(pointer: Any, value: int) -> int:
    pointer[0] = value
    return 0


@needs_thunks
def test_random_octets_may_come_in_small_pieces() -> None:
    with booted() as (kernel, host):
        target: Any = host.hypervisor.bindings["rumpuser_getrandom"].target
        host.hypervisor.bind(
            "getrandom", lambda buf, size, flags, retp: target(buf, 1, flags, retp)
        )
        with kernel._entered() as system:
            octets = system.random(64)
        assert len(octets) == 64
        assert len(set(octets)) > 16
        assert host.trace.counts()["rumpuser_getrandom"] == 65
