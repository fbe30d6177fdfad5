"""host/atomic: one word, many hands."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading

import pytest

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import atomic, libatomic, swaps, thunks
from rumphyper.host.atomic import Word
from tests.debian import missing


@pytest.fixture(params=atomic.WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Both ways must give the same results."""
    chosen = str(request.param)
    if chosen == "thunks" and not thunks.supported():
        pytest.skip("no machine code templates for this architecture")
    if chosen == "libatomic":
        try:
            libatomic.library()
        except UnsupportedError as error:
            missing(str(error))
    return chosen


def test_compare_and_swap_and_exchange(way: str) -> None:
    buffer = bytearray(16)
    with Word(buffer, 8, way) as word:
        assert word.compare_and_swap(0, 0xFFFFFFFF)
        assert not word.compare_and_swap(0, 5)
        assert word.value == 0xFFFFFFFF
        assert word.exchange(7) == 0xFFFFFFFF
        assert struct.unpack("=4I", buffer) == (0, 0, 7, 0)


def test_acquire_and_release(way: str) -> None:
    with Word(bytearray(4), 0, way) as word:
        assert word.acquire()
        assert not word.acquire()
        assert word.release() == 1
        assert word.release() == 0
        assert word.acquire()


def test_the_word_keeps_the_buffer_until_closed(way: str) -> None:
    area = mmap.mmap(-1, 4096)
    word = Word(area, 0, way)
    with pytest.raises(BufferError):
        area.close()
    word.close()
    word.close()
    area.close()
    for use in (word.acquire, word.release, lambda: word.exchange(1)):
        with pytest.raises(HostError, match="closed"):
            use()


@pytest.mark.parametrize("offset", [1, 2, -4, 13, 16, 1 << 40])
def test_unfit_offsets(offset: int) -> None:
    with pytest.raises(HostError):
        Word(bytearray(16), offset)


def test_read_only_buffer() -> None:
    with pytest.raises(HostError):
        Word(bytes(16), 0)


def test_mutual_exclusion_between_processes_and_threads(way: str) -> None:
    # A plain read-modify-write under the lock: lost updates show as a low sum.
    area = mmap.mmap(-1, 4096)
    rounds, hands = 3000, 3

    def work() -> None:
        with Word(area, 0, way) as word:
            for _ in range(rounds):
                while not word.acquire():
                    os.sched_yield()
                area[8:16] = (int.from_bytes(area[8:16], "little") + 1).to_bytes(
                    8, "little"
                )
                assert word.release() == 1

    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    threads = [threading.Thread(target=work) for _ in range(hands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert int.from_bytes(area[8:16], "little") == rounds * (hands + 1)
    area.close()


def test_thunks_come_first_and_libatomic_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if thunks.supported():
        assert Word(bytearray(4), 0).way == "thunks"
    monkeypatch.setenv(atomic.SWITCH, "libatomic")
    assert Word(bytearray(4), 0).way == "libatomic"
    monkeypatch.delenv(atomic.SWITCH)

    def refused() -> None:
        raise HostError("thunks", "the host lets no code be loaded")

    monkeypatch.setattr(swaps, "compare_and_swap", refused)
    assert Word(bytearray(4), 0).way == "libatomic"
    with pytest.raises(HostError, match="no code"):
        Word(bytearray(4), 0, "thunks")


def test_failed_acquires_leave_no_trace() -> None:
    # libatomic writes the value it saw into its argument "expected".
    with Word(bytearray(4), 0, "libatomic") as word:
        word.exchange(7)
        assert [word.acquire() for _ in range(3)] == [0, 0, 0]
        assert word.value == 7
        assert word.release() == 7
        assert word.acquire()


def test_a_word_that_was_tried_in_vain_lets_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also while somebody looks at the traceback: its frames hold no buffer."""
    kept: list[BaseException] = []

    def refuse() -> None:
        try:
            raise HostError("thunks", "refused")
        except HostError as error:
            kept.append(error)
            raise

    monkeypatch.setattr(swaps, "compare_and_swap", refuse)
    memory = mmap.mmap(-1, 4096)
    Word(memory, 0).close()  # libatomic took over
    with pytest.raises(HostError):
        Word(memory, 0, "thunks")
    with pytest.raises(HostError, match="multiple of 4"):
        Word(memory, 2)
    assert len(kept) == 2
    memory.close()


def test_no_way_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise OSError("libatomic.so.1: cannot open shared object file")

    libatomic.library.cache_clear()
    monkeypatch.setattr("ctypes.PyDLL", gone)
    with pytest.raises(UnsupportedError, match="install libatomic"):
        Word(bytearray(4), 0, "libatomic")
    with pytest.raises(UnsupportedError, match="no such way"):
        Word(bytearray(4), 0, "magic")


@pytest.mark.skipif(not thunks.supported(), reason="no templates here")
def test_thunks_of_closed_words_are_drawn_again() -> None:
    store = bytearray(4 * 100)
    words = [Word(store, 4 * index, "thunks") for index in range(100)]
    assert all(word.acquire() for word in words)
    assert store == b"\1\0\0\0" * 100
    held = words[3].acquire
    for word in words:
        word.close()
    assert held() == 0  # of no use, of no harm
    addresses = set()
    for _ in range(300):
        with Word(store, 40, "thunks") as word:
            assert word.release() in (0, 1)
            assert word.acquire()
            addresses.add(id(word.acquire))
    assert len(addresses) <= 100 + 32


def test_two_threads_that_close_a_word_give_its_thunks_back_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given back twice, two later words would change the same octets."""
    if not thunks.supported():
        pytest.skip("no machine code templates for this architecture")
    word = Word(bytearray(4), 0, "thunks")
    put_back, back = swaps.Pair.put_back, []
    both = threading.Barrier(2)

    def slow(pair: swaps.Pair) -> None:
        back.append(pair)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        put_back(pair)

    monkeypatch.setattr(swaps.Pair, "put_back", slow)
    closers = [threading.Thread(target=word.close) for _ in range(2)]
    for thread in closers:
        thread.start()
    for thread in closers:
        thread.join(9)
    assert len(back) == 1
