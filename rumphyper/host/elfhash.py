"""The two hash tables through which a dynamic linker finds symbols.

Both number the symbols from 1, as .dynsym does after its null entry. The GNU
table wants them sorted by bucket, which `order` does. Facts: System V ABI, chapter
"Dynamic Linking", and for DT_GNU_HASH glibc's elf/dl-lookup.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = 0xFFFFFFFF
_SHIFT = 6
_WORD = 64


def buckets(count: int) -> int:
    """How many buckets both tables use for a number of symbols."""
    return max(1, count // 2 | 1)


def sysv(name: str) -> int:
    """The System V ABI's hash of a symbol's name."""
    value = 0
    for octet in name.encode():
        value = (value << 4) + octet
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & _MASK
    return value


def gnu(name: str) -> int:
    """The hash of DT_GNU_HASH: times 33 plus octet, from 5381."""
    value = 5381
    for octet in name.encode():
        value = (value * 33 + octet) & _MASK
    return value


def order(symbols: Iterable[T], name: Callable[[T], str]) -> list[T]:
    """The symbols in the order that the GNU table needs."""
    all_of_them = list(symbols)
    count = buckets(len(all_of_them))
    return sorted(all_of_them, key=lambda symbol: gnu(name(symbol)) % count)


def sysv_table(names: Sequence[str]) -> bytes:
    """DT_HASH: counts, the first symbol of each bucket, each symbol's next one."""
    count = buckets(len(names))
    heads = [0] * count
    chain = [0] * (len(names) + 1)
    for index, name in enumerate(names, 1):
        bucket = sysv(name) % count
        chain[index], heads[bucket] = heads[bucket], index
    words = [count, len(chain), *heads, *chain]
    return struct.pack(f"<{len(words)}I", *words)


def gnu_table(names: Sequence[str]) -> bytes:
    """DT_GNU_HASH for names sorted by bucket: filter, buckets, hashes.

    The lowest bit of a hash marks the last symbol of its bucket.
    """
    count = buckets(len(names))
    hashes = [gnu(name) for name in names]
    words = 1
    while words * 8 < len(names):
        words *= 2
    bloom = [0] * words
    heads = [0] * count
    chain = []
    for index, value in enumerate(hashes, 1):
        bits = 1 << value % _WORD | 1 << (value >> _SHIFT) % _WORD
        bloom[value // _WORD % words] |= bits
        heads[value % count] = heads[value % count] or index
        last = index == len(hashes) or hashes[index] % count != value % count
        chain.append(value & ~1 | last)
    out = struct.pack("<4I", count, 1, words, _SHIFT)
    out += struct.pack(f"<{words}Q", *bloom)
    return out + struct.pack(f"<{count + len(chain)}I", *heads, *chain)
