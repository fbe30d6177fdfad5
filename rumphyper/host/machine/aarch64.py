"""The thunks in A64 machine code (Procedure Call Standard for the Arm 64-bit ABI).

Arguments travel in x0 to x7, then on the stack; x8 is the address of a result in
memory; x9 to x17 are free on entry. ``ldr`` of a literal and ``adr`` reach one
mebibyte, which bounds the size of a library. The text beside each instruction
is what ``objdump -d`` prints; instructions are written as 32-bit numbers.
"""

from __future__ import annotations

import struct

from rumphyper.errors import UnsupportedError
from rumphyper.host.elf import EM_AARCH64
from rumphyper.host.machine.aarch64_record import (
    ACCOUNT,
    COUNT,
    END,
    PUBLISH,
    RECORD_NO_RESULT,
    RECORD_RESULT,
    RESERVE,
    SLOW_ENOUGH,
    START,
)
from rumphyper.host.machine.template import (
    ARGUMENTS,
    MAX_RECORDED,
    Field,
    Line,
    Machine,
    field_of,
    label,
    table,
)

_FRAME = 80
"""Octets below x29: eight registers, x8, the first time."""
_VECTORS = 128
"""Octets of v0 to v7, below those."""

_ENTER = table(
    ("a9bf7bfd", "stp x29, x30, [sp, #-16]!"),
    ("910003fd", "mov x29, sp"),
)
_SAVE = table(
    ("a93c07a0", "stp x0, x1, [x29, #-64]"),
    ("a93d0fa2", "stp x2, x3, [x29, #-48]"),
    ("a93e17a4", "stp x4, x5, [x29, #-32]"),
    ("a93f1fa6", "stp x6, x7, [x29, #-16]"),
    ("f81b83a8", "stur x8, [x29, #-72]"),
)
_RESTORE = table(
    ("a97c07a0", "ldp x0, x1, [x29, #-64]"),
    ("a97d0fa2", "ldp x2, x3, [x29, #-48]"),
    ("a97e17a4", "ldp x4, x5, [x29, #-32]"),
    ("a97f1fa6", "ldp x6, x7, [x29, #-16]"),
    ("f85b83a8", "ldur x8, [x29, #-72]"),
)
_SAVE_VECTORS = table(
    ("ad3987a0", "stp q0, q1, [x29, #-208]"),
    ("ad3a8fa2", "stp q2, q3, [x29, #-176]"),
    ("ad3b97a4", "stp q4, q5, [x29, #-144]"),
    ("ad3c9fa6", "stp q6, q7, [x29, #-112]"),
)
_RESTORE_VECTORS = table(
    ("ad7987a0", "ldp q0, q1, [x29, #-208]"),
    ("ad7a8fa2", "ldp q2, q3, [x29, #-176]"),
    ("ad7b97a4", "ldp q4, q5, [x29, #-144]"),
    ("ad7c9fa6", "ldp q6, q7, [x29, #-112]"),
)
_LEAVE = table(
    ("910003bf", "mov sp, x29"),
    ("a8c17bfd", "ldp x29, x30, [sp], #16"),
)
_RET = Line("d65f03c0", "ret")
_JUMP = table(("58000010 {slot}", "ldr x16, {slot}"), ("d61f0200", "br x16"))
_IF_NOT_ZERO = table(("35000000 {>again}", "cbnz w0, {again}"))
_IF_NEGATIVE = table(
    ("7100001f", "cmp w0, #0"),
    ("5400000b {>again}", "b.lt {again}"),
)
_CALL = table(("58000010 {slot}", "ldr x16, {slot}"), ("d63f0200", "blr x16"))


def _room(base: int, words: int) -> Line:
    """Make a frame of ``base`` octets and room to pass on words of stack."""
    frame = (base + 8 * words + 15) & ~15
    return Line(f"{0xD10003FF | frame << 10:08x}", f"sub sp, sp, #{frame}")


def _pass_stack(words: int) -> list[Line]:
    """Copy the caller's stack arguments below our frame."""
    out = []
    for index in range(words):
        load, store = 0xF9400BA9 + (index << 10), 0xF90003E9 + (index << 10)
        place = f"[sp, #{8 * index}]" if index else "[sp]"
        out.append(Line(f"{load:08x}", f"ldr x9, [x29, #{16 + 8 * index}]"))
        out.append(Line(f"{store:08x}", f"str x9, {place}"))
    return out


def _argument(index: int) -> list[Line]:
    """Copy an argument word from our frame or the caller's into the record."""
    goal = ARGUMENTS + 8 * index
    store = Line(f"{0xF90001AE | goal // 8 << 10:08x}", f"str x14, [x13, #{goal}]")
    if index < 8:
        source = -64 + 8 * index
        word = 0xF84003AE | (source & 0x1FF) << 12
        return [Line(f"{word:08x}", f"ldur x14, [x29, #{source}]"), store]
    source = 16 + 8 * (index - 8)
    word = 0xF94003AE | source // 8 << 10
    return [Line(f"{word:08x}", f"ldr x14, [x29, #{source}]"), store]


def _load(word: int, index: int) -> Line:
    """Load a bound word into the register of an argument."""
    code = f"{0x58000000 | index:08x} {{arg{word}}}"
    return Line(code, f"ldr x{index}, {{arg{word}}}")


class AArch64(Machine):
    """64-bit Arm, little-endian."""

    name = "aarch64"
    elf_machine = EM_AARCH64
    page = 0x10000
    registers = 8
    padding = bytes.fromhex("000020d4")  # brk #0

    def jump(self) -> list[Line]:
        return list(_JUMP)

    def counted(self) -> list[Line]:
        return [
            Line("10000010 {count}", "adr x16, {count}"),
            label("retry"),
            Line("c85f7e11", "ldxr x17, [x16]"),
            Line("91000631", "add x17, x17, #1"),
            Line("c80f7e11", "stxr w15, x17, [x16]"),
            Line("3500000f {>retry}", "cbnz w15, {retry}"),
            *_JUMP,
        ]

    def compare_and_swap(self, bound: bool) -> list[Line]:
        load = table(
            ("58000000 {arg0}", "ldr x0, {arg0}"),
            ("18000001 {arg1}", "ldr w1, {arg1}"),
            ("18000002 {arg2}", "ldr w2, {arg2}"),
        )
        return [
            *(load if bound else []),
            label("retry"),
            Line("885ffc09", "ldaxr w9, [x0]"),
            Line("6b01013f", "cmp w9, w1"),
            Line("54000001 {>differs}", "b.ne {differs}"),
            Line("880afc02", "stlxr w10, w2, [x0]"),
            Line("3500000a {>retry}", "cbnz w10, {retry}"),
            Line("52800020", "mov w0, #1"),
            _RET,
            label("differs"),
            Line("d5033f5f", "clrex"),
            Line("52800000", "mov w0, #0"),
            _RET,
        ]

    def exchange(self, bound: bool) -> list[Line]:
        load = table(
            ("58000000 {arg0}", "ldr x0, {arg0}"),
            ("18000001 {arg1}", "ldr w1, {arg1}"),
        )
        return [
            *(load if bound else []),
            label("retry"),
            Line("885ffc09", "ldaxr w9, [x0]"),
            Line("880afc01", "stlxr w10, w1, [x0]"),
            Line("3500000a {>retry}", "cbnz w10, {retry}"),
            Line("2a0903e0", "mov w0, w9"),
            _RET,
        ]

    def bound(self, keep: int, argc: int, constant: bool) -> list[Line]:
        loads = [_load(word, index) for word, index in enumerate(range(keep, argc))]
        if not constant:
            return [*loads, *_JUMP]
        result = Line("58000000 {result}", "ldr x0, {result}")
        return [*_ENTER, *loads, *_CALL, result, _LEAVE[1], _RET]

    def attempt(self, argc: int, floats: bool, negative: bool) -> list[Line]:
        words = self.stack_words(argc)
        return [
            *_ENTER,
            _room(_FRAME + (_VECTORS if floats else 0), words),
            *_SAVE,
            *(_SAVE_VECTORS if floats else []),
            *_pass_stack(words),
            *_CALL,
            *(_IF_NEGATIVE if negative else _IF_NOT_ZERO),
            *_LEAVE,
            _RET,
            label("again"),
            *(_RESTORE_VECTORS if floats else []),
            *_RESTORE,
            *_LEAVE,
            Line("58000010 {second}", "ldr x16, {second}"),
            Line("d61f0200", "br x16"),
        ]

    def chain(self, first: int, second: int) -> list[Line]:
        return [
            *_ENTER,
            *(_load(index, index) for index in range(first)),
            *_CALL,
            Line("53003c09", "uxth w9, w0"),
            Line("10000010 {passed}", "adr x16, {passed}"),
            Line("f9000209", "str x9, [x16]"),
            Line("34000009 {>none}", "cbz w9, {none}"),
            *(_load(first + index, index) for index in range(second)),
            Line(f"{0x2A0903E0 | second:08x}", f"mov w{second}, w9"),
            _LEAVE[1],
            Line("58000010 {second}", "ldr x16, {second}"),
            Line("d61f0200", "br x16"),
            label("none"),
            Line("52800000", "mov w0, #0"),
            _LEAVE[1],
            _RET,
        ]

    def kept(self) -> list[Line]:
        return [
            *_ENTER,
            Line("f81f0fe1", "str x1, [sp, #-16]!"),
            Line("a9400821", "ldp x1, x2, [x1]"),
            *_CALL,
            Line("f94003e1", "ldr x1, [sp]"),
            Line("f9000420", "str x0, [x1, #8]"),
            Line("f100001f", "cmp x0, #0x0"),
            Line("1a9fd7e0", "cset w0, gt"),
            *_LEAVE,
            _RET,
        ]

    def timed(self, argc: int, variadic: bool) -> list[Line]:
        words = self.stack_words(argc, variadic)
        enter = [*_ENTER, _room(_FRAME, words), *START]
        return [*enter, *_pass_stack(words), *_CALL, *ACCOUNT, *_LEAVE, _RET]

    def recorded(self, argc: int, variadic: bool, noreturn: bool) -> list[Line]:
        words = 0 if noreturn else self.stack_words(argc, variadic)
        copies = range(MAX_RECORDED if variadic else min(argc, MAX_RECORDED))
        arguments = [line for index in copies for line in _argument(index)]
        call = [*_pass_stack(words), *_CALL, *ACCOUNT, *SLOW_ENOUGH]
        return [
            *_ENTER,
            _room(_FRAME, words),
            *_SAVE,
            *START,
            *([END, *COUNT] if noreturn else call),
            *RESERVE,
            RECORD_NO_RESULT if noreturn else RECORD_RESULT,
            *arguments,
            *PUBLISH,
            *(_RESTORE if noreturn else []),
            *_LEAVE,
            *(_JUMP if noreturn else [_RET]),
        ]

    def parse(self, line: Line, at: int) -> tuple[bytes, Field | None]:
        octets = struct.pack("<I", int(line.code[:8], 16))
        found = field_of(line)
        return octets, Field(found[1], found[0], at, at) if found else None

    def patch(self, code: bytearray, field: Field, value: int) -> None:
        (word,) = struct.unpack_from("<I", code, field.place)
        bits = value << 5 if field.mark == "=" else _distance(word, value)
        struct.pack_into("<I", code, field.place, word | bits)


def _distance(word: int, distance: int) -> int:
    """A distance in octets as the instruction ``word`` holds it."""
    if not -(1 << 20) <= distance < 1 << 20:
        remedy = "split the library into smaller ones"
        raise UnsupportedError("thunk library", "it is larger than 1 MiB", remedy)
    if word >> 26 == 0b000101:  # b
        return distance >> 2 & 0x3FFFFFF
    if word >> 24 & 0x9F == 0b10000:  # adr
        return (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5
    return (distance >> 2 & 0x7FFFF) << 5  # ldr of a literal, b.cond, cbnz
