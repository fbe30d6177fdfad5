"""Xen's ring of network interfaces: layouts and constants.

Facts: Xen xen/include/public/io/ring.h (struct sring, the push and final-check
macros) and io/netif.h (requests, responses, flags, limits).
"""

from __future__ import annotations

import functools
import struct

PAGE = 4096
"""Octets of a ring and of what one grant shares."""

REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT = 0, 4, 8, 12
"""Offsets of the indices: 32 bits each, free running."""

ENTRIES = 64
"""Where the first entry is. An entry has room for a request or a response."""

SLOTS = 256
"""Entries of either ring: the greatest power of two that has room in a page."""

TX_ENTRY, RX_ENTRY = 12, 8
"""Octets of an entry."""

TX_REQUEST = "IHHHH"
"""Grant reference, offset, flags, id, size."""
TX_RESPONSE = "Hh8x"
"""Id, status; behind it is what is left of a request."""
RX_REQUEST = "H2xI"
"""Id, grant reference."""
RX_RESPONSE = "HHHh"
"""Id, offset, flags, octets or a negative status."""

TX_CSUM_BLANK, TX_DATA_VALIDATED, TX_MORE_DATA, TX_EXTRA_INFO = 1, 2, 4, 8
RX_DATA_VALIDATED, RX_CSUM_BLANK, RX_MORE_DATA, RX_EXTRA_INFO = 1, 2, 4, 8

OKAY, ERROR, DROPPED, NULL = 0, -1, -2, 1
"""Status of a response (NETIF_RSP_*)."""

MOST_SLOTS = 18
"""Entries of a frame that every back end takes (XEN_NETIF_NR_SLOTS_MIN)."""

MOST_OCTETS = 65535
"""The size of a frame is 16 bits wide."""

EXTRA = "its extra information was never agreed on"


@functools.lru_cache(1024)
def several(form: str, count: int) -> struct.Struct:
    """The layout of so many entries, one after the other."""
    return struct.Struct("=" + form * count)
