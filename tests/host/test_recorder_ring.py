"""host/recorder: the ring when it is full, read in pieces, or written over.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import Counter

import pytest

from rumphyper.errors import HostError
from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.recorder import Record
from rumphyper.host.recordring import RECORD
from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

LONG = ctypes.c_int64
MASK = (1 << 64) - 1
TO_LONG = ctypes.CFUNCTYPE(LONG, LONG)


def labs_library(capacity: int = 1024) -> ThunkLibrary:
    builder = ThunkBuilder("libtest-recorder.so", capacity)
    builder.recorded("labs", 1)
    library = builder.load()
    library["labs"].target = libc().labs
    return library


def test_a_full_ring_loses_records_and_says_so() -> None:
    library = labs_library(8)
    call = TO_LONG(library.address("labs"))
    for value in range(20):
        assert call(-value) == value
    assert len(library.ring) == 8
    assert library.ring.lost == 12
    records = library.ring.drain()
    assert [record.result for record in records] == list(range(8))
    assert call(-99) == 99
    (record,) = library.ring.drain()
    assert record.result == 99
    assert library.ring.lost == 12


def test_draining_over_the_wrap_and_by_pieces() -> None:
    library = labs_library(8)
    call = TO_LONG(library.address("labs"))
    results = []
    for value in range(1, 101):
        call(-value)
        if value % 5 == 0:
            results += [record.result for record in library.ring.drain(2)]
            results += [record.result for record in library.ring.drain()]
    assert results == list(range(1, 101))
    assert library.ring.lost == 0


def test_octets_can_be_decoded_later() -> None:
    library = labs_library()
    call = TO_LONG(library.address("labs"))
    call(-1)
    call(-2)
    (octets,) = library.ring.take()
    assert len(octets) == 2 * RECORD.size
    assert len(library.ring) == 0
    assert [r.arguments for r in library.ring.decode(octets)] == [
        (-1 & MASK,),
        (-2 & MASK,),
    ]


@pytest.mark.parametrize("capacity", [64, 1 << 15])
def test_many_threads_and_a_reader(capacity: int) -> None:
    library = labs_library(capacity)
    hands, rounds = 5, 3000
    idents = {}

    def work(hand: int) -> None:
        idents[hand] = threading.get_ident()
        call = TO_LONG(library.address("labs"))
        barrier.wait()
        for turn in range(rounds):
            assert call(-(hand * 1_000_000 + turn)) == hand * 1_000_000 + turn
        barrier.wait()  # nobody's thread id is used again before all are done

    barrier = threading.Barrier(hands)
    threads = [threading.Thread(target=work, args=(hand,)) for hand in range(hands)]
    for thread in threads:
        thread.start()
    records: list[Record] = []
    while any(thread.is_alive() for thread in threads):
        records += library.ring.drain()
        time.sleep(0.0005)
    records += library.ring.drain()
    assert len(records) + library.ring.lost == hands * rounds
    assert len(records) >= min(capacity, hands * rounds)
    seen: dict[int, int] = {}
    for record in records:
        assert record.result is not None
        assert record.arguments == (-record.result & MASK,)
        hand, turn = divmod(record.result, 1_000_000)
        assert record.thread == idents[hand]
        assert turn > seen.get(hand, -1)
        seen[hand] = turn
    assert Counter(record.symbol for record in records) == {"labs": len(records)}


@pytest.mark.parametrize("capacity", [0, 1, -8, 3, 100, 1 << 25])
def test_unfit_capacities(capacity: int) -> None:
    with pytest.raises(HostError, match="power of two"):
        ThunkBuilder("libx.so", capacity)


def test_overwriting_keeps_the_newest() -> None:
    library = labs_library(8)
    ring = library.ring
    ring.overwriting = True
    call = TO_LONG(library.address("labs"))
    for value in range(20):
        call(-value)
    assert (len(ring), ring.head, ring.lost) == (8, 20, 0)
    assert [record.result for record in ring.drain()] == list(range(12, 20))
    assert ring.drain() == []
    for value in range(3):
        call(-value)
    assert [record.result for record in ring.drain()] == [0, 1, 2]
    for value in range(30):
        call(-value)
    ring.overwriting = False  # what is there stays, what comes now is lost
    call(-99)
    assert ring.lost == 1
    assert [record.result for record in ring.drain()] == list(range(22, 30))
    call(-7)
    ring.clear()
    assert ring.drain() == []
    assert ring.skipped == 12 + 22
    ring.overwriting = True
    for value in range(7):
        call(-value)
    assert [record.result for record in ring.drain(2)] == [5, 6]  # the newest
    assert ring.drain() == []


def test_a_record_that_was_never_finished_is_not_written_over() -> None:
    """As if a thread had been stopped in the middle for a whole round."""
    library = labs_library(8)
    ring = library.ring
    ring.overwriting = True
    call = TO_LONG(library.address("labs"))
    for value in range(10):
        call(-value)
    place = 16 * 4
    tag, ring._view[place] = ring._view[place], 0
    for value in range(10, 20):
        call(-value)
    assert (ring.head, ring.lost) == (12, 8)
    assert [record.result for record in ring.drain()] == []  # it holds back the rest
    ring._view[place] = tag
    call(-50)
    assert [record.result for record in ring.drain()] == [*range(5, 12), 50]


def test_many_threads_overwriting() -> None:
    """Whatever is read is whole, and in order for each thread."""
    library = labs_library(64)
    ring = library.ring
    ring.overwriting = True
    hands, rounds = 4, 4000

    def work(hand: int) -> None:
        call = TO_LONG(library.address("labs"))
        for turn in range(rounds):
            call(-(hand * 1_000_000 + turn))

    threads = [threading.Thread(target=work, args=(hand,)) for hand in range(hands)]
    for thread in threads:
        thread.start()
    records: list[Record] = []
    while any(thread.is_alive() for thread in threads):
        records += ring.drain()
    records += ring.drain()
    assert ring.head + ring.lost == hands * rounds == library["labs"].count
    assert len(records) >= 64
    seen: dict[int, int] = {}
    for record in records:
        assert record.result is not None
        assert record.arguments == (-record.result & MASK,)
        hand, turn = divmod(record.result, 1_000_000)
        assert turn > seen.get(hand, -1)
        seen[hand] = turn
