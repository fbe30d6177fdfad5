"""Side by side with the stock librumpuser: same inputs, same outputs, same errno.

The stock library is opened on its own and called by the same prototypes as
Python's families, with a kernel's upcalls of the same kind. RTLD_DEEPBIND is
needed for that: it calls itself by its own symbols (rumpuser_curlwp in each
mutex_enter), which would be those of the thunks where these are global.
"""

from __future__ import annotations

import ctypes
import errno as host
import os
import stat
import threading
import time
from collections.abc import Callable
from ctypes import byref, c_int, c_int64, c_long, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls.catalogue import lookup
from rumphyper.hypercalls.errno import Errno, to_netbsd
from rumphyper.hypercalls.signals import to_host
from tests.hypercalls.support import Kernel, Setup
from tests.hypercalls.test_files import iovecs

pytestmark = pytest.mark.rump

Call = Callable[..., Any]


class Side:
    """One of the two: calls by name, and the upcalls that it made."""

    def __init__(self, name: str, call: Call, kernel: Kernel) -> None:
        self.name = name
        self.call = call
        self.kernel = kernel

    def made(self, name: str, *values: Any) -> int:
        """A handle from an init function."""
        handle = c_void_p()
        self.call(name, byref(handle), *values)
        assert handle.value
        return handle.value

    def __repr__(self) -> str:
        return self.name


@pytest.fixture(scope="module")
def sides(stock_path: str) -> tuple[Side, Side]:
    """The stock library, and Python's families."""
    mode = os.RTLD_LOCAL | os.RTLD_DEEPBIND
    library = ctypes.CDLL(stock_path, mode, use_errno=True)
    kernel = Kernel()

    def call(name: str, *values: Any) -> Any:
        record = lookup(name)
        kinds = [argument.type.ctype for argument in record.arguments]
        prototype = ctypes.CFUNCTYPE(record.result.ctype, *kinds, use_errno=True)
        return prototype((record.name, library))(*values)

    assert call("init", 17, byref(kernel.table)) == 0
    setup = Setup()

    def ours(name: str, *values: Any) -> Any:
        record = lookup(name)
        kinds = [argument.type.ctype for argument in record.arguments]
        prototype = ctypes.CFUNCTYPE(record.result.ctype, *kinds, use_errno=True)
        return prototype(setup.hv.symbol(name))(*values)

    return Side("stock", call, kernel), Side("python", ours, setup.kernel)


def both(sides: tuple[Side, Side], function: Callable[[Side], Any]) -> Any:
    """Do the same on both sides; the outcomes must be equal. Returns one."""
    outcomes = []
    for side in sides:
        side.kernel.events.clear()
        outcome = function(side)
        upcalls = [(name, values[:1]) for name, _, values in side.kernel.events]
        outcomes.append((outcome, upcalls))
    assert outcomes[0] == outcomes[1]
    return outcomes[0][0]


def test_errno_table(sides: tuple[Side, Side]) -> None:
    """Every host errno, known or not, becomes the same NetBSD errno."""
    numbers = both(
        sides, lambda side: [side.call("errtrans", n) for n in range(-2, 300)]
    )
    assert numbers == [to_netbsd(n) for n in range(-2, 300)]
    assert numbers[2 + host.ETIMEDOUT] == 60


@pytest.mark.parametrize("size", [0, 1, 4095, 1 << 20, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("alignment", [0, 8, 64, 1 << 16])
def test_malloc(sides: tuple[Side, Side], size: int, alignment: int) -> None:
    """Result, and whether there is memory, aligned."""

    def allocate(side: Side) -> Any:
        where = c_void_p(1)
        result = side.call("malloc", size, alignment, byref(where))
        address = where.value
        if result == 0:
            side.call("free", where, size)
        return result, address is None, (address or 0) % (alignment or 8)

    both(sides, allocate)


def test_mmap(sides: tuple[Side, Side]) -> None:
    """Good and bad sizes."""

    def mapping(side: Side) -> Any:
        results = []
        for size in (0, 1, 4096, 1 << 50, (1 << 64) - 1):
            where = c_void_p()
            results.append(side.call("anonmmap", None, size, 0, 0, byref(where)))
            if results[-1] == 0:
                assert where.value
                results.append(ctypes.string_at(where.value, size) == bytes(size))
                side.call("unmap", where, size)
        return results

    both(sides, mapping)


def test_clocks(sides: tuple[Side, Side]) -> None:
    """They agree to the second, and sleep alike."""

    def read(side: Side) -> Any:
        seconds, nanoseconds = c_int64(), c_long()
        found = []
        for clock in (0, 1):
            result = side.call(
                "clock_gettime", clock, byref(seconds), byref(nanoseconds)
            )
            now = time.clock_gettime(
                time.CLOCK_MONOTONIC if clock else time.CLOCK_REALTIME
            )
            found.append(
                (result, abs(seconds.value + nanoseconds.value / 1e9 - now) < 1)
            )
        return found

    assert both(sides, read) == [(0, True), (0, True)]

    def sleep(side: Side) -> Any:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 5_000_000
        return [
            side.call("clock_sleep", 0, 0, 1_000_000),
            side.call("clock_sleep", 1, now // 10**9, now % 10**9),
            side.call("clock_sleep", 1, 0, 0),
            side.call("clock_sleep", 0, 0, 10**9),
            side.call("clock_sleep", 0, -1, 0),
            side.call("clock_sleep", 1, 0, -1),
        ]

    both(sides, sleep)


def test_getparam(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and rooms of all kinds."""
    monkeypatch.setenv("HYPER_TEST", "value")
    monkeypatch.setenv("HYPER_EMPTY", "")

    def ask(side: Side) -> Any:
        answers = []
        for name in (
            b"HYPER_TEST", b"HYPER_EMPTY", b"HYPER_NONE", b"_NONE", b"",
            b"_RUMPUSER_NCPU", b"_RUMPUSER_HOSTNAME",
        ):  # fmt: skip
            for room in (2, 5, 6, 256):
                buffer = ctypes.create_string_buffer(256)
                result = side.call("getparam", name, buffer, room)
                answers.append((result, buffer.value if result == 0 else b""))
        return answers

    for ncpu in (None, "1", "host", "12345"):
        if ncpu is None:
            monkeypatch.delenv("RUMP_NCPU", raising=False)
        else:
            monkeypatch.setenv("RUMP_NCPU", ncpu)
        both(sides, ask)


def test_getrandom(sides: tuple[Side, Side]) -> None:
    """As many octets as are asked for, up to the stock library's 32."""

    def ask(side: Side) -> Any:
        results = []
        for size in (0, 1, 32):
            buffer, done = ctypes.create_string_buffer(64), c_size_t(77)
            result = side.call("getrandom", buffer, size, 3, byref(done))
            results.append((result, done.value, buffer.raw[size:] == bytes(64 - size)))
        return results

    both(sides, ask)


def test_files(sides: tuple[Side, Side], tmp_path: Path) -> None:
    """A sequence of file calls, good and bad, with the same file at its end."""

    def work(side: Side) -> Any:
        path = tmp_path / side.name
        name, fd, done = os.fsencode(path), c_int(-1), c_size_t(99)
        size, kind = c_uint64(99), c_int(99)
        out: list[Any] = []
        for mode in (0, 2, 2 | 4, 2 | 4 | 8, 3, 1 | 16, 2):
            out.append(side.call("open", name, mode, byref(fd)))
        a, b = ctypes.create_string_buffer(b"abcd", 4), ctypes.create_string_buffer(3)
        for parts, offset in (((a, b), 0), ((a,), 100), ((), 5), ((b,), -7)):
            iov = iovecs(*parts)
            result = side.call("iovwrite", fd, iov, len(parts), offset, byref(done))
            out.append((result, done.value))
        into = ctypes.create_string_buffer(200)
        for offset in (0, 2, 98, 1000, -7):
            ctypes.memset(into, 0x55, 200)
            result = side.call("iovread", fd, iovecs(into), 1, offset, byref(done))
            out.append((result, done.value, into.raw))
        before = len(side.kernel.events)
        for flags in range(16):
            out.append(side.call("syncfd", fd, flags, 0, 0))
        del side.kernel.events[before:]  # the stock one keeps the CPU meanwhile
        for target in (name, bytes(tmp_path), b"/dev/null", b"/none", b"/dev/zero"):
            out.append(side.call("getfileinfo", target, byref(size), byref(kind)))
            out.append(kind.value)
            out.append(size.value if target == name else 0)
        bad = c_int(4711)
        out.append(side.call("iovread", bad, iovecs(into), 1, -1, byref(done)))
        out.append(side.call("close", fd))
        out.append(side.call("close", bad))
        out.append(side.call("open", b"/", 2, byref(fd)))
        out.append(side.call("open", name + b"/x", 0, byref(fd)))
        out.append(side.call("open", b"x" * 5000, 0, byref(fd)))
        out.append((path.read_bytes(), stat.S_IMODE(path.stat().st_mode)))
        return out

    both(sides, work)


def test_streams(sides: tuple[Side, Side]) -> None:
    """Pipes: no offset possible, short reads, a reader that has gone."""

    def work(side: Side) -> Any:
        reader, writer = os.pipe()
        data, done = ctypes.create_string_buffer(b"abc", 3), c_size_t()
        out = [side.call("iovwrite", writer, iovecs(data), 1, -1, byref(done))]
        into = ctypes.create_string_buffer(10)
        out.append(side.call("iovread", reader, iovecs(into), 1, -1, byref(done)))
        out.append((done.value, into.raw[:3]))
        out.append(side.call("iovwrite", writer, iovecs(data), 1, 4, byref(done)))
        os.close(reader)
        out.append(side.call("iovwrite", writer, iovecs(data), 1, -1, byref(done)))
        os.close(writer)
        return out

    results = both(sides, work)
    assert results[-2:] == [Errno.ESPIPE, Errno.EPIPE]


def test_seterrno(sides: tuple[Side, Side]) -> None:
    """The number arrives in C's errno as it is."""

    def work(side: Side) -> list[int]:
        found = []
        for number in (0, 35, 45, 4711):
            ctypes.set_errno(1)
            side.call("seterrno", number)
            found.append(ctypes.get_errno())
        return found

    assert both(sides, work) == [0, 35, 45, 4711]


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


@pytest.fixture
def lwp(sides: tuple[Side, Side]) -> Any:
    """An lwp for this thread on both sides."""
    for side in sides:
        side.call("curlwpop", 2, 0x1000)
    yield 0x1000
    for side in sides:
        side.call("curlwpop", 3, 0x1000)


@pytest.mark.parametrize("flags", [2, 3])
def test_mutexes(sides: tuple[Side, Side], lwp: int, flags: int) -> None:
    """Owner and results through a mutex's life."""

    def work(side: Side) -> Any:
        mtx, owner = side.made("mutex_init", flags), c_void_p(1)
        out: list[Any] = []
        enter = ["mutex_enter", "mutex_tryenter"]
        if flags & 1:
            enter.append("mutex_enter_nowrap")
        for name in enter:
            out.append(side.call(name, mtx))
            side.call("mutex_owner", mtx, byref(owner))
            out.append(owner.value)
            out.append(side.call("mutex_tryenter", mtx))
            out.append(side.call("mutex_exit", mtx))
            side.call("mutex_owner", mtx, byref(owner))
            out.append(owner.value)
        side.call("mutex_destroy", mtx)
        return out

    both(sides, work)


def test_rwlocks(sides: tuple[Side, Side], lwp: int) -> None:
    """What is held and what can be had, in every state that both reach."""

    def work(side: Side) -> Any:
        rw, answer = side.made("rw_init"), c_int(-1)
        out: list[Any] = []

        def look() -> None:
            for kind in (0, 1):
                side.call("rw_held", kind, rw, byref(answer))
                out.append(bool(answer.value) if kind else answer.value)

        def other() -> None:
            for kind in (0, 1):
                result = side.call("rw_tryenter", kind, rw)
                out.append(result)
                if result == 0 and kind == 0:
                    side.call("rw_exit", rw)

        look()
        side.call("rw_enter", 0, rw)
        side.call("rw_enter", 0, rw)
        look()
        out.append(side.call("rw_tryenter", 1, rw))
        out.append(side.call("rw_tryupgrade", rw))  # two readers: never possible
        side.call("rw_exit", rw)
        side.call("rw_exit", rw)
        side.call("rw_enter", 1, rw)
        look()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        side.kernel.events.clear()  # the stock one gives up the CPU to downgrade
        side.call("rw_downgrade", rw)
        side.kernel.events.clear()
        look()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        side.call("rw_exit", rw)
        out.append(side.call("rw_tryenter", 9, rw))
        out.append(side.call("rw_tryenter", 1, rw))
        side.call("rw_exit", rw)
        look()
        side.call("rw_destroy", rw)
        return out

    both(sides, work)


@pytest.mark.parametrize("flags", [1, 2, 3])
def test_condvars(sides: tuple[Side, Side], lwp: int, flags: int) -> None:
    """Results, waiters, and what the kernel finds in its upcalls."""

    def work(side: Side) -> Any:
        mtx, cv = side.made("mutex_init", flags), side.made("cv_init")
        answer, tried = c_int(-1), []

        def look(*values: int) -> None:
            result = side.call("mutex_tryenter", mtx)
            tried.append(result)
            if result == 0:
                side.call("mutex_exit", mtx)

        side.kernel.on["hyp_backend_schedule"] = look
        side.kernel.on["hyp_backend_unschedule"] = look
        enter = "mutex_enter_nowrap" if flags & 1 else "mutex_enter"
        side.call(enter, mtx)
        out: list[Any] = [side.call("cv_timedwait", cv, mtx, 0, 5_000_000)]
        out.append(side.call("cv_timedwait", cv, mtx, -1, 0))

        def wake() -> None:
            side.call("curlwpop", 2, 0x2000)
            side.call(enter, mtx)
            side.call("cv_has_waiters", cv, byref(answer))
            out.append(answer.value)
            side.call("mutex_exit", mtx)
            side.call("cv_signal", cv)
            side.call("curlwpop", 3, 0x2000)

        thread = threading.Thread(target=wake)
        if flags & 1:
            side.kernel.on.clear()
            thread.start()
            side.call("cv_wait_nowrap", cv, mtx)
            thread.join()
        side.call("cv_has_waiters", cv, byref(answer))
        out.append(answer.value)
        side.call("mutex_exit", mtx)
        side.call("cv_destroy", cv)
        side.call("mutex_destroy", mtx)
        side.kernel.on.clear()
        return out, tried

    both(sides, work)


def test_threads(sides: tuple[Side, Side]) -> None:
    """A thread runs, has its name, is joined; both kinds of end."""
    names: list[str] = []

    def run(argument: int | None) -> int:
        time.sleep(0.05)  # the name comes a moment after the thread
        with open(f"/proc/self/task/{threading.get_native_id()}/comm") as comm:
            names.append(comm.read().rstrip("\n"))
        return 0

    body = ctypes.CFUNCTYPE(c_void_p, c_void_p)(run)

    def work(side: Side) -> Any:
        out: list[Any] = []
        for name in (b"short", b"a name that is far too long"):
            cookie = c_void_p()
            out.append(
                side.call(
                    "thread_create",
                    ctypes.cast(body, c_void_p), None, name, 1, 0, -1, byref(cookie),
                )
            )  # fmt: skip
            out.append(bool(cookie.value))
            out.append(side.call("thread_join", cookie))
        return out

    both(sides, work)
    assert names[0] == names[2] == "short"
    assert names[3] == "a name that is "  # the stock library leaves it unnamed


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


def test_signals(stock_path: str) -> None:
    """Every NetBSD signal number becomes the host's as in the stock library."""
    library = ctypes.CDLL(stock_path, os.RTLD_LOCAL)
    translate = library.rumpuser__sig_rump2host
    for number in range(1, 64):
        assert max(0, translate(number)) == to_host(number), number
