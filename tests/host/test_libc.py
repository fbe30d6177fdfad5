"""host/libc: errors with their errno, and addresses of buffers."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

import pytest
from typing_extensions import Buffer

from rumphyper.errors import HostError
from rumphyper.host import libc


def test_check_carries_errno_and_texts() -> None:
    number = libc.libc().close(ctypes.c_int(-1))
    with pytest.raises(HostError) as caught:
        libc.check(number, "close of nothing", "open it first")
    assert caught.value.errno == errno.EBADF
    assert str(caught.value) == "close of nothing: Bad file descriptor (open it first)"


def test_check_passes_success_on() -> None:
    assert libc.check(0, "x") == 0
    assert libc.check(7, "x") == 7


def test_check_pointer_null_and_map_failed() -> None:
    mapper = libc.libc().mmap
    mapper.restype = ctypes.c_void_p
    # length 0 is EINVAL (mmap(2))
    result = mapper(None, ctypes.c_size_t(0), 0, 0x22, -1, ctypes.c_long(0))
    assert result == libc.MAP_FAILED
    with pytest.raises(HostError) as caught:
        libc.check_pointer(result, "mapping")
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(HostError):
        libc.check_pointer(None, "pointer")
    assert libc.check_pointer(4096, "pointer") == 4096


def test_check_error_of_pthread_style() -> None:
    libc.check_error(0, "join")
    with pytest.raises(HostError) as caught:
        libc.check_error(errno.EDEADLK, "join")
    assert caught.value.errno == errno.EDEADLK


def test_from_oserror() -> None:
    try:
        os.stat("/nonexistent/file")
    except OSError as error:
        got = libc.from_oserror(error, "bus file", "make it")
    assert (got.errno, got.thing) == (errno.ENOENT, "bus file")
    assert got.cause == "No such file or directory"


@pytest.mark.parametrize("kind", ["bytearray", "mmap", "memoryview"])
def test_address_points_into_the_buffer(kind: str) -> None:
    store = bytearray(b"0123456789")
    area = mmap.mmap(-1, 4096)
    area[:10] = store
    buffers: dict[str, Buffer] = {
        "bytearray": store,
        "mmap": area,
        "memoryview": memoryview(store),
    }
    buffer = buffers[kind]
    assert ctypes.string_at(libc.address(buffer, 3), 4) == b"3456"
    area.close()


def test_pin_keeps_the_buffer_exported() -> None:
    area = mmap.mmap(-1, 4096)
    held = libc.pin(area, 4, 4)
    with pytest.raises(BufferError):
        area.close()
    del held
    area.close()


@pytest.mark.parametrize(
    ("offset", "size"), [(-1, 1), (0, 0), (8, 1), (5, 4), (0, 9), (1 << 70, 1)]
)
def test_pin_refuses_octets_outside(offset: int, size: int) -> None:
    with pytest.raises(HostError) as caught:
        libc.pin(bytearray(8), offset, size)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "buffer", [b"read-only", memoryview(bytearray(8))[::2], "text"]
)
def test_pin_refuses_unfit_buffers(buffer: bytes) -> None:
    with pytest.raises(HostError):
        libc.pin(buffer)
