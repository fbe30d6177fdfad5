"""Booting the mini kernel and shutting it down, seen from its host."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import Counter

import pytest

from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.kernel.mini import ContextError, MiniKernel, MiniKernelError
from rumphyper.kernel.mini.abi import HYPERCALLS
from tests.kernel.machine import (
    ADDRESSES,
    booted,
    finish,
    machine,
    new_resources,
    resources,
)

ARP_REQUEST = bytes.fromhex(
    "ffffffffffff b2a000000002 0806 0001 0800 06 04 0001"
    "b2a000000002 0a000001 000000000000 0a000002"
)

PAIRS = {
    "rumpuser_malloc": "rumpuser_free",
    "rumpuser_anonmmap": "rumpuser_unmap",
    "rumpuser_mutex_init": "rumpuser_mutex_destroy",
    "rumpuser_rw_init": "rumpuser_rw_destroy",
    "rumpuser_cv_init": "rumpuser_cv_destroy",
    "rumpuser_thread_create": "rumpuser_thread_join",
    "rumpcomp_virt_create": "rumpcomp_virt_destroy",
    "rumpcomp_virt_dying": "rumpcomp_virt_destroy",
    "rumpuser_component_kthread": "rumpuser_component_kthread_release",
}


def test_its_declarations_are_those_of_the_catalogue() -> None:
    """Both were written from NetBSD's headers, each on its own."""

    def shape(ctype: type | None) -> tuple[str, int]:
        if ctype is None:
            return "void", 0
        size = ctypes.sizeof(ctype)
        pointer = not issubclass(ctype, (ctypes.c_int, ctypes.c_long, ctypes.c_size_t))
        return ("pointer" if pointer else ctype.__name__), size

    for name, mine in HYPERCALLS.items():
        theirs = CATALOGUE[name].prototype()
        assert shape(mine._restype_) == shape(theirs._restype_), name
        assert list(map(shape, mine._argtypes_)) == list(
            map(shape, theirs._argtypes_)
        ), name


def test_whatever_it_takes_it_gives_back() -> None:
    with booted() as (kernel, host):
        assert host.memory.held
    counts = Counter(host.trace.counts())
    for take, give in PAIRS.items():
        assert counts[take] == counts[give] > 0, (take, give)
    operations = Counter(arguments[0] for arguments in host.calls("rumpuser_curlwpop"))
    assert operations["RUMPUSER_LWP_CREATE"] == operations["RUMPUSER_LWP_DESTROY"]
    assert operations["RUMPUSER_LWP_SET"] == operations["RUMPUSER_LWP_CLEAR"]
    assert not kernel.running


def test_it_makes_each_hypercall_that_it_declares() -> None:
    with booted() as (kernel, host):
        with pytest.raises(MiniKernelError, match="exists already"):
            kernel.create_interface("virt0", "wire")
        host.near.send([ARP_REQUEST])
        assert host.near.recv(timeout=5)
    assert host.calls("rumpuser_seterrno") == [("17 EEXIST",)]
    # A busy machine may start the receiver so late that it finds the CPU free.
    late = {"rumpuser_cv_wait_nowrap"}
    assert set(HYPERCALLS) - set(host.trace.counts()) <= late


def test_the_order_of_a_boot_is_that_of_rump_init() -> None:
    with booted() as (_, host):
        names = [record.name for record in host.trace.records]
    assert names[0] == "rumpuser_init"
    assert host.calls("rumpuser_init")[0][0] == "17"
    first = {name: names.index(name) for name in set(names)}
    assert first["rumpuser_curlwpop"] < first["rumpuser_getparam"]
    assert first["rumpuser_getparam"] < first["rumpuser_putchar"]
    assert first["rumpuser_thread_create"] < first["rumpuser_clock_sleep"]
    assert first["rumpuser_clock_sleep"] < first["rumpcomp_virt_create"]


def test_its_console_and_its_message_buffer_say_the_same() -> None:
    with booted() as (kernel, host):
        running = kernel.messages()
    assert "mini " in running
    assert "virt0: Ethernet address b2:a0:00:00:00:01\n" in running
    assert "virt0: address fe80::b0a0:ff:fe00:1/64\n" in running
    assert "".join(host.printed) == kernel.messages()
    assert kernel.messages().startswith(running)


def test_the_message_buffer_keeps_the_newest() -> None:
    with machine() as host, MiniKernel(host.hypervisor) as kernel:
        system = kernel._system
        assert system is not None
        for number in range(2000):
            system.console.printf(b"line %d\n", number)
        text = kernel.messages()
    assert len(text) == 16 * 1024
    assert "line 0\n" not in text
    assert text.endswith("line 1998\nline 1999\n")


def test_twenty_boots_leave_nothing() -> None:
    with booted():
        pass  # what is made once for the process
    with machine() as host:
        before = resources()
        for _ in range(20):
            with MiniKernel(host.hypervisor):
                assert host.memory.held
            assert host.memory.held == {}
        assert new_resources(before) == set()
        assert host.problems == []


def test_twenty_machines_leave_nothing() -> None:
    with booted():
        pass
    before = resources()
    for _ in range(20):
        with booted():
            pass
    assert new_resources(before) == set()


def test_one_kernel_at_a_time() -> None:
    with booted() as (kernel, host):
        other = MiniKernel(host.hypervisor)
        with pytest.raises(MiniKernelError, match="another one runs"):
            other.boot()
        with pytest.raises(MiniKernelError, match="runs already"):
            kernel.boot()
        kernel.destroy_interface("virt0")
        kernel.shutdown()
        kernel.shutdown()
        with other:
            assert other.running


def test_two_threads_shut_one_kernel_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits until all is done, and has nothing to do."""
    with booted() as (kernel, _):
        begun, destroy = threading.Event(), kernel.destroy_interface

        def slow(name: str) -> None:
            begun.set()
            time.sleep(0.3)
            destroy(name)

        monkeypatch.setattr(kernel, "destroy_interface", slow)
        errors: list[BaseException | None] = []
        first = threading.Thread(target=lambda: errors.append(finish(kernel.shutdown)))
        first.start()
        assert begun.wait(9)
        errors.append(finish(kernel.shutdown))
        assert not kernel.running
        first.join(9)
        assert errors == [None, None]


def test_what_is_down_says_so() -> None:
    with booted() as (kernel, _):
        pass
    for use in (kernel.statistics, kernel.interfaces, lambda: kernel.sleep(0.001)):
        with pytest.raises(MiniKernelError, match="not running"):
            use()


def test_sleep_gives_up_the_cpu() -> None:
    with booted() as (kernel, host):
        before = kernel.statistics().switches
        start = time.monotonic()
        kernel.sleep(0.05)
        assert 0.05 <= time.monotonic() - start < 1
        assert kernel.statistics().switches > before + 1
        assert host.calls("rumpuser_cv_timedwait")[-1][-1] == "50000000"


def test_many_threads_use_it_at_once() -> None:
    with booted() as (kernel, _):
        names = [f"virt{number}" for number in range(1, 9)]

        raised: list[BaseException] = []

        def work(name: str) -> None:
            try:
                for _ in range(20):
                    kernel.sleep(0.001)
                    assert kernel.statistics().lwps > 3
                    assert kernel.interfaces()[0].name == "virt0"
                    with pytest.raises(MiniKernelError, match="there is none"):
                        kernel.destroy_interface(name)
            except BaseException as error:
                raised.append(error)

        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert raised == []
        assert kernel.statistics().lwps == 4  # swapper, softnet, receiver, this one
        assert kernel.statistics().waits > 0


def test_a_host_without_the_symbols_is_refused() -> None:
    with pytest.raises(MiniKernelError, match="rumpuser_init: nobody exports"):
        MiniKernel(ctypes.CDLL("libc.so.6")).boot()


@pytest.mark.parametrize("answer", ["0", "-1", "many", "", None])
def test_a_number_of_cpus_that_is_none(answer: str | None) -> None:
    def getparam(name: bytes, buffer: int, size: int) -> int:
        if answer is None:
            return 2
        ctypes.memmove(buffer, answer.encode() + b"\0", len(answer) + 1)
        return 0

    with machine({"getparam": getparam}) as host:
        before = resources()
        with pytest.raises(MiniKernelError, match="NCPU"):
            MiniKernel(host.hypervisor).boot()
        assert new_resources(before) == set()
        assert host.memory.held == {}


def test_the_hypervisor_closed_under_the_kernel() -> None:
    """Families stop, slots answer no more; the kernel reports and goes down."""
    with machine() as host:
        kernel = MiniKernel(host.hypervisor).boot()
        kernel.create_interface("virt0", "wire", ADDRESSES)
        Hypervisor.close(host.hypervisor)
        error = finish(kernel.shutdown)
        assert error is None or isinstance(error, ContextError)
        assert not kernel.running
