"""Host threads that enter the mini kernel in ways that they must not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from rumphyper.kernel.mini import MiniKernel
from tests.kernel.breaking import original, upcalls, violations
from tests.kernel.machine import Machine, deliver, machine
from tests.kernel.test_mini_boot import ARP_REQUEST


@pytest.fixture
def host() -> Iterator[Machine]:
    with machine() as host:
        yield host


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
