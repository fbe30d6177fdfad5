"""What the tests of the packet link share."""

from __future__ import annotations

from typing import Any

import pytest

from rumphyper.link.packet import PacketLink, open_packet
from tests.link.tap_support import (
    frame,
)

both = pytest.mark.parametrize("io", ["mmsg", "ring"])


def tagged(payload: bytes, tci: int = 7, tpid: int = 0x8100) -> bytes:
    """A frame with a VLAN tag."""
    octets = frame(payload)
    tag = tpid.to_bytes(2, "big") + tci.to_bytes(2, "big")
    return octets[:12] + tag + octets[12:]


def open_near(io: str, **options: Any) -> PacketLink:
    return open_packet("near", io=io, **options)  # type: ignore[arg-type]
