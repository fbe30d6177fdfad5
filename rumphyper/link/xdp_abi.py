"""Constants and structures of AF_XDP sockets.

Facts: Linux include/uapi/linux/if_xdp.h, include/linux/socket.h.
"""

from __future__ import annotations

import struct

AF_XDP = 44
SO_SNDBUFFORCE = 32
SOL_XDP = 283

MMAP_OFFSETS = 1
RX_RING, TX_RING = 2, 3
UMEM_REG = 4
FILL_RING, COMPLETION_RING = 5, 6
STATISTICS = 7
OPTIONS = 8
MAX_TX_BUDGET = 9
"""XDP_MAX_TX_SKB_BUDGET: frames a send(2) takes in copy mode (Linux 6.17; 32)."""

COPY, ZEROCOPY, USE_NEED_WAKEUP = 2, 4, 8
OPTIONS_ZEROCOPY = 1

PAGE_OFFSETS = {
    RX_RING: 0,
    TX_RING: 0x80000000,
    FILL_RING: 0x100000000,
    COMPLETION_RING: 0x180000000,
}
"""Where mmap(2) finds each ring."""

ADDRESS = struct.Struct("=HHIII")
"""struct sockaddr_xdp: family, flags, interface, queue, descriptor of a umem."""

UMEM = struct.Struct("=QQII")
"""struct xdp_umem_reg of Linux 4.18: address, octets, of a chunk, headroom."""

RING_OFFSETS = struct.Struct("=QQQQ")
"""struct xdp_ring_offset: producer, consumer, entries, flags."""

COUNTS = struct.Struct("=QQQQQQ")
"""struct xdp_statistics: dropped, bad received, bad sent, receive ring full, fill
ring empty, transmit ring empty. Older kernels have the first three."""

HEADROOM = 256
"""XDP_PACKET_HEADROOM: octets of a chunk in front of a received frame."""
