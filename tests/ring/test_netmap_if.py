"""struct netmap_if: finding the rings, and the buffers that are in no slot."""

from __future__ import annotations

import struct

import pytest

from rumphyper.errors import CorruptError
from rumphyper.ring.netmap_frames import copy_in
from rumphyper.ring.netmap_if import NetmapIf
from tests.ring.netmap_kernel import Memory


def test_the_rings_of_an_interface_are_found_behind_unbound_host_rings() -> None:
    memory = Memory()
    tx = [memory.new_ring(4, 0) for _ in range(2)]
    rx = [memory.new_ring(6, 1) for _ in range(3)]
    face = NetmapIf(memory.map, memory.new_if(tx, rx, host=True), "vale0:p")
    assert [ring.slots for ring in face.tx] == [4, 4]
    assert [ring.slots for ring in face.rx] == [6, 6, 6]
    assert face.host_tx == face.host_rx == ()
    assert face.rx[2].name == "vale0:p rx 2"
    copy_in(face.tx[1], [b"x"])
    assert tx[1].send() == [b"x"]
    face.release_views()
    memory.map.close()


def test_extra_buffers_are_listed_put_into_slots_and_given_back() -> None:
    memory = Memory()
    tx, rx = memory.new_ring(4, 0), memory.new_ring(4, 1)
    face = NetmapIf(memory.map, memory.new_if([tx], [rx], extra=3))
    extra = face.extra_buffers()
    assert extra == [10, 11, 12]
    memory.map[memory.buffer(11) : memory.buffer(11) + 5] = b"hello"
    before = face.exchange(face.tx[0], 11)
    assert before == 2
    assert tx.slot(0)[2] & 1
    tx.put(0, 11, 5, 1)
    face.tx[0].advance(1)
    assert tx.send() == [b"hello"]
    face.set_extra_buffers([10, before, 12])
    assert face.extra_buffers() == [10, 2, 12]
    face.set_extra_buffers([])
    assert face.extra_buffers() == []


def test_a_list_of_extra_buffers_with_a_loop_is_refused() -> None:
    memory = Memory()
    rings = memory.new_ring(4, 0), memory.new_ring(4, 1)
    at = memory.new_if([rings[0]], [rings[1]], extra=2)
    face = NetmapIf(memory.map, at)
    struct.pack_into("=I", memory.map, memory.buffer(11), 10)
    with pytest.raises(CorruptError, match="a loop at 10"):
        face.extra_buffers()
    struct.pack_into("=I", memory.map, memory.buffer(11), 1 << 30)
    with pytest.raises(CorruptError, match="buffer's number is 1073741824"):
        face.extra_buffers()
    for index in (0, 1, 512):
        with pytest.raises(CorruptError, match=f"number is {index}"):
            face.exchange(face.tx[0], index)


@pytest.mark.parametrize(
    ("offset", "value"), [(24, 1 << 31), (24, 4000), (28, 1 << 20), (56, 1 << 40)]
)
def test_an_interface_that_cannot_be_right_is_refused(offset: int, value: int) -> None:
    memory = Memory()
    at = memory.new_if([memory.new_ring(4, 0)], [memory.new_ring(4, 1)])
    form = "=q" if offset == 56 else "=I"
    struct.pack_into(form, memory.map, at + offset, value)
    with pytest.raises(CorruptError):
        NetmapIf(memory.map, at)
    memory.map.close()
