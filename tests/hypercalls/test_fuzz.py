"""Any numbers where a kernel should give handles: an errno or a report, no crash."""

from __future__ import annotations

from ctypes import byref
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rumphyper.hypercalls.catalogue import CATALOGUE, Hypercall
from rumphyper.hypercalls.errno import Errno, errno_name
from tests.hypercalls.support import Setup

HANDLES = {"struct rumpuser_mtx *", "struct rumpuser_rw *", "struct rumpuser_cv *",
           "struct virtif_user *"}  # fmt: skip
NOWHERE = b"/no/such/folder/"
"""In front of every string: none shall name a file that is or can be made."""

WORD = st.integers(0, (1 << 64) - 1)
NUMBERS = {
    "int": st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-4, 4),
    "int64_t": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-4, 4),
    "long": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-4, 4),
    "uint64_t": WORD,
    "size_t": WORD,
}
EXCLUDED = {
    "rumpuser_clock_sleep",  # sleeps as long as it is told
    "rumpuser_thread_create",  # runs what it is given
    "rumpuser_kill",
    "rumpuser_mutex_init",
    "rumpuser_exit",
    "rumpuser_malloc",  # aligned as it is told, with the memory that costs
}


def fuzzable(call: Hypercall) -> bool:
    """Whether nothing but handles, numbers, strings and results is wanted."""
    if call.noreturn or call.variadic or call.name in EXCLUDED:
        return False
    kinds = [argument.type for argument in call.arguments]
    return all(
        kind.spelling in HANDLES
        or kind.spelling in NUMBERS
        or kind.spelling == "const char *"
        or hasattr(kind.ctype, "contents")
        or argument.name == "cookie"
        for argument, kind in zip(call.arguments, kinds, strict=True)
    )


CALLS = [call for call in CATALOGUE.values() if fuzzable(call)]


def test_the_fuzz_covers_much() -> None:
    """All locks but mutex_init are among them, and more."""
    names = {call.name for call in CALLS}
    locks = {name for name, call in CATALOGUE.items() if call.family == "locks"}
    assert locks - names == {"rumpuser_mutex_init"}
    assert {"rumpuser_getfileinfo", "rumpuser_thread_join", "rumpcomp_virt_dying",
            "rumpcomp_shmif_watchsetup", "rumpuser_close"} <= names  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_numbers(data: st.DataObject) -> None:
    """Results are errno values that NetBSD knows; nothing raises or crashes."""
    setup = fuzzed()
    setup.reports.clear()
    call = data.draw(st.sampled_from(CALLS))
    values: list[Any] = []
    for argument in call.arguments:
        kind = argument.type
        if kind.spelling == "const char *":
            text = st.binary(max_size=40).filter(lambda octets: b"\0" not in octets)
            name = data.draw(text | st.none())
            values.append(name and NOWHERE + name)
        elif hasattr(kind.ctype, "contents"):
            values.append(byref(kind.ctype._type_(data.draw(WORD))))
        elif argument.name in ("fd", "handle"):
            values.append(data.draw(st.integers(1000, 1 << 30) | st.just(-1)))
        elif kind.spelling in NUMBERS:
            values.append(data.draw(NUMBERS[kind.spelling]))
        else:
            values.append(data.draw(WORD))
    result = setup.call(call.name, *values)
    if call.fails_with_errno:
        assert result == 0 or errno_name(result) in Errno.__members__
    assert not [text for text in setup.reports if "Traceback" in text]


_setup: list[Setup] = []


def fuzzed() -> Setup:
    """One hypervisor for all examples."""
    if not _setup:
        _setup.append(Setup())
    return _setup[0]
