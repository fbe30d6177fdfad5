"""How a trace shows arguments and results."""

from __future__ import annotations

import ctypes
import re
from ctypes import byref, c_int, c_int64, c_long, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls import ctype, printf, show
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.show import View, quoted
from rumphyper.hypercalls.trace import Trace, describe
from tests.hypercalls.support import Setup
from tests.hypercalls.test_files import iovecs


def last(trace: Trace) -> str:
    """The last record as ``name(arguments) = result``."""
    record = trace.records[-1]
    result = f" = {record.result}" if record.result else ""
    return f"{record.name}({', '.join(record.arguments)}){result}"


@pytest.fixture
def traced() -> tuple[Setup, Trace]:
    """A hypervisor that is traced from the start."""
    trace = Trace()
    return Setup(trace=trace), trace


def test_values_are_shown_as_c_has_them(
    traced: tuple[Setup, Trace], tmp_path: Path
) -> None:
    """Strings quoted, names for numbers, out-parameters by their value."""
    setup, trace = traced
    where, number, done = c_void_p(), c_int(), c_size_t()
    setup.call("malloc", 100, 64, byref(where))
    shown = f"[{where.value:#x}]" if where.value else ""
    assert last(trace) == f"rumpuser_malloc(100, 64, {shown}) = 0"
    setup.call("malloc", 1 << 62, 64, byref(where))
    pointer = f"{ctypes.addressof(where):#x}"
    assert last(trace) == f"rumpuser_malloc({1 << 62}, 64, {pointer}) = 12 ENOMEM"
    setup.call("free", None, 0)
    assert last(trace) == "rumpuser_free(NULL, 0)"
    path = tmp_path / 'a "file"\n'
    setup.call("open", bytes(path), 2 | 4 | 8 | 16, byref(number))
    quoted = str(path).replace('"', '\\"').replace("\n", "\\n")
    cut = f'"{quoted}"'
    if len(bytes(path)) > show.TEXT_LIMIT:
        cut = show.quoted(bytes(path))
        assert cut.endswith('"...')
    flags = "|".join(f"RUMPUSER_OPEN_{w}" for w in ("RDWR", "CREATE", "EXCL", "BIO"))
    assert last(trace) == f"rumpuser_open({cut}, {flags}, [{number.value}]) = 0"
    one, two = ctypes.create_string_buffer(3), ctypes.create_string_buffer(5)
    parts = iovecs(one, two)
    setup.call("iovwrite", number, parts, 2, -1, byref(done))
    assert last(trace) == (
        f"rumpuser_iovwrite({number.value}, [{{{ctypes.addressof(one):#x}, 3}}, "
        f"{{{ctypes.addressof(two):#x}, 5}}], 2, RUMPUSER_IOV_NOSEEK, [8]) = 0"
    )
    setup.call("iovread", number, c_void_p(1), 2, 0, byref(done))
    assert "(3, 0x1, 2, 0," in re.sub(r"\(\d+,", "(3,", last(trace))
    assert trace.records[-1].result == "14 EFAULT"
    setup.call("close", number)
    buffer = ctypes.create_string_buffer(32)
    setup.call("getparam", b"_RUMPUSER_NCPU", buffer, 32)
    expected = f'rumpuser_getparam("_RUMPUSER_NCPU", "{buffer.value.decode()}", 32)'
    assert last(trace) == f"{expected} = 0"
    setup.call("getrandom", buffer, 8, 3, byref(done))
    flags = "RUMPUSER_RANDOM_HARD|RUMPUSER_RANDOM_NOWAIT"
    address = f"{ctypes.addressof(buffer):#x}"
    assert last(trace) == f"rumpuser_getrandom({address}, 8, {flags}, [8]) = 0"
    seconds, nanoseconds = c_int64(), c_long()
    setup.call("clock_gettime", 0, byref(seconds), byref(nanoseconds))
    values = f"[{seconds.value}], [{nanoseconds.value}]"
    start = "rumpuser_clock_gettime(RUMPUSER_CLOCK_RELWALL, "
    assert last(trace) == f"{start}{values}) = 0"
    setup.call("putchar", 10)
    assert last(trace) == r"rumpuser_putchar('\n')"
    setup.call("seterrno", 35)
    assert last(trace) == "rumpuser_seterrno(35 EAGAIN)"
    setup.call("component_errtrans", 4711)
    assert last(trace) == "rumpuser_component_errtrans(4711) = 22 EINVAL"
    assert trace.records[-1].errno == 0  # that was the answer, not a failure
    setup.call("curlwpop", 2, 0x1000)
    assert last(trace) == "rumpuser_curlwpop(RUMPUSER_LWP_SET, 0x1000)"
    assert setup.call("curlwp") == 0x1000
    assert last(trace) == "rumpuser_curlwp() = 0x1000"


def test_dprintf_is_recorded(traced: tuple[Setup, Trace]) -> None:
    """A variadic call shows as many arguments as its format has."""
    setup, trace = traced
    types = (ctypes.c_char_p, c_int)
    address = setup.hv.symbol("rumpuser_dprintf")
    ctypes.CFUNCTYPE(None, *types)(address)(b"%d\n", 5)
    assert last(trace) == r'rumpuser_dprintf("%d\n", 5)'
    assert setup.debug == ["5\n"]


@pytest.mark.parametrize(
    ("format", "values", "printed", "traced_as"),
    [
        (b"x\n", (), "x\n", ""),
        (b"100%%\n", (), "100%\n", ""),
        (b"%d %i", (c_int(-5), c_int(7)), "-5 7", ", -5, 7"),
        (b"%u", (c_int(-1),), "4294967295", ", 0xffffffff"),
        (b"%ld", (ctypes.c_long(-(1 << 40)),), "-1099511627776", ", -1099511627776"),
        (b"%lld", (ctypes.c_int64(-1),), "-1", ", -1"),
        (b"%hhd", (c_int(300),), "44", ", 44"),
        (b"%#x %zu", (c_int(255), c_size_t(3)), "0xff 3", ", 0xff, 0x3"),
        (b"%c%c", (c_int(65), c_int(10)), "A\n", r", 'A', '\n'"),
        (b"[%-8s]", (ctypes.c_char_p(b"ab"),), "[ab      ]", ', "ab"'),
        (b"%.*s", (c_int(2), ctypes.c_char_p(b"abc")), "ab", ', 2, "ab"'),
        (b"%.1s", (ctypes.c_char_p(b"abc"),), "a", ', "a"'),
        (b"%*d", (c_int(4), c_int(2)), "   2", ", 4, 2"),
        (b"%p", (c_void_p(0x1234),), "0x1234", ", 0x1234"),
        (b"%d%", (c_int(1),), "1%", ", 1"),
    ],
)
def test_what_follows_a_format(
    traced: tuple[Setup, Trace],
    format: bytes,
    values: tuple[Any, ...],
    printed: str,
    traced_as: str,
) -> None:
    """What the trace takes for the arguments is what libc prints."""
    setup, trace = traced
    kinds = [type(value) for value in values]
    address = setup.hv.symbol("rumpuser_dprintf")
    ctypes.CFUNCTYPE(None, ctypes.c_char_p, *kinds)(address)(format, *values)
    if format != b"%d%":  # which C leaves open
        assert setup.debug == [printed]
    form = quoted(format)
    assert last(trace) == f"rumpuser_dprintf({form}{traced_as})"


def test_more_conversions_than_words() -> None:
    """As many as the words that were passed on; then it says so."""
    assert printf.arguments(b"%d" * 5, [1, 2], live=True) == ["1", "2", "..."]
    assert printf.arguments(b"%f %d", [1, 2], live=True) == ["..."]
    assert printf.arguments(b"%s", [0x10], live=False) == ["0x10"]
    assert printf.arguments(b"%s", [0], live=True) == ["0x0"]


def test_words_of_a_recording_thunk() -> None:
    """The same types decode registers; memory is then not looked at."""
    words = {
        "rumpuser_clock_sleep": (0xFFFFFFFF_00000001, 2**64 - 5, 7),
        "rumpuser_open": (0x7F00_0000_0000, 6, 0x7F00_0000_1000),
        "rumpuser_exit": (0x12345678_FFFFFFFF,),
        "rumpuser_iovread": (3, 0x1000, 2, 2**64 - 1, 0),
    }
    expected = {
        "rumpuser_clock_sleep": ("RUMPUSER_CLOCK_ABSMONO", "-5", "7"),
        "rumpuser_open": (
            "0x7f0000000000",
            "RUMPUSER_OPEN_RDWR|RUMPUSER_OPEN_CREATE",
            "0x7f0000001000",
        ),
        "rumpuser_exit": ("RUMPUSER_PANIC",),
        "rumpuser_iovread": ("3", "0x1000", "2", "RUMPUSER_IOV_NOSEEK", "NULL"),
    }
    for name, registers in words.items():
        call = CATALOGUE[name]
        pairs = zip(call.arguments, registers, strict=True)
        values = [argument.type.from_word(word) for argument, word in pairs]
        assert describe(call, values, live=False, done=True) == expected[name]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (ctype.OPEN_FLAGS, 0, "RUMPUSER_OPEN_RDONLY"),
        (ctype.OPEN_FLAGS, 3, "0x3"),
        (ctype.OPEN_FLAGS, 0x100, "RUMPUSER_OPEN_RDONLY|0x100"),
        (ctype.MUTEX_FLAGS, 3, "RUMPUSER_MTX_SPIN|RUMPUSER_MTX_KMUTEX"),
        (ctype.RANDOM_FLAGS, 0, "0"),
        (ctype.CLOCK, 9, "9"),
        (ctype.ERRNO, 0, "0"),
        (ctype.ERRNO, 97, "97"),
        (ctype.CHARACTER, 39, "'''"),
        (ctype.CHARACTER, 0x1B, r"'\x1b'"),
        (ctype.CHARACTER, -1, "-1"),
        (ctype.STRING, b"\0\xff", r'"\x00\xff"'),
    ],
)
def test_formatters(kind: ctype.CType, value: Any, text: str) -> None:
    """Odd values have a form too."""
    assert kind.show(value, View(live=True, done=True)) == text
