"""pci/dma: buffers of one segment and of several."""

from __future__ import annotations

import pytest

from rumphyper.pci.dma import DmaBuffer, Segment
from rumphyper.pci.errors import DmaError


def make(released: list[str]) -> DmaBuffer:
    view = memoryview(bytearray(300))
    segments = [Segment(0, 0x5000, 100), Segment(100, 0x9000, 200)]
    return DmaBuffer(view, 0x700000, segments, lambda: released.append("once"))


def test_addresses_on_the_bus() -> None:
    with make([]) as buffer:
        assert (buffer.size, buffer.iova) == (300, 0x5000)
        assert buffer.bus(0) == 0x5000
        assert buffer.bus(99) == 0x5063
        assert buffer.bus(100) == 0x9000
        assert buffer.bus(0, 100) == 0x5000
        assert buffer.bus(250, 50) == 0x9000 + 150


@pytest.mark.parametrize(
    ("offset", "size", "cause"),
    [
        (99, 2, "2 octets at 0x63 are in pieces on the bus"),
        (0, 300, "in pieces"),
        (300, 1, "outside of it"),
        (-1, 1, "outside of it"),
        (0, 0, "outside of it"),
        (200, 101, "outside of it"),
    ],
)
def test_runs_that_the_bus_does_not_have(offset: int, size: int, cause: str) -> None:
    with make([]) as buffer, pytest.raises(DmaError, match=cause):
        buffer.bus(offset, size)


def test_closing_releases_once() -> None:
    released: list[str] = []
    buffer = make(released)
    view = buffer.view
    buffer.close()
    buffer.close()
    assert released == ["once"]
    with pytest.raises(ValueError, match="released"):
        view[0]
