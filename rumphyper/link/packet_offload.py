"""What the kernel keeps beside a frame, put back into it.

A packet socket gets a frame as the kernel has it: its VLAN tag taken off, its
checksum not filled in yet, several segments in one. On the wire it would look
otherwise, and that is how a link hands it on.
"""

from __future__ import annotations

import attrs

from rumphyper.link.packet_abi import STATUS_VLAN_TPID_VALID, STATUS_VLAN_VALID
from rumphyper.net.ethernet import VLAN
from rumphyper.net.segment import frames_of
from rumphyper.net.vnet import NOTHING_LEFT

_ADDRESSES = 12
"""Octets in front of a VLAN tag."""


@attrs.frozen
class Aside:
    """What comes beside a frame: TP_STATUS_* and the VLAN tag taken off."""

    status: int = 0
    tci: int = 0
    tpid: int = 0

    def tag(self, frame: bytes) -> bytes:
        """The frame with its VLAN tag, if it had one."""
        if not self.status & STATUS_VLAN_VALID:
            return frame
        tpid = self.tpid if self.status & STATUS_VLAN_TPID_VALID else VLAN
        tag = tpid.to_bytes(2, "big") + self.tci.to_bytes(2, "big")
        return frame[:_ADDRESSES] + tag + frame[_ADDRESSES:]


def restore(header: bytes, frame: bytes, aside: Aside) -> list[bytes]:
    """The frame or frames as they would be on a wire.

    ``header`` is the virtio-net header. None when it makes no sense.
    """
    frames = [frame] if header == NOTHING_LEFT else frames_of(header + frame)
    return [aside.tag(one) for one in frames]
