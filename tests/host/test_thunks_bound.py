"""host/thunks: arguments bound in advance, and a second function to try.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes

import pytest

from rumphyper.host import thunks
from rumphyper.host.libc import libc
from tests.host.thunk_functions import LONG, Words, integers, load, noting, weighted

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)


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
