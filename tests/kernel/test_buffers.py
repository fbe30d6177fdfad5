"""Memory for system calls: pointers to what callers give, buffers to reuse."""

from __future__ import annotations

import array
import ctypes
import sys
import threading

import pytest

from rumphyper.kernel.buffers import Pinned, Pool, behind, readable, writable

GIVEN = [
    b"0123",
    bytearray(b"0123"),
    memoryview(b"..0123..")[2:6],
    memoryview(bytearray(b"..0123.."))[2:6],
    array.array("B", b"0123"),
]


@pytest.mark.parametrize("data", GIVEN, ids=lambda data: type(data).__name__)
def test_readable(data: bytes) -> None:
    pointer, size, held = readable(data)
    assert size == 4
    assert ctypes.string_at(pointer, size) == b"0123"
    assert ctypes.string_at(behind(pointer, 2), 2) == b"23"
    del held


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b""), array.array("i")])
def test_empty(empty: bytes) -> None:
    assert readable(empty)[1] == 0
    if not isinstance(empty, (bytes, memoryview)):
        assert writable(empty)[1] == 0


def test_writable_writes_there() -> None:
    room = bytearray(8)
    pointer, size = writable(memoryview(room)[2:6])
    assert size == 4
    ctypes.memmove(pointer, b"abcd", 4)
    assert room == b"\0\0abcd\0\0"
    numbers = array.array("i", [0, 0])
    pointer, size = writable(numbers)
    assert size == 8
    ctypes.memmove(pointer, b"\1\0\0\0\2\0\0\0", 8)
    assert list(numbers) == [int.from_bytes(b"\1\0\0\0", sys.byteorder), 2]


def test_memory_stays() -> None:
    """A buffer that a call uses cannot be moved away under it."""
    room = bytearray(100)
    pointer, _ = writable(room)
    with pytest.raises(BufferError):
        room.extend(bytes(10_000))
    del pointer
    room.extend(bytes(10_000))
    data = memoryview(bytearray(10))
    pinned = Pinned(data)
    with pytest.raises(BufferError):
        data.obj.extend(b"more")  # type: ignore[attr-defined]
    pinned.release()
    pinned.release()
    data.release()


def test_refused() -> None:
    with pytest.raises(TypeError):
        writable(b"read only")
    with pytest.raises(TypeError):
        readable("text")  # type: ignore[arg-type]
    with pytest.raises((BufferError, TypeError)):
        readable(memoryview(b"0123")[::2])
    with pytest.raises((BufferError, TypeError)):
        writable(memoryview(bytearray(b"0123"))[::2])


def test_pool() -> None:
    pool = Pool()
    small = pool.take(100)
    assert len(small) >= 100
    pool.give(small)
    assert pool.take(60_000) is small
    large = pool.take(500_000)
    assert len(large) >= 500_000
    pool.give(large)
    assert pool.take(1 << 20) is large
    huge = pool.take(3_000_000)
    assert len(huge) == 3_000_000
    pool.give(huge)
    assert pool.take(3_000_000) is not huge


def test_pool_in_threads() -> None:
    """No buffer is in two hands at once."""
    pool = Pool()
    taken: list[int] = []
    clashes: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(500):
            buffer = pool.take(10)
            with lock:
                if id(buffer) in taken:
                    clashes.append(id(buffer))
                taken.append(id(buffer))
            with lock:
                taken.remove(id(buffer))
            pool.give(buffer)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes
