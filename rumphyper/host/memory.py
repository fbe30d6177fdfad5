"""All memory of this process as one buffer, whose indexes are addresses.

For what C libraries hand over as bare pointers, where a ctypes call for each
would cost more than the octets. Nothing is checked: an index that is no valid
address ends the process, as in C.
"""

from __future__ import annotations

import ctypes
import functools

ADDRESS_BITS = 47
"""User space of x86-64 with four levels of page tables, the most used elsewhere."""


@functools.cache
def memory() -> memoryview:
    """A writable view of everything from address 0 on."""
    return memoryview((ctypes.c_char * (1 << ADDRESS_BITS)).from_address(0)).cast("B")
