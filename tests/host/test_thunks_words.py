"""host/thunks: words that are compared, swapped and counted up.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes

import pytest

from rumphyper.errors import HostError
from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder
from tests.host.thunk_functions import LONG, Words, load, noting, together

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)


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


def test_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    thunks.probe()

    def refused(*_: object) -> None:
        raise HostError("librumphyper-probe.so", "Operation not permitted")

    monkeypatch.setattr("rumphyper.host.loader.load", refused)
    with pytest.raises(HostError, match="not permitted"):
        thunks.probe()
