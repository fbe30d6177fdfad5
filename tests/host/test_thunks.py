"""host/thunks: what each kind of thunk does, with libc and callbacks behind it.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes
import errno
import math
import threading
from _ctypes import CFuncPtr
from collections.abc import Callable

import pytest

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

LONG = ctypes.c_int64
Build = Callable[[ThunkBuilder], None]
Words = tuple[int, ...]


def load(*builds: Build) -> ThunkLibrary:
    builder = ThunkBuilder("libtest-thunks.so")
    for build in builds:
        build(builder)
    return builder.load()


def noting(calls: list[Words], result: int) -> Callable[..., int]:
    """A function that appends its arguments to a list and returns a constant."""

    def function(*values: int) -> int:
        calls.append(values)
        return result

    return function


def integers(count: int) -> type[CFuncPtr]:
    return ctypes.CFUNCTYPE(LONG, *[LONG] * count)


def weighted(*values: int) -> int:
    """A sum in which every place counts differently, so that a swap shows."""
    return sum((index + 1) * value for index, value in enumerate(values))


def test_jump_and_retarget() -> None:
    library = load(lambda b: b.jump("f"))
    call = integers(3)(library.address("f"))
    library["f"].target = integers(3)(weighted)
    assert call(5, 6, 7) == 5 + 12 + 21
    library["f"].target = libc().labs
    assert call(-9, 0, 0) == 9
    assert library["f"].target == ctypes.cast(libc().labs, ctypes.c_void_p).value


def test_address_is_what_dlsym_gives() -> None:
    library = load(lambda b: b.jump("one"), lambda b: b.counted("two"))
    for name in ("one", "two"):
        found = ctypes.cast(library.handle[name], ctypes.c_void_p).value
        assert found == library.address(name)


@pytest.mark.parametrize("kind", ["jump", "counted", "recorded", "attempt"])
def test_twelve_arguments_pass_through(kind: str) -> None:
    def build(builder: ThunkBuilder) -> None:
        if kind in ("recorded", "attempt"):
            getattr(builder, kind)("f", 12)
        else:
            getattr(builder, kind)("f")

    library = load(build)
    seen: list[Words] = []

    def target(*values: int) -> int:
        seen.append(values)
        return 0 if kind == "attempt" else weighted(*values)

    values = tuple(range(-5, 7))
    library["f"].target = integers(12)(target)
    result = integers(12)(library.address("f"))(*values)
    assert seen == [values]
    assert result == (0 if kind == "attempt" else weighted(*values))


@pytest.mark.parametrize("kind", ["jump", "counted", "recorded", "attempt"])
def test_floats_pass_through(kind: str) -> None:
    def build(builder: ThunkBuilder) -> None:
        if kind == "recorded":
            builder.recorded("f", 2)
        elif kind == "attempt":
            builder.attempt("f", 2, floats=True)
        else:
            getattr(builder, kind)("f")

    library = load(build)
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_double, ctypes.c_int, *[ctypes.c_double] * 8, ctypes.c_int
    )

    def target(one: int, *rest: float) -> float:
        return one + sum((i + 1) * value for i, value in enumerate(rest))

    if kind == "attempt":
        # The first target uses the vector registers before it refuses.
        refuse = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(
            lambda value: round(math.hypot(value + 0.25, 123.5))
        )
        library["f"].target = refuse
        library["f"].second = prototype(target)
    else:
        library["f"].target = prototype(target)
    arguments = (3, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 11)
    assert prototype(library.address("f"))(*arguments) == target(*arguments)


def test_counted_counts_every_call_of_many_threads() -> None:
    library = load(lambda b: b.counted("f"))
    library["f"].target = libc().labs
    call = ctypes.CFUNCTYPE(LONG, LONG)(library.address("f"))
    hands, rounds = 6, 4000

    def work() -> None:
        for value in range(rounds):
            assert call(-value) == value

    together(hands, work)
    assert library["f"].count == hands * rounds


def together(hands: int, work: Callable[[], None]) -> None:
    """Run a function in threads at once; fail if one of them failed."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(hands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("argc", range(7))
def test_bound_arguments(argc: int) -> None:
    library = load(lambda b: b.bound("f", argc))
    library["f"].target = integers(argc)(lambda *values: weighted(*values, 1000))
    values = [-(1 << 40) * (index + 1) for index in range(argc)]
    for index, value in enumerate(values):
        library["f"].args[index] = value
    call = integers(0)(library.address("f"))
    assert call() == weighted(*values, 1000)
    if argc:
        library["f"].args[argc - 1] = values[-1] = 3
        assert call() == weighted(*values, 1000)


def test_bound_result_replaced() -> None:
    library = load(lambda b: b.bound("f", 2, result=-1))
    calls: list[Words] = []
    library["f"].target = integers(2)(noting(calls, 5))
    library["f"].args[0], library["f"].args[1] = 8, 9
    call = integers(0)(library.address("f"))
    assert call() == -1
    library["f"].result = 1 << 33
    assert call() == 1 << 33
    assert calls == [(8, 9), (8, 9)]


def test_bound_behind_the_callers_arguments() -> None:
    # As lfind(3) hands out (key, element) and the target wants a count too.
    library = load(lambda b: b.bound("f", 4, result=1, keep=2))
    seen: list[Words] = []
    library["f"].target = integers(4)(noting(seen, 0))
    library["f"].args[0], library["f"].args[1] = 77, 78
    array = (LONG * 5)(10, 20, 30, 40, 50)
    size = ctypes.c_size_t(5)
    find = libc().lfind
    find.restype = ctypes.c_void_p
    # The constant 1 says "differs", so lfind walks over all of the array.
    found = find(
        ctypes.c_void_p(4242),
        array,
        ctypes.byref(size),
        ctypes.c_size_t(8),
        ctypes.c_void_p(library.address("f")),
    )
    assert found is None
    start = ctypes.addressof(array)
    assert seen == [(4242, start + 8 * i, 77, 78) for i in range(5)]


def test_bound_to_a_variadic_function() -> None:
    library = load(lambda b: b.bound("f", 5))
    out = ctypes.create_string_buffer(64)
    form = ctypes.create_string_buffer(b"%d and %s")
    word = ctypes.create_string_buffer(b"words")
    thunk = library["f"]
    thunk.target = libc().snprintf
    values = [ctypes.addressof(out), 64, ctypes.addressof(form), -7]
    for index, value in enumerate([*values, ctypes.addressof(word)]):
        thunk.args[index] = value
    assert ctypes.CFUNCTYPE(ctypes.c_int)(thunk.address)() == 12
    assert out.value == b"-7 and words"


def test_attempt_takes_the_second_way_on_non_zero_only() -> None:
    library = load(lambda b: b.attempt("f", 9))
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *[LONG] * 9)
    answers = iter([0, 1, -1, 0])
    first: list[Words] = []
    second: list[Words] = []

    def try_it(*values: int) -> int:
        first.append(values)
        return next(answers)

    library["f"].target = prototype(try_it)
    library["f"].second = prototype(noting(second, 99))
    call = prototype(library.address("f"))
    values = [tuple(range(k, k + 9)) for k in (1, 2, 3, 4)]
    assert [call(*each) for each in values] == [0, 99, 99, 0]
    assert first == values
    assert second == values[1:3]


def test_attempt_looks_at_an_int_only() -> None:
    # The C ABI leaves the upper half of an int's register undefined.
    library = load(lambda b: b.attempt("f"))
    library["f"].target = integers(1)(lambda _: 1 << 32)
    library["f"].second = integers(1)(lambda _: 5)
    assert integers(1)(library.address("f"))(1) == 1 << 32


def test_attempt_may_take_the_second_way_on_a_negative_int_only() -> None:
    library = load(lambda b: b.attempt("f", 3, negative=True))
    answers = [0, 1, 65535, 0x7FFFFFFF, -1, 0xFFFFFFFF, -(1 << 31), 1 << 32]
    left = iter(answers)
    second: list[Words] = []
    library["f"].target = integers(3)(lambda *_: next(left))
    library["f"].second = integers(3)(noting(second, 99))
    call = integers(3)(library.address("f"))
    results = [call(k, k + 1, k + 2) for k in range(len(answers))]
    assert results == [0, 1, 65535, 0x7FFFFFFF, 99, 99, 99, 1 << 32]
    assert second == [(k, k + 1, k + 2) for k in (4, 5, 6)]


def test_a_chain_hands_the_result_on() -> None:
    library = load(lambda b: b.chain("f", 3, 2))
    short = ctypes.CFUNCTYPE(LONG, *[LONG] * 3)
    first: list[Words] = []
    second: list[Words] = []
    answers = iter([7, 0, 1 << 16, 0x2FFFF])

    def source(*values: int) -> int:
        first.append(values)
        return next(answers)

    library["f"].target = short(source)
    library["f"].second = short(noting(second, 5))
    for index, value in enumerate((11, -12, 13, 1 << 40, -22)):
        library["f"].args[index] = value
    call = integers(0)(library.address("f"))
    passed = [(call(), library["f"].passed) for _ in range(4)]
    # Only the 16 bits of a uint16_t count.
    assert passed == [(5, 7), (0, 0), (0, 0), (5, 0xFFFF)]
    assert first == [(11, -12, 13)] * 4
    assert second == [(1 << 40, -22, 7), (1 << 40, -22, 0xFFFF)]


def test_a_chain_of_as_many_words_as_there_are_registers() -> None:
    library = load(lambda b: b.chain("f", 6, 5))
    second: list[Words] = []
    library["f"].target = integers(6)(weighted)
    library["f"].second = integers(6)(noting(second, 1))
    for index in range(11):
        library["f"].args[index] = index + 1
    assert integers(0)(library.address("f"))() == 1
    assert second == [(7, 8, 9, 10, 11, weighted(1, 2, 3, 4, 5, 6))]


def test_a_kept_result_takes_the_place_of_the_size() -> None:
    library = load(lambda b: b.kept("f"))
    seen: list[Words] = []
    answers = iter([60, 1 << 40, 0, 9])

    def target(*values: int) -> int:
        seen.append(values)
        return next(answers)

    library["f"].target = integers(3)(target)
    spans = (LONG * 8)(100, 11, 1 << 44, 12, -300, -13, 400, 14)
    number = ctypes.c_size_t(4)
    walk = ctypes.CFUNCTYPE(ctypes.c_void_p)(("lfind", libc()))
    start = ctypes.addressof(spans)
    # It walks on while results are positive, and ends at the third.
    found = walk(
        ctypes.c_void_p(4242),
        ctypes.c_void_p(start),
        ctypes.byref(number),
        ctypes.c_size_t(16),
        ctypes.c_void_p(library.address("f")),
    )
    assert found == start + 32
    assert seen == [(4242, 100, 11), (4242, 1 << 44, 12), (4242, -300, -13)]
    assert list(spans) == [100, 60, 1 << 44, 1 << 40, -300, 0, 400, 14]
    library["f"].target = integers(3)(lambda *_: -1)
    assert integers(2)(library.address("f"))(1, start) == 0
    assert list(spans)[:2] == [100, -1]


def test_trylock_else_lock() -> None:
    # The use it is made for: no Python where the lock is free.
    library = load(lambda b: b.attempt("enter", 1))
    mutex = ctypes.create_string_buffer(64)
    assert libc().pthread_mutex_init(mutex, None) == 0
    library["enter"].target = libc().pthread_mutex_trylock
    waited: list[Words] = []
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
    library["enter"].second = prototype(noting(waited, 42))
    call = prototype(library.address("enter"))
    at = ctypes.addressof(mutex)
    assert (call(at), waited) == (0, [])
    assert (call(at), waited) == (42, [(at,)])
    libc().pthread_mutex_unlock(mutex)
    assert (call(at), waited) == (0, [(at,)])


@pytest.mark.parametrize("bound", [True, False])
def test_compare_and_swap_word(bound: bool) -> None:
    def build(builder: ThunkBuilder) -> None:
        builder.compare_and_swap("cas", bound)
        builder.exchange("swap", bound)

    library = load(build)
    words = (ctypes.c_uint32 * 3)(0xAAAAAAAA, 0xFFFFFFFE, 0xBBBBBBBB)
    at = ctypes.addressof(words) + 4

    def cas(expected: int, new: int) -> int:
        if not bound:
            prototype = ctypes.CFUNCTYPE(
                ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32
            )
            return int(prototype(library.address("cas"))(at, expected, new))
        for index, value in enumerate((at, expected, new)):
            library["cas"].args[index] = value
        return int(ctypes.CFUNCTYPE(ctypes.c_int)(library.address("cas"))())

    def swap(new: int) -> int:
        if not bound:
            prototype = ctypes.CFUNCTYPE(
                ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32
            )
            return int(prototype(library.address("swap"))(at, new))
        library["swap"].args[0], library["swap"].args[1] = at, new
        return int(ctypes.CFUNCTYPE(ctypes.c_uint32)(library.address("swap"))())

    assert cas(0, 1) == 0
    assert words[1] == 0xFFFFFFFE
    assert cas(0xFFFFFFFE, 17) == 1
    assert words[1] == 17
    assert swap(0xDEADBEEF) == 17
    assert swap(0) == 0xDEADBEEF
    assert list(words) == [0xAAAAAAAA, 0, 0xBBBBBBBB]


def test_compare_and_swap_excludes_threads() -> None:
    # CFUNCTYPE lets go of the GIL, so the threads meet in the thunk itself.
    library = load(lambda b: b.compare_and_swap("take", bound=False))
    word = ctypes.c_uint32(0)
    at = ctypes.addressof(word)
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32
    )
    take = prototype(library.address("take"))
    hands, rounds = 4, 1500

    def work() -> None:
        for _ in range(rounds):
            while True:
                seen = word.value
                if take(at, seen, seen + 1):
                    break

    together(hands, work)
    assert word.value == hands * rounds


def test_unset_swap_words_do_no_harm() -> None:
    library = load(lambda b: b.compare_and_swap("cas"))
    assert ctypes.CFUNCTYPE(ctypes.c_int)(library.address("cas"))() == 0


@pytest.mark.parametrize("kind", ["jump", "counted", "recorded", "attempt", "bound"])
def test_errno_survives(kind: str) -> None:
    def build(builder: ThunkBuilder) -> None:
        if kind in ("recorded", "bound", "attempt"):
            getattr(builder, kind)("f", 1)
        else:
            getattr(builder, kind)("f")

    library = load(build)
    if kind == "attempt":
        library["f"].target = libc().abs
        library["f"].second = libc().close
    else:
        library["f"].target = libc().close
    if kind == "bound":
        library["f"].args[0] = -1
        arguments: tuple[int, ...] = ()
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, use_errno=True)
    else:
        arguments = (-1,)
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, use_errno=True)
    ctypes.set_errno(0)
    assert prototype(library.address("f"))(*arguments) == -1
    assert ctypes.get_errno() == errno.EBADF


def test_what_a_kind_lacks_is_said() -> None:
    library = load(lambda b: b.jump("f"))
    for name in ("count", "second", "result"):
        with pytest.raises(HostError, match=f"has no {name}"):
            getattr(library["f"], name)
    assert len(library["f"].args) == 0
    with pytest.raises(HostError, match="no such symbol"):
        library["g"]
    with pytest.raises(HostError, match="no such symbol"):
        library[""]
    assert "f" in library
    assert "" not in library
    with pytest.raises(HostError, match="records"):
        library.ring  # noqa: B018


@pytest.mark.parametrize("target", [0, -1, 1 << 64, None, "puts", 1.5])
def test_targets_that_are_none(target: int) -> None:
    library = load(lambda b: b.jump("f"))
    before = library["f"].target
    with pytest.raises(HostError, match="not the address of a function"):
        library["f"].target = target
    assert library["f"].target == before


def test_close_keeps_the_code() -> None:
    library = load(lambda b: b.jump("f"))
    library["f"].target = libc().labs
    call = ctypes.CFUNCTYPE(LONG, LONG)(library.address("f"))
    library.close()
    library.close()
    assert call(-3) == 3
    with pytest.raises(HostError, match="closed"):
        library["f"]


@pytest.mark.parametrize(
    "build",
    [
        lambda b: b.bound("f", 7),
        lambda b: b.bound("f", -1),
        lambda b: b.bound("f", 2, keep=3),
        lambda b: b.recorded("f", 65),
        lambda b: b.attempt("f", -1),
        lambda b: b.chain("f", 7, 0),
        lambda b: b.chain("f", 1, 6),
    ],
)
def test_counts_out_of_range(build: Build) -> None:
    with pytest.raises(HostError, match="arguments"):
        load(build)


@pytest.mark.parametrize("name", ["", "two words", "é", "nul\0", "line\n"])
def test_unfit_names(name: str) -> None:
    with pytest.raises(HostError, match="symbol table"):
        load(lambda b: b.jump(name))
    builder = ThunkBuilder(name)
    builder.jump("f")
    with pytest.raises(HostError, match="symbol table"):
        builder.load()


def test_double_and_missing_names() -> None:
    with pytest.raises(HostError, match="twice"):
        load(lambda b: b.jump("f"), lambda b: b.counted("f"))
    with pytest.raises(HostError, match="without symbols"):
        load(lambda b: None)


def test_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    thunks.probe()

    def refused(*_: object) -> None:
        raise HostError("librumphyper-probe.so", "Operation not permitted")

    monkeypatch.setattr("rumphyper.host.loader.load", refused)
    with pytest.raises(HostError, match="not permitted"):
        thunks.probe()


def test_switch_forbids_thunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(thunks.SWITCH, "0")
    assert not thunks.supported()
    with pytest.raises(UnsupportedError, match="forbids"):
        ThunkBuilder("libx.so")
