"""Small programs that rewrite or drop frames, run by DPDK on whole bursts.

They are built step by step, in the octets of frames; the result is eBPF as
lib/bpf/bpf_def.h has it, which DPDK verifies and compiles to machine code.

    program = Program().require(12, b"\\x08\\x00").swap_macs()

Facts: DPDK lib/bpf/bpf_validate.c (what may be loaded from an mbuf), RFC 9669.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import attrs
from typing_extensions import Self

from rumphyper.errors import RumphyperError

_LOAD = {8: 0x79, 4: 0x61, 2: 0x69, 1: 0x71}
_STORE = {8: 0x7B, 4: 0x63, 2: 0x6B, 1: 0x73}
_STORE_CONSTANT = {4: 0x62, 2: 0x6A, 1: 0x72}
_ADD, _CONSTANT, _EXIT = 0x0F, 0xB7, 0x95
_IF_EQUAL, _IF_OTHER, _IF_LESS = 0x15, 0x55, 0xA5

_RESULT, _MBUF, _FRAME, _ONE, _TWO = 0, 1, 2, 3, 4
"""Registers: the verdict, the argument, where the frame begins, values."""

MOST = 2048
"""Octets of a frame that programs may touch, from its start."""

_DROP, _KEEP = "drop", "keep"


class ProgramError(RumphyperError, ValueError):
    """A step that no program can have."""


@attrs.frozen
class _Step:
    """An instruction; a jump names where it goes."""

    code: int
    target: int = 0
    source: int = 0
    offset: int = 0
    constant: int = 0
    where: str = ""


def _pieces(at: int, count: int, widest: int) -> Iterator[tuple[int, int]]:
    """Cut octets into loads: place and width of each."""
    while count:
        width = next(w for w in (8, 4, 2, 1) if w <= min(count, widest))
        yield at, width
        at, count = at + width, count - width


class Program:
    """What is done with each frame, step after step.

    Places are octets from the start of the frame. A frame that is too short for
    one of the steps is left alone; where frames are chosen, it is dropped. Only
    the first mbuf of a frame counts. Methods return the program itself.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._reach = 0
        self._choosy = False

    def _touch(self, at: int, count: int) -> None:
        if at < 0 or count < 1 or at + count > MOST:
            cause = f"{count} octets at {at}"
            raise ProgramError("BPF program", cause, f"stay within 0 to {MOST}")
        self._reach = max(self._reach, at + count)

    def swap(self, one: int, two: int, count: int) -> Self:
        """Let ``count`` octets at two places trade places."""
        self._touch(one, count)
        self._touch(two, count)
        if abs(one - two) < count:
            cause = f"{count} octets at {one} and at {two} overlap"
            raise ProgramError("BPF program", cause, "choose others")
        for at, width in _pieces(0, count, 4):
            self._steps += [
                _Step(_LOAD[width], _ONE, _FRAME, one + at),
                _Step(_LOAD[width], _TWO, _FRAME, two + at),
                _Step(_STORE[width], _FRAME, _TWO, one + at),
                _Step(_STORE[width], _FRAME, _ONE, two + at),
            ]
        return self

    def swap_macs(self) -> Self:
        """Send frames back: destination and source trade places."""
        return self.swap(0, 6, 6)

    def write(self, at: int, octets: bytes) -> Self:
        """Put octets at a place."""
        self._touch(at, len(octets))
        for place, width in _pieces(at, len(octets), 4):
            piece = octets[place - at : place - at + width]
            value = int.from_bytes(piece, "little", signed=width == 4)
            self._steps.append(_Step(_STORE_CONSTANT[width], _FRAME, 0, place, value))
        return self

    def require(self, at: int, octets: bytes) -> Self:
        """Drop frames that have other octets there."""
        self._compare(at, octets, equal=_DROP)
        return self

    def reject(self, at: int, octets: bytes) -> Self:
        """Drop frames that have these octets there."""
        self._compare(at, octets, equal="")
        return self

    def _compare(self, at: int, octets: bytes, equal: str) -> None:
        self._touch(at, len(octets))
        self._choosy = True
        # Constants are sign-extended: of no more than two octets, they are positive.
        pieces = list(_pieces(at, len(octets), 2))
        other = equal or f"past{len(self._steps)}"
        for place, width in pieces:
            piece = octets[place - at : place - at + width]
            value = int.from_bytes(piece, "little")
            self._steps += [
                _Step(_LOAD[width], _ONE, _FRAME, place),
                _Step(_IF_OTHER, _ONE, constant=value, where=other),
            ]
        if not equal:
            self._steps += [
                _Step(_CONSTANT, _ONE),
                _Step(_IF_EQUAL, _ONE, where=_DROP),
                _Step(0, where=other),
            ]

    def instructions(self, layout: Mapping[str, int]) -> bytes:
        """The program for mbufs of this layout, 8 octets an instruction.

        Its argument is an mbuf; its result is 0 for frames to be dropped.
        """
        short = _DROP if self._choosy else _KEEP
        steps = [
            _Step(_LOAD[2], _ONE, _MBUF, layout["rte_mbuf.data_len"]),
            _Step(_IF_LESS, _ONE, constant=self._reach, where=short),
            _Step(_LOAD[8], _FRAME, _MBUF, layout["rte_mbuf.buf_addr"]),
            _Step(_LOAD[2], _ONE, _MBUF, layout["rte_mbuf.data_off"]),
            _Step(_ADD, _FRAME, _ONE),
            *self._steps,
            _Step(0, where=_KEEP),
            _Step(_CONSTANT, _RESULT, constant=1),
            _Step(_EXIT),
        ]
        if any(step.where == _DROP for step in steps):
            steps += [
                _Step(0, where=_DROP),
                _Step(_CONSTANT, _RESULT),
                _Step(_EXIT),
            ]
        return _assemble(steps)


def _assemble(steps: list[_Step]) -> bytes:
    places: dict[str, int] = {}
    count = 0
    for step in steps:
        if step.code:
            count += 1
        else:
            places[step.where] = count
    out = bytearray()
    number = 0
    for step in steps:
        if step.code:
            number += 1
            offset = places[step.where] - number if step.where else step.offset
            registers = step.source << 4 | step.target
            out += struct.pack("<BBhi", step.code, registers, offset, step.constant)
    return bytes(out)
