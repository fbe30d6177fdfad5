"""Taking the frames out of a stretch of a shmif bus."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from mmap import mmap
from sys import byteorder

import attrs

from rumphyper.ring.shmif import (
    DATA_SIZE,
    HEADER,
    HEADER_SIZE,
    LENGTH,
    MAX_LENGTH,
    RUN,
    Bus,
)

Memory = bytes | mmap
"""What slices of which are bytes: the bus itself, or a copy of a stretch of it."""
MIN_FRAME = 14
"""Shorter packets are skipped, as by the C driver; a new bus begins with one."""


@attrs.frozen
class Packet:
    """One packet of a bus with its header."""

    frame: bytes
    seconds: int
    """Uptime of the sender: stamps of two senders are not comparable."""
    microseconds: int
    sender: int
    """64 bits that each interface draws when it is made."""


def split(
    memory: Memory, offset: int, end: int, limit: int, own: int | None
) -> tuple[list[bytes], int]:
    """Take up to ``limit`` frames out of ``memory``, from ``offset`` to ``end``.

    Skips what is too short for a frame, and what the sender ``own`` has sent.
    Returns the frames and the offset behind the last packet looked at, which
    is less than ``end`` when the limit is reached or the rest is no whole
    packet. Others may change the memory meanwhile: then the frames mean nothing.
    """
    frames: list[bytes] = []
    append = frames.append
    unpack = HEADER.unpack_from
    last = end - HEADER_SIZE
    previous = None
    while offset <= last:
        length, _, _, sender = unpack(memory, offset)
        begin = offset + HEADER_SIZE
        behind = begin + length
        if behind > end or length > MAX_LENGTH:
            break
        if previous is None or length == previous:
            most = min(limit - len(frames), (end - offset) // (behind - offset), RUN)
            if most > 2 and length >= MIN_FRAME:
                run = _run(memory, offset, length, most, own)
                if run:
                    frames += run
                    offset += most * (behind - offset)
                    if len(frames) == limit:
                        break
                    continue
        previous = length
        offset = behind
        if sender != own and length >= MIN_FRAME:
            append(memory[begin:behind])
            if len(frames) == limit:
                break
    return frames, offset


def _run(
    memory: Memory, offset: int, length: int, count: int, own: int | None
) -> Sequence[bytes]:
    """The next ``count`` frames, if all have this length and none is our own."""
    # One octet of every header at a time: 5 strided slices are quicker than
    # numbers made of each header.
    size = HEADER_SIZE + length
    end = offset + count * size
    for place, octet in enumerate(LENGTH.pack(length), offset):
        if memory[place:end:size].count(octet) < count:
            return ()
    if own is not None:
        first_octet = own.to_bytes(8, byteorder)[0]
        if first_octet in memory[offset + HEADER_SIZE - 8 : end : size]:
            return ()
    return _run_struct(length, count)(memory, offset)


@lru_cache(maxsize=256)
def _run_struct(length: int, count: int) -> Callable[[Memory, int], tuple[bytes, ...]]:
    """Unpack the frames of ``count`` packets in a row."""
    return struct.Struct("=" + f"{HEADER_SIZE}x{length}s" * count).unpack_from


def split_packets(
    memory: Memory, offset: int, end: int, limit: int, own: int | None
) -> tuple[list[Packet], int]:
    """Like `split`, with the packets' headers."""
    packets: list[Packet] = []
    while offset <= end - HEADER_SIZE and len(packets) < limit:
        length, seconds, microseconds, sender = HEADER.unpack_from(memory, offset)
        begin = offset + HEADER_SIZE
        if begin + length > end or length > MAX_LENGTH:
            break
        offset = begin + length
        if sender != own and length >= MIN_FRAME:
            frame = memory[begin:offset]
            packets.append(Packet(frame, seconds, microseconds, sender))
    return packets, offset


def check_rest(bus: Bus, position: int, rest: bytes, cut: bool) -> None:
    """Check that ``rest``, which is no whole packet, may be so; CorruptError.

    It lies at ``position``. Only a packet that the limit of the copy has cut
    off (``cut``) and that is no longer than frames are, may be.
    """
    offset = position % DATA_SIZE
    if len(rest) < HEADER_SIZE:
        if not cut:
            field = f"octets of the packet at offset {offset:#x}"
            raise bus.corrupt(field, len(rest), "too few for its header")
        return
    length = HEADER.unpack_from(rest)[0]
    if length > MAX_LENGTH:
        raise bus.bad_length(offset, length)
    if not cut:
        field = f"length of the packet at offset {offset:#x}"
        raise bus.corrupt(field, length, "it runs past the newest packet")
