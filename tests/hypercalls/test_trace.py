"""The trace: what it shows of each call, counts, filters, and what it survives."""

from __future__ import annotations

import ctypes
import io
import re
import threading
from ctypes import byref, c_int, c_int64, c_long, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import UnsupportedError
from rumphyper.host.thunks import supported
from rumphyper.hypercalls import ctype, printf, show
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.show import View, quoted
from rumphyper.hypercalls.trace import Trace, describe
from tests.hypercalls.support import Setup, run_python
from tests.hypercalls.test_files import iovecs

LINE = re.compile(r" *\d+\.\d{6} \[\d+ [^\]]+\] \w+\(.*\)( = \S.*)? <\d+\.\d{6}>$")


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


def test_records_and_text_agree() -> None:
    """Each call is one line in a fixed form and one record, in the same order."""
    stream = io.StringIO()
    trace = Trace(stream)
    setup = Setup(trace=trace)
    for _ in range(3):
        setup.call("curlwp")
    setup.call("sp_init", b"a", None, b"c", b"d")
    lines = stream.getvalue().splitlines()
    assert lines == [record.line() for record in trace.records]
    assert all(LINE.match(line) for line in lines)
    assert [record.seq for record in trace.records] == [1, 2, 3, 4, 5]
    assert [record.name for record in trace.records] == [
        "rumpuser_init", *["rumpuser_curlwp"] * 3, "rumpuser_sp_init"
    ]  # fmt: skip
    failed = trace.records[-1]
    assert (failed.errno, failed.result) == (78, "78 ENOSYS")
    assert failed.arguments == ('"a"', "NULL", '"c"', '"d"')
    assert failed.as_dict()["thread_name"] == "MainThread"
    starts = [record.start for record in trace.records]
    assert starts == sorted(starts)
    assert trace.counts() == {
        "rumpuser_curlwp": 3, "rumpuser_init": 1, "rumpuser_sp_init": 1
    }  # fmt: skip
    assert trace.totals()["rumpuser_sp_init"].errors == 1


def test_durations(traced: tuple[Setup, Trace]) -> None:
    """A call's time is its own, in nanoseconds."""
    setup, trace = traced
    setup.call("clock_sleep", 0, 0, 20_000_000)
    assert 20_000_000 <= trace.records[-1].duration < 1_000_000_000
    assert trace.totals()["rumpuser_clock_sleep"].nanoseconds >= 20_000_000


def test_filters() -> None:
    """By family, by name, by duration; counts do not depend on the last."""
    trace = Trace(families=["clock"], names=["curlwp", "rumpuser_free"])
    setup = Setup(trace=trace)
    setup.call("clock_sleep", 0, 0, 0)
    setup.call("curlwp")
    setup.call("free", None, 0)
    setup.call("component_errtrans", 1)
    assert trace.counts() == dict.fromkeys(
        ["rumpuser_clock_sleep", "rumpuser_curlwp", "rumpuser_free"], 1
    )
    slow = Trace(slower_than=0.01)
    setup = Setup(trace=slow)
    setup.call("curlwp")
    setup.call("clock_sleep", 0, 0, 11_000_000)
    assert [record.name for record in slow.records] == ["rumpuser_clock_sleep"]
    assert slow.counts()["rumpuser_curlwp"] == 1
    with pytest.raises(UnsupportedError):
        Trace(families=["nonsense"])
    with pytest.raises(UnsupportedError):
        Trace(names=["nonsense"])


def test_bounded() -> None:
    """Only the newest records are kept; with none, calls are still counted."""
    trace = Trace(keep=3)
    setup = Setup(trace=trace)
    for _ in range(5):
        setup.call("curlwp")
    assert [record.seq for record in trace.records] == [4, 5, 6]
    counting = Trace(keep=0)
    setup = Setup(trace=counting)
    setup.call("curlwp")
    assert counting.records == []
    assert counting.counts()["rumpuser_curlwp"] == 1


def test_on_and_off(setup: Setup) -> None:
    """A trace may begin and end while the kernel runs, whoever answers."""
    libc = ctypes.CDLL(None)
    setup.hv.bind("component_errtrans", ctypes.cast(libc.abs, c_void_p).value or 0)
    trace = Trace()
    for _ in range(2):
        assert setup.call("component_errtrans", -3) == 3
        setup.call("curlwp")
        setup.hv.trace = trace
        assert setup.call("component_errtrans", -3) == 3
        setup.call("curlwp")
        setup.hv.bind("curlwp", lambda: 0x5000)
        assert setup.call("curlwp") == 0x5000
        setup.hv.trace = None
    assert trace.counts() == {"rumpuser_curlwp": 4, "rumpuser_component_errtrans": 2}


def test_threads(traced: tuple[Setup, Trace]) -> None:
    """Each record names its thread: Python's name, or the one from the kernel."""
    setup, trace = traced
    thread = threading.Thread(target=lambda: setup.call("curlwp"), name="mine")
    thread.start()
    thread.join()
    assert trace.records[-1].thread_name == "mine"
    cookie = c_void_p()
    sleep = c_void_p(setup.hv.symbol("rumpuser_component_unschedule"))
    setup.call("thread_create", sleep, None, b"rump/1", 1, 0, -1, byref(cookie))
    setup.call("thread_join", cookie)
    by_name = {record.name: record for record in trace.records}
    made = by_name["rumpuser_component_unschedule"]
    assert made.thread != threading.get_native_id()
    assert by_name["rumpuser_thread_join"].thread == threading.get_native_id()


def test_many_threads_at_once(traced: tuple[Setup, Trace]) -> None:
    """No call is lost or torn."""
    setup, trace = traced
    curlwp = setup.hv.function("curlwp")

    def work() -> None:
        for _ in range(500):
            curlwp()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trace.counts()["rumpuser_curlwp"] == 3000
    assert [r.seq for r in trace.records] == list(range(1, len(trace.records) + 1))


@pytest.mark.skipif(not supported(), reason="no thunks on this architecture")
def test_calls_that_do_not_return() -> None:
    """thread_exit is libc's own and is seen all the same; so is exit."""
    trace = Trace()
    setup = Setup(trace=trace)
    cookie = c_void_p()
    leave = c_void_p(setup.hv.symbol("rumpuser_thread_exit"))
    setup.call("thread_create", leave, None, b"brief", 1, 0, -1, byref(cookie))
    setup.call("thread_join", cookie)
    ends = [r for r in trace.records if r.name == "rumpuser_thread_exit"]
    assert [(r.arguments, r.result) for r in ends] == [((), "?")]
    done = run_python(
        "import sys\n"
        "from tests.hypercalls.support import Setup\n"
        "from rumphyper.hypercalls.trace import Trace\n"
        "Setup(trace=Trace(sys.stdout)).call('rumpuser_exit', -1)\n"
    )
    assert "rumpuser_exit(RUMPUSER_PANIC) = ?" in done.stdout


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


class Broken(io.StringIO):
    """A stream that fails."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "the reader has gone")


def test_a_stream_that_fails() -> None:
    """Tracing ends there; the kernel notices nothing."""
    trace = Trace(Broken())
    setup = Setup(trace=trace)
    assert setup.call("component_errtrans", 2) == 2
    assert trace.stream is None
    assert trace.counts()["rumpuser_component_errtrans"] == 1
    assert setup.reports == []


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
