"""Waiting until what an interface has received is out of the kernel's queues.

NetBSD 7.99.34 looks at the interface that an ARP packet came from when it takes
the packet off its queue, and crashes when that is gone by then (NetBSD
sys/netinet/if_arp.c, arpintr). IP's queues know about it (ip_input.c, ipintr).
"""

from __future__ import annotations

import ctypes
import time

PAUSE = 0.002
"""Seconds for a frame that is on its way to the queue while the interface stops."""

PATIENCE = 1.0
QUEUE = "rumpns_arpintrq"
"""struct ifqueue, whose first member points to the first packet (net/if.h)."""


def settle(library: ctypes.CDLL) -> None:
    """Wait until the ARP queue is empty, at most a second.

    To be called with the interface down and before it is destroyed. In a
    kernel without that queue there is nothing to wait for.
    """
    try:
        first = ctypes.c_void_p.in_dll(library, QUEUE)
    except ValueError:
        return
    end = time.monotonic() + PATIENCE
    while True:
        time.sleep(PAUSE)
        if not first.value or time.monotonic() > end:
            return
