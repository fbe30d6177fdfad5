"""What an operation costs by each kind of batch, for choosing between them."""

from __future__ import annotations

import functools
import os
import time

from rumphyper.errors import RumphyperError
from rumphyper.host.uring_batch import Batch
from rumphyper.host.walk_batch import WalkBatch

NEVER = float("inf")
OPERATIONS, ROUNDS, OCTETS = 64, 8, 64


@functools.cache
def cost(kind: type[Batch] | type[WalkBatch]) -> float:
    """Nanoseconds of one operation; infinite where the kind does not work.

    Measured once a process, in a fifth of a millisecond, by writes to /dev/null: that
    is what the kernel and C take around the work itself, and what differs.
    """
    best = NEVER
    try:
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return NEVER
    try:
        with kind(null, OPERATIONS, OCTETS, write=True) as writes:
            for _ in range(ROUNDS):
                start = time.thread_time_ns()
                if writes.run_alike(OPERATIONS, OCTETS) != OPERATIONS:
                    return NEVER
                best = min(best, time.thread_time_ns() - start)
    except RumphyperError:
        return NEVER
    finally:
        os.close(null)
    return best / OPERATIONS
