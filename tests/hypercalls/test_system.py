"""Settings, console, random numbers, errno."""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import byref, c_int, c_int64, c_long, c_size_t

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.param import Param
from rumphyper.hypercalls.families.random import Random
from tests.hypercalls.support import Setup


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
