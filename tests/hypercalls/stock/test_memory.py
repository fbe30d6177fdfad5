"""Allocations and mappings, side by side."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_void_p
from typing import Any

import pytest

from tests.hypercalls.stock.sides import Side, both, differ, differ_alone, run_both

pytestmark = pytest.mark.rump


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


EXHAUSTED = """
import resource
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 26),) * 2)
where = c_void_p(1)
print(call("malloc", 1 << 30, 0, byref(where)), where.value)
print(call("anonmmap", None, 1 << 30, 0, 0, byref(where)), where.value)
print(call("malloc", 4096, 4096, byref(where)), bool(where.value))
call("free", where, 4096)
call("free", None, 0)
"""


def test_exhausted() -> None:
    """No memory is ENOMEM; what fits into what is left is still given."""
    stock, ours = run_both(EXHAUSTED)
    assert stock == ours == (0, "12 None\n12 None\n0 True\n", "")


def test_alignment_of_mappings(
    sides: tuple[Side, Side], capfd: pytest.CaptureFixture[str]
) -> None:
    def mapping(side: Side) -> int:
        where = c_void_p()
        assert side.call("anonmmap", None, 4096, 30, 0, byref(where)) == 0
        assert where.value
        side.call("unmap", where, 4096)
        return where.value % (1 << 30)

    stock, ours = differ(sides, "rumpuser_anonmmap with alignbit", mapping)
    assert (stock != 0, ours) == (True, 0)
    assert "not supported" in capfd.readouterr().err


def test_wrong_alignment() -> None:
    stock, ours = differ_alone(
        "rumpuser_malloc with a wrong alignment",
        "print(call('malloc', 10, 24, byref(c_void_p())))",
    )
    assert stock[0] == -6
    assert ours[:2] == (0, "22\n")
    assert "alignment 24" in ours[2]


@pytest.mark.parametrize("first", ["call('free', where, 24)", "where.value += 8"])
def test_wrong_free(first: str) -> None:
    work = "where = c_void_p()\ncall('malloc', 24, 0, byref(where))\n"
    stock, ours = differ_alone(
        "rumpuser_free of what is not allocated",
        f"{work}{first}\ncall('free', where, 24)\nprint('alive')",
    )
    assert stock[0] in (-6, -11)
    assert ours[:2] == (0, "alive\n")
    assert "not from rumpuser_malloc, or freed already" in ours[2]
