"""The thunks in x86-64 machine code (System V ABI, AMD64 supplement).

Arguments travel in rdi, rsi, rdx, rcx, r8, r9, then on the stack; al counts the
vector registers of a variadic call; r10 and r11 are free on entry. The text
behind each instruction is what ``objdump -d`` prints.
"""

from __future__ import annotations

import struct

from rumphyper.host.elf import EM_X86_64
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

_REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_LOAD_WORD = ("48 8b 3d", "48 8b 35", "48 8b 15", "48 8b 0d", "4c 8b 05", "4c 8b 0d")
_SAVE = ("48 89 7d", "48 89 75", "48 89 55", "48 89 4d", "4c 89 45", "4c 89 4d")
_RESTORE = ("48 8b 7d", "48 8b 75", "48 8b 55", "48 8b 4d", "4c 8b 45", "4c 8b 4d")

_SMALL_FRAME = 80
"""Octets below rbp: six registers, rax, the first time, rax and rdx returned."""

# Below rbp: registers at -8 to -48, then these.
_RAX_IN, _STARTED, _RAX, _RDX, _VECTORS = -56, -64, -72, -80, -208


def _octet(value: int) -> str:
    return f"{value & 0xFF:02x}"


def _place(value: int) -> str:
    """A displacement as objdump prints it."""
    return f"-{-value:#x}" if value < 0 else f"{value:#x}"


def _save(index: int) -> Line:
    at = -8 * (index + 1)
    text = f"mov %{_REGISTERS[index]},{_place(at)}(%rbp)"
    return Line(f"{_SAVE[index]} {_octet(at)}", text)


def _restore(index: int) -> Line:
    at = -8 * (index + 1)
    text = f"mov {_place(at)}(%rbp),%{_REGISTERS[index]}"
    return Line(f"{_RESTORE[index]} {_octet(at)}", text)


def _vector(index: int, load: bool) -> Line:
    """Save or restore one of the eight vector registers that carry arguments."""
    at = _VECTORS + 16 * index
    modrm, place = _octet(0x85 | index << 3), struct.pack("<i", at).hex(" ")
    if load:
        return Line(f"0f 10 {modrm} {place}", f"movups {_place(at)}(%rbp),%xmm{index}")
    return Line(f"0f 11 {modrm} {place}", f"movups %xmm{index},{_place(at)}(%rbp)")


def _enter(words: int, base: int) -> list[Line]:
    """Make a frame of ``base`` octets and room to pass on words of stack."""
    frame = (base + 8 * words + 15) & ~15
    size = struct.pack("<i", frame).hex(" ")
    return [
        Line("55", "push %rbp"),
        Line("48 89 e5", "mov %rsp,%rbp"),
        Line(f"48 81 ec {size}", f"sub ${frame:#x},%rsp"),
        *(_save(index) for index in range(6)),
        Line(f"48 89 45 {_octet(_RAX_IN)}", "mov %rax,-0x38(%rbp)"),
    ]


def _pass_stack(words: int) -> list[Line]:
    """Copy the caller's stack arguments below our frame."""
    out = []
    for index in range(words):
        source, goal = 16 + 8 * index, 8 * index
        places = struct.pack("<i", source).hex(" "), struct.pack("<i", goal).hex(" ")
        out.append(Line(f"4c 8b 9d {places[0]}", f"mov {source:#x}(%rbp),%r11"))
        out.append(Line(f"4c 89 9c 24 {places[1]}", f"mov %r11,{goal:#x}(%rsp)"))
    return out


def _argument(index: int) -> list[Line]:
    """Copy an argument word from our frame or the caller's into the record."""
    source = -8 * (index + 1) if index < 6 else 16 + 8 * (index - 6)
    goal = ARGUMENTS + 8 * index
    return table(
        (f"48 8b 55 {_octet(source)}", f"mov {_place(source)}(%rbp),%rdx"),
        (f"48 89 51 {_octet(goal)}", f"mov %rdx,{goal:#x}(%rcx)"),
    )


_LEAVE = Line("c9", "leave")
_RET = Line("c3", "ret")
_JUMP = Line("ff 25 {slot}", "jmp *{slot}(%rip)")
_CALL = Line("ff 15 {slot}", "call *{slot}(%rip)")
_RELOAD_RAX = Line("48 8b 45 c8", "mov -0x38(%rbp),%rax")

_START = table(
    ("0f 31", "rdtsc"),
    ("48 c1 e2 20", "shl $0x20,%rdx"),
    ("48 09 c2", "or %rax,%rdx"),
    ("48 89 55 c0", "mov %rdx,-0x40(%rbp)"),
)
_KEEP_RESULT = table(
    ("48 89 45 b8", "mov %rax,-0x48(%rbp)"),
    ("48 89 55 b0", "mov %rdx,-0x50(%rbp)"),
)
_GIVE_RESULT = table(
    ("48 8b 45 b8", "mov -0x48(%rbp),%rax"),
    ("48 8b 55 b0", "mov -0x50(%rbp),%rdx"),
)
# The ring: r10 the time, rax the number of the record, rcx its address.
_RESERVE = [
    *table(
        ("0f 31", "rdtsc"),
        ("48 c1 e2 20", "shl $0x20,%rdx"),
        ("48 09 c2", "or %rax,%rdx"),
        ("49 89 d2", "mov %rdx,%r10"),
    ),
    label("retry"),
    *table(
        ("48 8b 05 {head}", "mov {head}(%rip),%rax"),
        ("48 89 c1", "mov %rax,%rcx"),
        ("48 2b 0d {tail}", "sub {tail}(%rip),%rcx"),
        ("48 3b 0d {capacity}", "cmp {capacity}(%rip),%rcx"),
        ("0f 83 {>>full}", "jae {full}"),
        ("48 8d 50 01", "lea 0x1(%rax),%rdx"),
        ("f0 48 0f b1 15 {head}", "lock cmpxchg %rdx,{head}(%rip)"),
        ("75 {>retry}", "jne {retry}"),
        ("48 8b 0d {mask}", "mov {mask}(%rip),%rcx"),
        ("48 21 c1", "and %rax,%rcx"),
        ("48 c1 e1 07", "shl $0x7,%rcx"),
        ("48 03 0d {records}", "add {records}(%rip),%rcx"),
        ("48 c7 41 08 {=id}", "movq ${id},0x8(%rcx)"),
        ("64 48 8b 14 25 00 00 00 00", "mov %fs:0x0,%rdx"),
        ("48 89 51 10", "mov %rdx,0x10(%rcx)"),
        ("48 8b 55 c0", "mov -0x40(%rbp),%rdx"),
        ("48 89 51 18", "mov %rdx,0x18(%rcx)"),
        ("4c 89 51 20", "mov %r10,0x20(%rcx)"),
    ),
]
_RECORD_RESULT = table(
    ("48 8b 55 b8", "mov -0x48(%rbp),%rdx"),
    ("48 89 51 28", "mov %rdx,0x28(%rcx)"),
)
_RECORD_NO_RESULT = table(("48 c7 41 28 00 00 00 00", "movq $0x0,0x28(%rcx)"))
# x86 keeps stores in order, so the number is seen after all the rest.
_PUBLISH = [
    Line("48 ff c0", "inc %rax"),
    Line("48 89 01", "mov %rax,(%rcx)"),
    Line("eb {>done}", "jmp {done}"),
    label("full"),
    Line("f0 48 ff 05 {lost}", "lock incq {lost}(%rip)"),
    label("done"),
]


class X86_64(Machine):
    """x86-64 with 64-bit pointers."""

    name = "x86_64"
    elf_machine = EM_X86_64
    page = 0x1000
    registers = 6
    padding = b"\xcc"  # int3

    def jump(self) -> list[Line]:
        return [_JUMP]

    def counted(self) -> list[Line]:
        return [Line("f0 48 ff 05 {count}", "lock incq {count}(%rip)"), _JUMP]

    def compare_and_swap(self, bound: bool) -> list[Line]:
        load = table(
            ("48 8b 3d {arg0}", "mov {arg0}(%rip),%rdi"),
            ("8b 05 {arg1}", "mov {arg1}(%rip),%eax"),
            ("8b 15 {arg2}", "mov {arg2}(%rip),%edx"),
        )
        return [
            *(load if bound else table(("89 f0", "mov %esi,%eax"))),
            *table(
                ("f0 0f b1 17", "lock cmpxchg %edx,(%rdi)"),
                ("0f 94 c0", "sete %al"),
                ("0f b6 c0", "movzbl %al,%eax"),
            ),
            _RET,
        ]

    def exchange(self, bound: bool) -> list[Line]:
        load = table(
            ("48 8b 3d {arg0}", "mov {arg0}(%rip),%rdi"),
            ("8b 05 {arg1}", "mov {arg1}(%rip),%eax"),
        )
        return [
            *(load if bound else table(("89 f0", "mov %esi,%eax"))),
            Line("87 07", "xchg %eax,(%rdi)"),  # locks the bus by itself
            _RET,
        ]

    def bound(self, keep: int, argc: int, constant: bool) -> list[Line]:
        loads = []
        for word, index in enumerate(range(keep, argc)):
            text = f"mov {{arg{word}}}(%rip),%{_REGISTERS[index]}"
            loads.append(Line(f"{_LOAD_WORD[index]} {{arg{word}}}", text))
        loads.append(Line("31 c0", "xor %eax,%eax"))  # no vector arguments
        if not constant:
            return [*loads, _JUMP]
        return [
            Line("48 83 ec 08", "sub $0x8,%rsp"),
            *loads,
            _CALL,
            Line("48 8b 05 {result}", "mov {result}(%rip),%rax"),
            Line("48 83 c4 08", "add $0x8,%rsp"),
            _RET,
        ]

    def attempt(self, argc: int, floats: bool) -> list[Line]:
        words = self.stack_words(argc)
        vectors = range(8) if floats else range(0)
        return [
            *_enter(words, -_VECTORS if floats else _SMALL_FRAME),
            *(_vector(index, load=False) for index in vectors),
            *_pass_stack(words),
            _CALL,
            Line("85 c0", "test %eax,%eax"),
            Line("75 {>again}", "jne {again}"),
            _LEAVE,
            _RET,
            label("again"),
            *(_vector(index, load=True) for index in vectors),
            *(_restore(index) for index in range(6)),
            _RELOAD_RAX,
            _LEAVE,
            Line("ff 25 {second}", "jmp *{second}(%rip)"),
        ]

    def recorded(self, argc: int, variadic: bool, noreturn: bool) -> list[Line]:
        words = 0 if noreturn else self.stack_words(argc, variadic)
        copies = range(MAX_RECORDED if variadic else min(argc, MAX_RECORDED))
        arguments = [line for index in copies for line in _argument(index)]
        reload = [_restore(2), _RELOAD_RAX]  # what rdtsc destroyed
        call = [*_pass_stack(words), *reload, _CALL, *_KEEP_RESULT]
        jump = [*(_restore(index) for index in range(6)), _RELOAD_RAX, _LEAVE, _JUMP]
        return [
            *_enter(words, _SMALL_FRAME),
            *_START,
            *([] if noreturn else call),
            *_RESERVE,
            *(_RECORD_NO_RESULT if noreturn else _RECORD_RESULT),
            *arguments,
            *_PUBLISH,
            *(jump if noreturn else [*_GIVE_RESULT, _LEAVE, _RET]),
        ]

    def parse(self, line: Line, at: int) -> tuple[bytes, Field | None]:
        found = field_of(line)
        if found is None:
            return bytes.fromhex(line.code), None
        before, _, after = line.code.partition("{")
        mark, name = found
        room = "00" if mark == ">" else "00" * 4
        place = at + len(bytes.fromhex(before))
        octets = bytes.fromhex(before + room + after.partition("}")[2])
        # Distances count from the next instruction.
        return octets, Field(name, mark, place, at + len(octets))

    def patch(self, code: bytearray, field: Field, value: int) -> None:
        struct.pack_into("<b" if field.mark == ">" else "<i", code, field.place, value)
