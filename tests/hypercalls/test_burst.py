"""Bursts from a descriptor that gives one frame per read: a datagram socket."""

from __future__ import annotations

import ctypes
import socket
import threading
from collections.abc import Iterator

import pytest

from rumphyper.errors import HostError
from rumphyper.host import thunks
from rumphyper.hypercalls.burst import FRAMES, Burst, deliver_each, writev_address

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine-code templates for this machine"
)

SOFTC = 0x1234560
DELIVER = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


class Kernel:
    """Keeps what is delivered, as a kernel in C would see it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.function = DELIVER(self.deliver)
        self.thunks = deliver_each(self.function)
        self.thunk = self.thunks.address("deliver_one")

    def deliver(self, softc: int, iovec: int, count: int) -> None:
        assert (softc, count) == (SOFTC, 1)
        base, length = (ctypes.c_size_t * 2).from_address(iovec)
        self.frames.append(ctypes.string_at(base, length))


def test_every_octet_of_a_burst_arrives_in_order(pair: Pair) -> None:
    kernel = Kernel()
    burst = Burst(pair[0].fileno(), 2048, SOFTC, kernel.thunk)
    sent = [bytes([index]) * (14 + index * 20) for index in range(40)]
    for frame in sent:
        pair[1].send(frame)
    burst.wait()
    assert burst.read() == 40
    assert kernel.frames == []  # reading is done outside of the kernel
    burst.deliver()
    assert kernel.frames == sent
    assert burst.received_bytes == sum(map(len, sent))
    burst.close()


def test_more_than_a_burst_comes_in_parts(pair: Pair) -> None:
    kernel = Kernel()
    burst = Burst(pair[0].fileno(), 2048, SOFTC, kernel.thunk)
    sent = [index.to_bytes(2, "big") * 30 for index in range(FRAMES + 5)]
    done = 0
    while len(kernel.frames) < len(sent):
        while done < len(sent):  # the socket's queue may be shorter than that
            try:
                pair[1].send(sent[done])
            except BlockingIOError:
                break
            done += 1
        burst.wait()
        assert 0 < burst.read() <= FRAMES
        burst.deliver()
    assert kernel.frames == sent
    burst.close()


def test_nothing_there_is_an_empty_burst(pair: Pair) -> None:
    kernel = Kernel()
    burst = Burst(pair[0].fileno(), 2048, SOFTC, kernel.thunk)
    assert burst.read() == 0
    burst.deliver()
    assert kernel.frames == []
    burst.close()


def test_wake_ends_the_wait(pair: Pair) -> None:
    burst = Burst(pair[0].fileno(), 2048, SOFTC, Kernel().thunk)
    waiter = threading.Thread(target=burst.wait)
    waiter.start()
    burst.wake()
    waiter.join(timeout=10)
    assert not waiter.is_alive()
    burst.wait()  # and from now on
    burst.close()
    burst.close()


def test_a_descriptor_that_fails_is_an_error() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    burst = Burst(near.fileno(), 2048, SOFTC, Kernel().thunk)
    near.close()
    far.close()
    with pytest.raises(HostError, match="receive"):
        burst.read()
    burst.close()


def test_writev_sends_what_virt_send_is_given(pair: Pair) -> None:
    prototype = ctypes.CFUNCTYPE(
        None, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
    )
    send = prototype(writev_address())
    head, tail = ctypes.create_string_buffer(b"head" * 4), ctypes.c_uint32(0x61626364)
    parts = (ctypes.c_size_t * 4)(ctypes.addressof(head), 16, ctypes.addressof(tail), 4)
    send(pair[0].fileno(), ctypes.addressof(parts), 2)
    assert pair[1].recv(100) == b"head" * 4 + b"dcba"
