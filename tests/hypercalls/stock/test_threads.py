"""Threads, lwps and component functions, side by side."""

from __future__ import annotations

import ctypes
import threading
import time
from ctypes import byref, c_void_p
from typing import Any

import pytest

from tests.hypercalls.stock.sides import Side, both, differ, run_both

pytestmark = pytest.mark.rump


def test_threads(sides: tuple[Side, Side]) -> None:
    """A thread runs with its argument and name and is joined."""
    names: list[str] = []

    def run(argument: int | None) -> int:
        time.sleep(0.02)  # the name comes a moment after the thread
        with open(f"/proc/self/task/{threading.get_native_id()}/comm") as comm:
            names.append(f"{comm.read().rstrip()} {argument}")
        return 0

    body = ctypes.CFUNCTYPE(c_void_p, c_void_p)(run)

    def work(side: Side, name: bytes = b"short") -> Any:
        names.clear()
        cookie = c_void_p()
        result = side.call(
            "thread_create",
            ctypes.cast(body, c_void_p), 0x1234, name, 1, 0, -1, byref(cookie),
        )  # fmt: skip
        made = bool(cookie.value)
        return result, made, side.call("thread_join", cookie), list(names)

    assert both(sides, work) == (0, True, 0, [f"short {0x1234}"])
    stock, ours = differ(
        sides,
        "rumpuser_thread_create with a long name",
        lambda side: work(side, b"a name that is far too long"),
    )
    assert not stock[3][0].startswith("a name")
    assert ours[3] == [f"a name that is {0x1234}"]


ENDS = """
from tests.seccomp import refuse_threads
exit_ = c_void_p(side.address("rumpuser_thread_exit"))
for mustjoin in (1, 0):
    for priority, cpu in ((0, -1), (99, 0), (-5, 3)):
        cookie = c_void_p()
        pointer = byref(cookie) if mustjoin else None
        how = (mustjoin, priority, cpu, pointer)
        print(call("thread_create", exit_, None, None, *how))
        if mustjoin:
            print(call("thread_join", cookie))
end = time.monotonic() + 10
while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < end:
    time.sleep(0.001)
print(os.listdir("/proc/self/task") == [str(os.getpid())])
refuse_threads()
start = time.monotonic()
print(call("thread_create", exit_, None, None, 0, 0, -1, None))
print(0.05 < time.monotonic() - start < 5)
"""


def test_ends_of_threads() -> None:
    """thread_exit ends both kinds; without a thread to be had it is EAGAIN.

    Only after ten attempts: other threads may be about to end.
    """
    stock, ours = run_both(ENDS)
    assert stock == ours
    assert stock[1] == "0\n0\n" * 3 + "0\n" * 3 + "True\n35\nTrue\n"


def test_lwps(sides: tuple[Side, Side]) -> None:
    """SET and CLEAR, on two threads."""

    def work(side: Side) -> Any:
        out = [side.call("curlwp")]
        side.call("curlwpop", 0, 0x1000)
        side.call("curlwpop", 2, 0x1000)
        out.append(side.call("curlwp"))
        thread = threading.Thread(target=lambda: out.append(side.call("curlwp")))
        thread.start()
        thread.join()
        side.call("curlwpop", 3, 0x1000)
        out.append(side.call("curlwp"))
        return out

    assert both(sides, work) == [None, 0x1000, None, None]


def test_component(sides: tuple[Side, Side]) -> None:
    """The same upcalls with the same arguments."""

    def work(side: Side) -> Any:
        side.kernel.on["hyp_lwproc_curlwp"] = lambda: 0x7000
        cookie = side.call("component_unschedule")
        side.call("component_schedule", cookie)
        side.call("component_kthread")
        side.call("component_kthread_release")
        side.call("component_switchlwp", 0x9000)
        return cookie, side.call("component_curlwp"), list(side.kernel.names())

    both(sides, work)
