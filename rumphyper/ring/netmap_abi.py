"""The layout of netmap's shared memory: offsets, formats and flags.

Facts: netmap sys/net/netmap.h (struct netmap_if, netmap_ring, netmap_slot), API
14 and 15, on hosts whose ssize_t has 64 bits. All of it is in the host's byte
order.
"""

from __future__ import annotations

import struct

# struct netmap_slot
SLOT = struct.Struct("=IHHQ")
"""buf_idx, len, flags, ptr."""
SLOT_SIZE = SLOT.size
LEN, FLAGS = 4, 6
"""Offsets in a slot of its length and its flags."""

BUF_CHANGED = 0x01
REPORT = 0x02
FORWARD = 0x04
NO_LEARN = 0x08
INDIRECT = 0x10
MOREFRAG = 0x20
TXMON = 0x40
PORT_SHIFT = 8
"""Above it are VALE's destination port (tx) or the number of fragments (rx)."""

MAX_FRAGS = 64
"""Slots that one frame may have."""

FIRST_BUFFER = 2
"""Buffers 0 and 1 are the kernel's own (netmap_mem2.c)."""

# struct netmap_ring
RING = struct.Struct("=qIIHHIIII")
"""buf_ofs, num_slots, buf_size, ringid, dir, head, cur, tail, flags.

The kernel writes 1 into dir for tx (netmap_kern.h, enum txrx), netmap.h says 0."""
HEAD, CUR, TAIL, RING_FLAGS = 20, 24, 28, 32
OFFSET_MASK = 56
"""Offset of a u64: bits of a slot's ptr that say where in the buffer frames begin."""
SLOTS = 256
"""Offset of the first slot."""

NR_TIMESTAMP = 0x2
NR_FORWARD = 0x4

# struct netmap_if
IF = struct.Struct("=16sIIIIIII")
"""name, version, flags, tx rings, rx rings, bufs_head, host tx, host rx rings."""
BUFS_HEAD = 32
RING_OFS = 56
"""Offset of the ring offsets (s64, from the netmap_if): tx, host tx, rx, host rx."""

# struct nm_csb_atok and nm_csb_ktoa, one of each for a ring
CSB_ENTRY = 64
ATOK_HEAD, ATOK_CUR, ATOK_NEED_KICK, ATOK_SYNC_FLAGS = 0, 4, 8, 12
KTOA_HWCUR, KTOA_HWTAIL, KTOA_NEED_KICK = 0, 4, 8
