"""Hosts that break the rules of the virtual CPU are found out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rumphyper.kernel.mini import ContextError, MiniKernel
from rumphyper.kernel.mini import contexts as contexts_module
from tests.kernel.machine import (
    ADDRESSES,
    Machine,
    deliver,
    finish,
    machine,
    needs_thunks,
)
from tests.kernel.test_mini_boot import ARP_REQUEST


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine() as host:
        yield host


def violations(host: Machine, use: Callable[[MiniKernel], object] = repr) -> list[str]:
    """What a kernel that is booted on ``host`` and used has to report."""
    kernel = MiniKernel(host.hypervisor)

    def run() -> None:
        with kernel:
            kernel.create_interface("virt0", "wire", ADDRESSES)
            use(kernel)

    error = finish(run)
    assert error is None or isinstance(error, ContextError), error
    assert not kernel.running
    assert host.memory.held == {}
    found = [] if error is None else error.violations
    assert found == kernel.violations
    for text in found:
        assert f"mini: {text}\n" in host.printed
    return found


def upcalls(host: Machine) -> Any:
    family: Any = host.hypervisor.families["init"]
    return family.upcalls


def original(host: Machine, name: str) -> Any:
    return host.hypervisor.bindings[name].target


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


def test_deliver_without_the_cpu(host: Machine) -> None:
    def use(kernel: MiniKernel) -> None:
        softc = kernel.interfaces()[0].softc
        deliver(softc, ARP_REQUEST)  # without an lwp, too
        host.hypervisor.function("rumpuser_component_kthread")()
        deliver(softc, ARP_REQUEST)
        host.hypervisor.function("rumpuser_component_kthread_release")()
        assert host.near.recv(timeout=0.05) == []

    found = violations(host, use)
    assert len(found) == 2
    assert all("delivered without the virtual CPU" in text for text in found)


def test_a_host_that_mistakes_the_lwp(host: Machine) -> None:
    curlwp = original(host, "rumpuser_curlwp")
    victims: list[int] = []

    def mistaken() -> int:
        return 0x1234 if threading.get_ident() in victims else int(curlwp() or 0)

    host.hypervisor.bind("curlwp", mistaken)

    def use(kernel: MiniKernel) -> None:
        victims.append(threading.get_ident())
        kernel.statistics()
        victims.clear()

    found = violations(host, use)
    assert "rumpuser_curlwp gave 0x1234 in a thread that carries no lwp" in found


def test_entering_and_leaving_twice(host: Machine) -> None:
    def use(kernel: MiniKernel) -> None:
        up = upcalls(host)
        up.schedule()
        up.schedule()
        up.backend_schedule(0, 0)
        up.unschedule()
        up.unschedule()
        up.give_up()
        up.backend_schedule(0, 0)
        up.lwproc_release()
        up.lwproc_switch(0)

    found = violations(host, use)
    beginnings = [text.split(":")[0] for text in found]
    assert beginnings == [
        "schedule", "backend_schedule", "unschedule", "backend_unschedule",
        "backend_schedule", "lwproc_release", "lwproc_switch",
    ]  # fmt: skip


def test_the_upcalls_of_components(host: Machine) -> None:
    function = host.hypervisor.function

    def use(kernel: MiniKernel) -> None:
        curlwp = function("rumpuser_component_curlwp")
        switch = function("rumpuser_component_switchlwp")
        assert not curlwp()  # one for the visit has no name
        function("rumpuser_component_kthread")()
        mine = curlwp()
        assert mine
        up = upcalls(host)
        up.schedule()
        assert up.getpid() == 0
        assert up.lwproc_newlwp(7) == 3  # ESRCH
        assert up.syscall(20, 0, None) == 6  # ENXIO: there is no proxy
        assert up.lwproc_rfork(0, 0, b"x") == 6
        up.lwpexit()
        up.execnotify(b"x")
        assert up.lwproc_newlwp(1) == 0
        other = up.lwproc_curlwp()
        assert other not in (0, mine)
        assert up.getpid() == 1
        up.unschedule()
        switch(mine)
        assert curlwp() == mine
        switch(other)
        switch(None)
        assert not curlwp()
        for lwp in (mine, other):  # take them up again and end them
            up.schedule()
            up.lwproc_switch(lwp)
            up.lwproc_release()
            up.unschedule()

    assert violations(host, use) == []


def test_switching_to_an_lwp_of_another_thread(host: Machine) -> None:
    def use(kernel: MiniKernel) -> None:
        up = upcalls(host)
        taken: list[int] = []

        def other(ready: threading.Event, done: threading.Event) -> None:
            host.hypervisor.function("rumpuser_component_kthread")()
            taken.append(host.hypervisor.function("rumpuser_component_curlwp")())
            ready.set()
            done.wait(5)
            host.hypervisor.function("rumpuser_component_kthread_release")()

        ready, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=other, args=(ready, done))
        thread.start()
        assert ready.wait(5)
        up.schedule()
        up.lwproc_switch(taken[0])
        up.lwproc_switch(0x10)
        up.unschedule()
        done.set()
        thread.join(5)

    found = violations(host, use)
    assert len(found) == 2
    assert "is in use by another thread" in found[0]
    assert "0x10 is no lwp" in found[1]


def test_more_visitors_than_lwps_wait(host: Machine) -> None:
    """Each visit has an lwp; who comes when all are in use has to wait."""

    def use(kernel: MiniKernel) -> None:
        gate = threading.Event()
        done: list[int] = []

        def visit(number: int) -> None:
            host.hypervisor.function("rumpuser_component_kthread")()
            gate.wait(5)
            host.hypervisor.function("rumpuser_component_kthread_release")()
            done.append(number)

        threads = [threading.Thread(target=visit, args=(n,)) for n in range(50)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        gate.set()
        for thread in threads:
            thread.join(5)
        assert sorted(done) == list(range(50))

    assert violations(host, use) == []
