"""Lwps, the component functions, and the first call."""

from __future__ import annotations

import threading
from ctypes import byref

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.libc_locks import LibcLwp
from rumphyper.hypercalls.families.lwp import Lwp
from tests.hypercalls.support import Kernel, Setup


def test_lwp_of_each_thread(setup: Setup) -> None:
    """SET and CLEAR are each thread's own; misuse is reported and changes nothing."""
    curlwp, op = setup.hv.function("curlwp"), setup.hv.function("curlwpop")
    assert curlwp() is None
    op(0, 0x1000)
    assert curlwp() is None
    op(2, 0x1000)
    assert curlwp() == 0x1000
    other: list[int | None] = []
    thread = threading.Thread(target=lambda: other.append(curlwp()))
    thread.start()
    thread.join()
    assert other == [None]
    op(2, 0x2000)
    op(3, 0x2000)
    assert curlwp() == 0x1000
    assert [text.count("a bug of the kernel") for text in setup.reports] == [1, 1]
    op(3, 0x1000)
    op(1, 0x1000)
    assert curlwp() is None


def test_lwp_of_an_ending_thread(setup: Setup) -> None:
    """What runs when a thread's locals are dropped still finds its lwp."""
    curlwp, op = setup.hv.function("curlwp"), setup.hv.function("curlwpop")
    found: list[int | None] = []

    class Lease:
        def __init__(self) -> None:
            op(2, 0x3000)

        def __del__(self) -> None:
            found.append(curlwp())
            op(3, 0x3000)
            found.append(curlwp())

    local = threading.local()

    def work() -> None:
        local.lease = Lease()

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [0x3000, None] * 3
    assert setup.reports == []


@pytest.mark.parametrize("kind", [Lwp, LibcLwp])
def test_lwp_of_a_thread_that_ends_with_it(kind: type[Lwp]) -> None:
    """A thread with the same ident as one before starts without an lwp."""
    lwps = kind()
    found: list[tuple[int, int]] = []

    def work() -> None:
        before = lwps.curlwp()
        lwps.curlwpop(2, 0x4000)
        found.append((before, lwps.curlwp()))
        lwps.forget()

    for _ in range(5):  # libc hands out the same ident each time
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [(0, 0x4000)] * 5
    assert not lwps.carried
    assert not getattr(lwps, "by_id", None)


def test_component(setup: Setup) -> None:
    """Each function makes the upcalls of the stock one, in its order."""
    kernel = setup.kernel
    kernel.on["hyp_lwproc_curlwp"] = lambda: 0x7000
    cookie = setup.call("component_unschedule")
    assert cookie == Kernel.locks
    setup.call("component_schedule", cookie)
    setup.call("component_schedule", None)
    assert [(name, values) for name, _, values in kernel.events] == [
        ("hyp_backend_unschedule", (0, None)),
        ("hyp_backend_schedule", (Kernel.locks, None)),
        ("hyp_backend_schedule", (0, None)),
    ]
    kernel.events.clear()
    for name, inner in {
        "component_kthread": ("hyp_lwproc_newlwp", (0,)),
        "component_kthread_release": ("hyp_lwproc_release", ()),
        "component_curlwp": ("hyp_lwproc_curlwp", ()),
        "component_switchlwp": ("hyp_lwproc_switch", (0x9000,)),
    }.items():
        values = (0x9000,) if name == "component_switchlwp" else ()
        result = setup.call(name, *values)
        assert result == (0x7000 if name == "component_curlwp" else None)
        assert [(name, values) for name, _, values in kernel.events] == [
            ("hyp_schedule", ()),
            inner,
            ("hyp_unschedule", ()),
        ]
        kernel.events.clear()
    assert setup.call("component_errtrans", 11) == 35  # EAGAIN
    assert setup.call("component_errtrans", 0) == 0
    assert setup.call("component_errtrans", 4711) == Errno.EINVAL


def test_init_checks_the_version() -> None:
    """Another version fails in order; a second table replaces the first."""
    setup = Setup()
    init = setup.hv.function("init")
    assert init(16, byref(setup.kernel.table)) == Errno.EINVAL
    assert "this hypervisor speaks version 17" in setup.reports[0]
    assert init(17, None) == Errno.EINVAL
    other = Kernel()
    other.boot(setup.hv)
    setup.call("clock_sleep", 0, 0, 0)
    assert other.names() == ["hyp_backend_unschedule", "hyp_backend_schedule"]
    assert setup.kernel.names() == []


def test_calls_before_init_do_not_crash() -> None:
    """Without a kernel there is nobody to give the CPU to."""
    setup = Setup()
    bare = Setup(families=[f for f in setup.hv.families.values() if f.family != "init"])
    assert bare.call("clock_sleep", 0, 0, 0) == 0
    bare.hv.close()
