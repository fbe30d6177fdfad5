"""Hosts that break the rules of the virtual CPU are found out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rumphyper.kernel.mini import MiniKernel
from rumphyper.kernel.mini import contexts as contexts_module
from tests.kernel.breaking import original, upcalls, violations
from tests.kernel.machine import Machine, machine, needs_thunks


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine() as host:
        yield host


def test_a_good_host_breaks_none(host: Machine) -> None:
    assert violations(host, lambda kernel: kernel.sleep(0.01)) == []


def test_a_sleep_that_keeps_the_cpu(host: Machine) -> None:
    def clock_sleep(clock: int, sec: int, nsec: int) -> int:
        time.sleep(0.002)
        return 0

    host.hypervisor.bind("clock_sleep", clock_sleep)
    text = "rumpuser_clock_sleep waited and kept the virtual CPU"
    assert violations(host) == [text] * 2


def test_a_join_that_keeps_the_cpu(host: Machine) -> None:
    family: Any = host.hypervisor.families["threads"]

    def thread_join(cookie: int) -> int:
        family._join(family._joinable.pop(cookie), None)
        return 0

    # the network thread has to get the CPU to end: by then it has ended
    def quick_join(cookie: int) -> int:
        time.sleep(0.1)
        return thread_join(cookie)

    host.hypervisor.bind("thread_join", quick_join)
    found = violations(host)
    assert found in (["rumpuser_thread_join waited and kept the virtual CPU"], [])


def test_a_wait_that_comes_back_without_the_cpu(host: Machine) -> None:
    def clock_sleep(clock: int, sec: int, nsec: int) -> int:
        upcalls(host).give_up()
        time.sleep(0.002)
        return 0

    host.hypervisor.bind("clock_sleep", clock_sleep)
    text = "rumpuser_clock_sleep came back without the virtual CPU"
    assert violations(host) == [text] * 2


def test_the_wrong_number_of_kernel_locks(host: Machine) -> None:
    def clock_sleep(clock: int, sec: int, nsec: int) -> int:
        locks = upcalls(host).give_up()
        time.sleep(0.002)
        upcalls(host).take(locks + 1)
        return 0

    host.hypervisor.bind("clock_sleep", clock_sleep)
    found = violations(host)
    assert len(found) == 2
    assert "gave up 0 kernel locks and is handed 1" in found[0]


def test_the_kernel_locks_of_a_sleeper_come_back(host: Machine) -> None:
    counts = []

    def use(kernel: MiniKernel) -> None:
        with kernel._entered() as system:
            scheduler = system.scheduler
            with scheduler.kernel_lock(), scheduler.kernel_lock():
                scheduler.pause(0.01)
                system.calls.clock_sleep(0, 0, 1000)
                counts.append(scheduler.kernel_locks)

    assert violations(host, use) == []
    assert counts == [2]


@needs_thunks
def test_malloc_that_gives_up_the_cpu(host: Machine) -> None:
    malloc = original(host, "rumpuser_malloc")

    def yielding(size: int, alignment: int, memp: Any) -> int:
        if upcalls(host).lwproc_curlwp():
            locks = upcalls(host).give_up()
            upcalls(host).take(locks)
        return int(malloc(size, alignment, memp))

    with MiniKernel(host.hypervisor) as kernel:
        host.hypervisor.bind("malloc", yielding)
        with kernel._entered() as system:
            lwp = system.lwps.carried_here()
            assert lwp is not None
            lwp.memory.exiting = 0  # an lwp that lwproc_curlwp tells of
            system.memory.free(system.memory.allocate(64, "a test"))
            lwp.memory.exiting = 1
        assert kernel.violations == [
            "the virtual CPU was given up in a call that must not wait"
        ]
        kernel.violations.clear()


def test_a_mutex_that_waits_with_the_cpu(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One holds the mutex and wants the CPU, the other has it and wants the mutex."""
    monkeypatch.setattr(contexts_module, "STALL", 0.2)
    family: Any = host.hypervisor.families["locks"]

    def mutex_enter(mtx: int) -> None:
        mutex = family._mutexes[mtx]
        patience = time.monotonic() + 1.0
        while not mutex.free and time.monotonic() < patience:
            time.sleep(0.01)  # with the CPU in hand, the mistake
        if mutex.free:
            mutex.take()
        else:
            locks = upcalls(host).give_up()
            mutex.take()
            upcalls(host).take(locks)
        if mutex.tracked:
            mutex.owner.value = family._carried[threading.get_ident()]

    host.hypervisor.bind("mutex_enter", mutex_enter)

    def use(kernel: MiniKernel) -> None:
        with kernel._entered() as system:
            pool = system.packets._mutex

            def other() -> None:
                with kernel._entered(), pool:
                    pass

            thread = threading.Thread(target=other)
            with pool:
                thread.start()
                system.scheduler.pause(0.2)
        thread.join(5)
        assert not thread.is_alive()
        assert pool.contended == 1

    text = "rumpuser_mutex_enter has kept the virtual CPU for more than 0.2 s"
    found = violations(host, use)
    assert len(found) == 1
    assert found[0].startswith(text)
