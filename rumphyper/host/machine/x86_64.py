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
from rumphyper.host.machine.x86_64_record import (
    ACCOUNT,
    COUNT,
    END,
    GIVE_RESULT,
    KEEP_RESULT,
    PUBLISH,
    RECORD_NO_RESULT,
    RECORD_RESULT,
    RESERVE,
    SLOW_ENOUGH,
    START,
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


def _load(word: int, index: int) -> Line:
    """Load a bound word into the register of an argument."""
    text = f"mov {{arg{word}}}(%rip),%{_REGISTERS[index]}"
    return Line(f"{_LOAD_WORD[index]} {{arg{word}}}", text)


_LEAVE = Line("c9", "leave")
_RET = Line("c3", "ret")
_JUMP = Line("ff 25 {slot}", "jmp *{slot}(%rip)")
_CALL = Line("ff 15 {slot}", "call *{slot}(%rip)")
_NO_VECTORS = Line("31 c0", "xor %eax,%eax")
_PASS = (
    ("89 c7", "mov %eax,%edi"),
    ("89 c6", "mov %eax,%esi"),
    ("89 c2", "mov %eax,%edx"),
    ("89 c1", "mov %eax,%ecx"),
    ("41 89 c0", "mov %eax,%r8d"),
    ("41 89 c1", "mov %eax,%r9d"),
)
_JNE, _JS = ("75 {>again}", "jne {again}"), ("78 {>again}", "js {again}")
_RELOAD_RAX = Line("48 8b 45 c8", "mov -0x38(%rbp),%rax")


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
        return [COUNT, _JUMP]

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
        loads = [_load(word, index) for word, index in enumerate(range(keep, argc))]
        loads.append(_NO_VECTORS)
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

    def attempt(self, argc: int, floats: bool, negative: bool) -> list[Line]:
        words = self.stack_words(argc)
        vectors = range(8) if floats else range(0)
        return [
            *_enter(words, -_VECTORS if floats else _SMALL_FRAME),
            *(_vector(index, load=False) for index in vectors),
            *_pass_stack(words),
            _CALL,
            Line("85 c0", "test %eax,%eax"),
            Line(*(_JS if negative else _JNE)),
            _LEAVE,
            _RET,
            label("again"),
            *(_vector(index, load=True) for index in vectors),
            *(_restore(index) for index in range(6)),
            _RELOAD_RAX,
            _LEAVE,
            Line("ff 25 {second}", "jmp *{second}(%rip)"),
        ]

    def chain(self, first: int, second: int) -> list[Line]:
        return [
            Line("48 83 ec 08", "sub $0x8,%rsp"),
            *(_load(index, index) for index in range(first)),
            _NO_VECTORS,
            _CALL,
            Line("48 83 c4 08", "add $0x8,%rsp"),
            Line("0f b7 c0", "movzwl %ax,%eax"),
            Line("48 89 05 {passed}", "mov %rax,{passed}(%rip)"),
            Line("85 c0", "test %eax,%eax"),
            Line("74 {>none}", "je {none}"),
            *(_load(first + index, index) for index in range(second)),
            Line(*_PASS[second]),
            _NO_VECTORS,
            Line("ff 25 {second}", "jmp *{second}(%rip)"),
            label("none"),
            _RET,
        ]

    def kept(self) -> list[Line]:
        return [
            Line("56", "push %rsi"),
            *table(
                ("48 8b 56 08", "mov 0x8(%rsi),%rdx"),
                ("48 8b 36", "mov (%rsi),%rsi"),
            ),
            _NO_VECTORS,
            _CALL,
            *table(
                ("5e", "pop %rsi"),
                ("48 89 46 08", "mov %rax,0x8(%rsi)"),
                ("31 d2", "xor %edx,%edx"),
                ("48 85 c0", "test %rax,%rax"),
                ("0f 9f c2", "setg %dl"),
                ("89 d0", "mov %edx,%eax"),
            ),
            _RET,
        ]

    def timed(self, argc: int, variadic: bool) -> list[Line]:
        words = self.stack_words(argc, variadic)
        return [*self._call(words), *ACCOUNT, *GIVE_RESULT, _LEAVE, _RET]

    def recorded(self, argc: int, variadic: bool, noreturn: bool) -> list[Line]:
        copies = range(MAX_RECORDED if variadic else min(argc, MAX_RECORDED))
        arguments = [line for index in copies for line in _argument(index)]
        if noreturn:
            restore = [*(_restore(index) for index in range(6)), _RELOAD_RAX]
            return [
                *_enter(0, _SMALL_FRAME),
                *START,
                END,
                COUNT,
                *RESERVE,
                *RECORD_NO_RESULT,
                *arguments,
                *PUBLISH,
                *restore,
                _LEAVE,
                _JUMP,
            ]
        return [
            *self._call(self.stack_words(argc, variadic)),
            *ACCOUNT,
            *SLOW_ENOUGH,
            *RESERVE,
            *RECORD_RESULT,
            *arguments,
            *PUBLISH,
            *GIVE_RESULT,
            _LEAVE,
            _RET,
        ]

    def _call(self, words: int) -> list[Line]:
        """Call the target between two readings of the clock."""
        reload = [_restore(2), _RELOAD_RAX]  # what rdtsc destroyed
        enter = _enter(words, _SMALL_FRAME)
        return [*enter, *START, *_pass_stack(words), *reload, _CALL, *KEEP_RESULT]

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
