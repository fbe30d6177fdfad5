"""host/atomic: one word, many hands."""

from __future__ import annotations

import mmap
import os
import struct
import threading

import pytest

from rumphyper.errors import HostError
from rumphyper.host.atomic import Word


def test_compare_and_swap_and_exchange() -> None:
    buffer = bytearray(16)
    with Word(buffer, 8) as word:
        assert word.compare_and_swap(0, 0xFFFFFFFF)
        assert not word.compare_and_swap(0, 5)
        assert word.value == 0xFFFFFFFF
        assert word.exchange(7) == 0xFFFFFFFF
        assert struct.unpack("=4I", buffer) == (0, 0, 7, 0)


def test_acquire_and_release() -> None:
    with Word(bytearray(4), 0) as word:
        assert word.acquire()
        assert not word.acquire()
        assert word.release() == 1
        assert word.release() == 0
        assert word.acquire()


def test_the_word_keeps_the_buffer_until_closed() -> None:
    area = mmap.mmap(-1, 4096)
    word = Word(area, 0)
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


def test_mutual_exclusion_between_processes_and_threads() -> None:
    # A plain read-modify-write under the lock: lost updates show as a low sum.
    area = mmap.mmap(-1, 4096)
    rounds, hands = 3000, 3

    def work() -> None:
        with Word(area, 0) as word:
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
