"""Allocations and mappings."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_size_t, c_void_p

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.support import Setup


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


def test_free_refuses(setup: Setup) -> None:
    """What was not allocated, or is free already, is left alone and reported."""
    address, other = c_void_p(), ctypes.create_string_buffer(64)
    inside = ctypes.addressof(other)
    for _ in range(2):
        assert setup.call("malloc", 100, 0, byref(address)) == 0
        setup.call("free", address, 100)
        setup.call("free", address, 100)
    setup.call("malloc", 100, 64, byref(address))
    assert address.value
    for wrong in (inside, address.value + 8, 1, (1 << 64) - 1):
        setup.call("free", wrong, 100)
    ctypes.memset(address.value, 0xFF, 100)
    setup.call("free", address, 100)
    assert sum(setup.hv.reporter.problems.values()) == 6
    text = f"memory at {inside:#x}: not from rumpuser_malloc, or freed already"
    assert text in "".join(setup.reports)


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
