"""Batches of plain calls over datagram sockets, and what chooses between batches."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import batches, thunks
from rumphyper.host.uring_batch import Batch
from rumphyper.host.walk_batch import WalkBatch, _thunks

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

EAGAIN = -errno.EAGAIN
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a datagram socket, not blocking."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def test_messages_are_read_in_order_and_the_rest_is_empty(pair: Pair) -> None:
    near, far = pair
    chance = random.Random(7)
    with WalkBatch(near.fileno(), 8, 100, write=False) as batch:
        for _ in range(200):
            sent = [
                chance.randbytes(chance.randint(1, 100))
                for _ in range(chance.randint(0, 5))
            ]
            for message in sent:
                far.send(message)
            count = chance.randint(len(sent) or 1, 8)
            sizes = [len(message) for message in sent]
            assert batch.run(count) == sizes + [EAGAIN] * (count - len(sent))
            held = [bytes(batch.slots[n][:size]) for n, size in enumerate(sizes)]
            assert held == sent


def test_messages_are_written_in_order_until_there_is_no_room(pair: Pair) -> None:
    near, far = pair
    with WalkBatch(near.fileno(), 16, 64, write=True) as batch:
        for turn in range(50):
            lengths = [1 + (turn * 7 + n * 13) % 64 for n in range(1 + turn % 9)]
            for n, length in enumerate(lengths):
                batch.slots[n][:length] = bytes([turn, n] * 32)[:length]
            batch.set_lengths(lengths)
            assert batch.run(len(lengths)) == lengths
            for n, length in enumerate(lengths):
                assert far.recv(100) == bytes([turn, n] * 32)[:length]
        batch.set_alike(10)
        results: list[int] = []
        while not results or results[-1] > 0:
            results += batch.run(16)
        first = results.index(EAGAIN)
        assert set(results[:first]) == {10}
        assert set(results[first:]) == {EAGAIN}
        assert len([1 for _ in range(first) if far.recv(100)]) == first
        # Having failed, the same operations are for 10 octets again.
        assert batch.run_alike(16, 10) > 0
        assert far.recv(100) == bytes(batch.slots[0][:10])


def test_alike_results_are_counted(pair: Pair) -> None:
    near, far = pair
    with WalkBatch(near.fileno(), 8, 64, write=False) as batch:
        for turn in range(100):
            count, odd = turn % 8, turn % 3 == 0 and turn % 8 > 0
            for n in range(count):
                far.send(b"x" * (21 if odd and n == count - 1 else 20))
            assert batch.run_alike(8, 20) == (-1 if odd else count)
            sizes = [20] * (count - odd) + [21] * odd
            assert batch.results(8) == sizes + [EAGAIN] * (8 - count)


def test_slots_are_written_by_another_batch(pair: Pair) -> None:
    near, far = pair
    lone = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with lone, WalkBatch(near.fileno(), 8, 64, write=False) as reads:
        with WalkBatch(near.fileno(), 1, 1, write=True, share=reads) as writes:
            for message in (b"one", b"second"):
                far.send(message)
            sizes = reads.run(2)
            writes.set_lengths(sizes)
            assert writes.run(2) == sizes
            assert [far.recv(99), far.recv(99)] == [b"one", b"second"]
        with WalkBatch(lone.fileno(), 1, 1, write=True, share=reads) as dead:
            dead.set_alike(3)
            assert dead.run_alike(2, 3) == -1
            assert dead.results(2) == [-errno.ENOTCONN, EAGAIN]


def test_a_read_that_finds_the_end_is_no_error() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        with WalkBatch(null, 4, 64, write=False) as batch:
            assert batch.run_alike(4, 9) == -1
            assert batch.results(4) == [0, EAGAIN, EAGAIN, EAGAIN]
    finally:
        os.close(null)


def test_nothing_beyond_the_slots_is_ever_asked_of_the_kernel(pair: Pair) -> None:
    with WalkBatch(pair[0].fileno(), 5, 64, write=True) as batch:
        for count in (0, -1, 6):
            with pytest.raises(HostError, match="operations"):
                batch.run(count)
        for lengths in ([65], [-1], [1] * 6):
            with pytest.raises(HostError, match="lengths beyond"):
                batch.set_lengths(lengths)
        with pytest.raises(HostError, match="lengths beyond"):
            batch.set_alike(65)
    batch.close()
    with pytest.raises(HostError, match="closed"):
        batch.run(1)
    for count, size in ((0, 1), (1, 0), (-1, 5)):
        with pytest.raises(HostError, match="slots"):
            WalkBatch(pair[0].fileno(), count, size, write=False)


def test_a_descriptor_that_is_none(pair: Pair) -> None:
    with WalkBatch(987_654, 4, 64, write=False) as batch:
        assert batch.run(2) == [-errno.EBADF, EAGAIN]


def test_errors_stay_with_the_thread_that_had_them(pair: Pair) -> None:
    """Two batches at once, one of which fails: each has its own errno."""
    near, _ = pair
    wrong: list[object] = []

    def fail() -> None:
        with WalkBatch(987_654, 4, 64, write=False) as batch:
            for _ in range(2000):
                if (found := batch.run(2)) != [-errno.EBADF, EAGAIN]:
                    wrong.append(found)

    other = threading.Thread(target=fail)
    with WalkBatch(near.fileno(), 4, 64, write=False) as batch:
        other.start()
        for _ in range(2000):
            if (found := batch.run(2)) != [EAGAIN] * 2:
                wrong.append(found)
        other.join()
    assert wrong == []


def test_the_cost_of_an_operation_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert 0 < batches.cost.__wrapped__(WalkBatch) < 1e6
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setenv(thunks.SWITCH, "0")
    _thunks.cache_clear()
    assert batches.cost.__wrapped__(WalkBatch) == batches.NEVER
    with pytest.raises(UnsupportedError, match="forbids"):
        WalkBatch(0, 1, 1, write=True)


def test_what_fails_has_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "devnull", "/dev/full")
    for kind in (Batch, WalkBatch):
        assert batches.cost.__wrapped__(kind) == batches.NEVER
    monkeypatch.setattr(os, "devnull", "/nonexistent")
    assert batches.cost.__wrapped__(WalkBatch) == batches.NEVER
