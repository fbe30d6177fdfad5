"""Memory, clocks, settings, console, random, errno, lwps, component, init."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from ctypes import byref, c_int, c_int64, c_long, c_size_t, c_void_p

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.param import Param
from rumphyper.hypercalls.families.random import Random
from tests.hypercalls.support import Kernel, Setup, run_python

LIBC = ctypes.CDLL(None, use_errno=True)


def test_malloc_alignment(setup: Setup) -> None:
    """0 means a pointer's; what posix_memalign refuses is refused."""
    for alignment in (0, 8, 16, 64, 4096, 1 << 20):
        address = c_void_p()
        assert setup.call("malloc", 10, alignment, byref(address)) == 0
        assert address.value
        assert address.value % max(alignment, 8) == 0
        ctypes.memset(address.value, 0xFF, 10)
        setup.call("free", address, 10)
    for alignment in (1, 4, 24, -8):
        address = c_void_p(1)
        assert setup.call("malloc", 10, alignment, byref(address)) == Errno.EINVAL
        assert address.value is None
    assert len(setup.reports) == 4
    assert "alignment 24: not a power of two" in "".join(setup.reports)


def test_malloc_exhausted(setup: Setup) -> None:
    """No memory is ENOMEM and NULL, not the end."""
    address = c_void_p(1)
    assert setup.call("malloc", 1 << 62, 0, byref(address)) == Errno.ENOMEM
    assert address.value is None
    setup.call("free", None, 0)
    assert setup.reports == []


def mapped(address: int) -> str:
    """The line of /proc/self/maps with ``address``, or nothing."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            if low <= address < high:
                return line
    return ""


def test_anonmmap(setup: Setup) -> None:
    """Zeroed, aligned as asked, executable only on request, unmapped whole."""
    page = os.sysconf("SC_PAGESIZE")
    for size, bits, executable in ((1, 0, 0), (3 * page, 21, 0), (page, 12, 1)):
        where = c_void_p()
        result = setup.call("anonmmap", None, size, bits, executable, byref(where))
        assert result == 0
        assert where.value
        assert where.value % (1 << bits) == 0
        assert ctypes.string_at(where.value, size) == bytes(size)
        assert ("x" in mapped(where.value).split()[1]) == bool(executable)
        setup.call("unmap", where, size)
        assert not mapped(where.value)
    assert setup.call("anonmmap", None, 0, 0, 0, byref(where)) == Errno.EINVAL
    assert setup.call("anonmmap", None, 0, 21, 0, byref(where)) == Errno.EINVAL
    assert setup.call("anonmmap", None, 1 << 62, 0, 0, byref(where)) == Errno.ENOMEM
    assert setup.call("anonmmap", None, c_size_t(-1), 21, 0, byref(where)) == 12
    assert setup.call("anonmmap", None, page, 64, 0, byref(where)) == Errno.EINVAL
    setup.call("unmap", c_void_p(page + 1), page)
    assert "munmap refuses" in setup.reports[-1]


def test_clocks(setup: Setup) -> None:
    """Both clocks are the host's; an unknown one is refused."""
    sec, nsec = c_int64(), c_long()
    for clock, host in ((0, time.CLOCK_REALTIME), (1, time.CLOCK_MONOTONIC)):
        before = time.clock_gettime_ns(host)
        assert setup.call("clock_gettime", clock, byref(sec), byref(nsec)) == 0
        now = sec.value * 10**9 + nsec.value
        assert before <= now <= time.clock_gettime_ns(host)
        assert 0 <= nsec.value < 10**9
    assert setup.call("clock_gettime", 2, byref(sec), byref(nsec)) == Errno.EINVAL


def test_sleep(setup: Setup) -> None:
    """Relative or absolute, at least so long, without the virtual CPU."""
    start = time.monotonic()
    assert setup.call("clock_sleep", 0, 0, 30_000_000) == 0
    assert 0.03 <= time.monotonic() - start < 1
    assert setup.kernel.names()[-2:] == [
        "hyp_backend_unschedule",
        "hyp_backend_schedule",
    ]
    assert setup.kernel.events[-1][2] == (Kernel.locks, None)
    until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 30_000_000
    assert setup.call("clock_sleep", 1, until // 10**9, until % 10**9) == 0
    assert time.clock_gettime_ns(time.CLOCK_MONOTONIC) >= until
    start = time.monotonic()
    assert setup.call("clock_sleep", 1, 0, 0) == 0  # long over
    assert time.monotonic() - start < 0.5
    assert setup.call("clock_sleep", 0, 0, 10**9) == Errno.EINVAL
    assert setup.call("clock_sleep", 0, -1, 0) == Errno.EINVAL
    assert setup.call("clock_sleep", 5, 0, 0) == Errno.EINVAL


def test_sleep_outlasts_signals(setup: Setup) -> None:
    """A signal does not end a relative sleep early."""
    import signal

    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        start = time.monotonic()
        assert setup.call("clock_sleep", 0, 0, 100_000_000) == 0
        assert time.monotonic() - start >= 0.1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) >= 2


def param(setup: Setup, name: str, room: int = 64) -> tuple[int, str]:
    """The result of getparam and the string."""
    buffer = ctypes.create_string_buffer(room + 8)
    ctypes.memset(buffer, 0x55, room + 8)
    result = setup.call("getparam", name.encode(), buffer, room)
    assert buffer.raw[room:] == b"\x55" * 8
    return result, buffer.value.decode("latin-1") if result == 0 else ""


def test_getparam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings go before the environment; NCPU and HOSTNAME always answer."""
    monkeypatch.setenv("RUMP_VERBOSE", "1")
    monkeypatch.setenv("HYPER_LONG", "x" * 64)
    monkeypatch.delenv("RUMP_NCPU", raising=False)
    setup = Setup(python={"settings": {"RUMP_MEMLIMIT": "16m", "HOME": None}})
    assert param(setup, "RUMP_VERBOSE") == (0, "1")
    assert param(setup, "RUMP_MEMLIMIT") == (0, "16m")
    assert param(setup, "HOME") == (Errno.ENOENT, "")
    assert param(setup, "NO_SUCH_NAME") == (Errno.ENOENT, "")
    assert param(setup, "HYPER_LONG") == (Errno.ERANGE, "")
    assert param(setup, "HYPER_LONG", 65) == (0, "x" * 64)
    assert param(setup, "_NO_SUCH_NAME") == (Errno.EINVAL, "")
    assert param(setup, "_RUMPUSER_NCPU") == (0, "2")
    monkeypatch.setenv("RUMP_NCPU", "7")
    assert param(setup, "_RUMPUSER_NCPU") == (0, "7")
    monkeypatch.setenv("RUMP_NCPU", "host")
    assert param(setup, "_RUMPUSER_NCPU") == (0, str(os.cpu_count()))
    result, name = param(setup, "_RUMPUSER_HOSTNAME", 256)
    assert result == 0
    assert name == f"rump-{os.getpid():05d}.{os.uname().nodename}"
    assert param(setup, "_RUMPUSER_HOSTNAME", 8) == (0, name[:7])
    assert Param({"X": None}).value("X") is None


def test_console(setup: Setup) -> None:
    """Characters become lines; whatever is left comes out at the end."""
    for octet in b"NetBSD \xc3\xa9\n\xffnext":
        setup.call("putchar", octet)
    assert setup.console == ["NetBSD é\n"]
    setup.hv.close()
    assert setup.console == ["NetBSD é\n", "\ufffdnext"]


def test_console_without_line_ends(setup: Setup) -> None:
    """A kernel that never ends its line does not fill the memory."""
    putchar = setup.hv.function("putchar")
    for _ in range(10_000):
        putchar(ord("x"))
    assert sum(map(len, setup.console)) == 8192


def test_dprintf_widths(setup: Setup) -> None:
    """Every integer width and string comes out as the C library has it."""
    address = setup.hv.symbol("rumpuser_dprintf")
    types = [ctypes.c_char_p, c_int, ctypes.c_uint, c_long, c_int64, ctypes.c_char_p]
    dprintf = ctypes.CFUNCTYPE(None, *types, c_int, c_size_t)(address)
    dprintf(b"%d %#x %ld %lld [%8s] %c %zu\n", -5, 0xFFFFFFFF, -1, -(1 << 62),
            b"net", 65, 1 << 63)  # fmt: skip
    assert setup.debug == [
        f"-5 0xffffffff -1 {-(1 << 62)} [     net] A {1 << 63}\n",
    ]
    plain = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(address)
    plain(b"100 %%\n")
    plain(b"x" * 9000)
    assert setup.debug[1] == "100 %\n"
    assert setup.debug[2] == "x" * 4095


def test_getrandom(setup: Setup) -> None:
    """Octets arrive; a source that gives fewer or would wait may say so."""
    buffer = ctypes.create_string_buffer(64)
    done = c_size_t()
    for flags in (0, 1, 2, 3):
        ctypes.memset(buffer, 0, 64)
        assert setup.call("getrandom", buffer, 48, flags, byref(done)) == 0
        assert done.value == 48
        assert buffer.raw[:48].count(0) < 12
        assert buffer.raw[48:] == bytes(16)

    def waits(count: int, flags: int) -> bytes:
        raise BlockingIOError(11, "not yet")

    setup.hv.bind("getrandom", Random(waits).getrandom)
    assert setup.call("getrandom", buffer, 48, 2, byref(done)) == Errno.EAGAIN
    ctypes.memset(buffer, 0, 64)
    seeded = Random(lambda count, flags: bytes(range(count + 5)))
    setup.hv.bind("getrandom", seeded.getrandom)
    assert setup.call("getrandom", buffer, 4, 0, byref(done)) == 0
    assert (done.value, buffer.raw[:4]) == (4, b"\0\1\2\3")
    assert buffer.raw[4:] == bytes(60)  # not a word more than there is room for
    assert setup.reports == []


def test_seterrno_reaches_c(setup: Setup) -> None:
    """The number stays in the thread's errno, also on threads of C's own."""
    seterrno = ctypes.CFUNCTYPE(None, c_int, use_errno=True)(
        setup.hv.symbol("rumpuser_seterrno")
    )
    ctypes.set_errno(0)
    seterrno(45)
    assert ctypes.get_errno() == 45
    found = []

    def other() -> None:
        seterrno(7)
        found.append(ctypes.get_errno())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert (found, ctypes.get_errno()) == ([7], 45)


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


EXIT = """
import atexit, sys
from tests.hypercalls.support import Setup
setup = Setup({options})
atexit.register(lambda: print("atexit"))
sys.stdout.write("unflushed ")
{before}
setup.call("rumpuser_exit", {status})
print("not reached")
"""


def run_exit(
    status: int, options: str = "", before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Call rumpuser_exit in a process of its own."""
    source = EXIT.format(status=status, options=options, before=before)
    return run_python(source)


def test_exit_is_orderly() -> None:
    """What was written comes out, atexit functions run, the status arrives."""
    done = run_exit(7)
    assert done.returncode == 7
    assert done.stdout.startswith("unflushed ")
    assert "atexit" in done.stdout
    assert "not reached" not in done.stdout
    hook = "python={'on_exit': lambda status: print('status', status) or 1/0}"
    done = run_exit(0, hook)
    assert done.returncode == 0
    assert "status 0" in done.stdout


def test_exit_from_a_kernel_thread() -> None:
    """It ends the process from there too, while the main thread waits."""
    before = """
import ctypes, threading
t = ctypes.c_void_p()
exit_ = ctypes.c_void_p(setup.hv.symbol("rumpuser_exit"))
setup.call("thread_create", exit_, 5, b"ender", 0, 0, -1, ctypes.byref(t))
threading.Event().wait(30)
"""
    done = run_exit(0, before=before)
    assert (done.returncode, done.stderr) == (5, "")


def test_panic_aborts() -> None:
    """A panic ends with SIGABRT, and what was written is not lost."""
    done = run_exit(-1)
    assert done.returncode == -6
    assert "unflushed" in done.stdout
    assert "not reached" not in done.stdout


def test_kill_translates(setup: Setup) -> None:
    """NetBSD's SIGUSR1 (30) is the host's; signals it lacks are ignored."""
    import signal

    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        assert setup.call("kill", -1, 30) == 0
        assert setup.call("kill", -1, 29) == 0  # SIGINFO
        assert setup.call("kill", -1, 4711) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
    assert setup.reports == []
