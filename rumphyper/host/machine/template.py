"""What a machine code template is, and what every machine has to offer.

A template is a list of lines, each one instruction: its octets in hexadecimal
and what a disassembler prints for it, which is what the tests hold it against.
Braces mark the one part of an instruction that depends on the place:

* ``{slot}`` a word of the library's data, by its distance;
* ``{=id}`` a constant of this thunk;
* ``{>full}`` a label, a line of its own (`label`), by its distance.

Templates are compiled once into octets and the fields that are left to fill in;
a library of a hundred thunks is then a matter of copying.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping, Sequence

import attrs

MAX_RECORDED = 10
"""How many argument words a record has room for (see host/recordring.py)."""

VARIADIC_STACK = 16
"""Words of stack that a recorded call of a variadic function passes on."""

ARGUMENTS = 48
"""The place of the first argument in a record."""


@attrs.frozen
class Line:
    """One instruction: octets in hexadecimal, and assembler text."""

    code: str
    text: str


@attrs.frozen
class Field:
    """A part of compiled code that is filled in when its place is known."""

    name: str
    mark: str
    """Nothing for data, ``=`` for a constant, ``>`` or ``>>`` for a label."""
    place: int
    """Where in the code it is."""
    origin: int
    """Where in the code distances count from."""


@attrs.frozen
class Code:
    """A compiled template: what refers to data or constants is still open."""

    octets: bytes
    fields: tuple[Field, ...]


_FIELD = re.compile(r"\{(>*|=)(\w+)\}")


def field_of(line: Line) -> tuple[str, str] | None:
    """Mark and name of the field in a line's octets, if it has one."""
    match = _FIELD.search(line.code)
    return (match[1], match[2]) if match else None


def label(name: str) -> Line:
    """A place in the template that jumps can name."""
    return Line("", f"{name}:")


def table(*pairs: tuple[str, str]) -> list[Line]:
    """Lines from pairs of octets and assembler text."""
    return [Line(code, text) for code, text in pairs]


class Machine(abc.ABC):
    """The kinds of thunk in one architecture's machine code."""

    name: str
    elf_machine: int
    page: int
    """The largest page size of its kernels."""
    registers: int
    """Integer arguments that travel in registers; the rest lies on the stack."""
    padding: bytes
    """An instruction that traps, to fill the room between thunks."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[object, ...], Code] = {}

    @abc.abstractmethod
    def jump(self) -> list[Line]:
        """Jump to ``slot``."""

    @abc.abstractmethod
    def counted(self) -> list[Line]:
        """Add one to ``count``, jump to ``slot``."""

    @abc.abstractmethod
    def compare_and_swap(self, bound: bool) -> list[Line]:
        """1 if the 32-bit word held the expected value and got the new one, or 0.

        Bound: ``arg0`` is the word's address, ``arg1`` and ``arg2`` the values.
        Else they are the call's arguments.
        """

    @abc.abstractmethod
    def exchange(self, bound: bool) -> list[Line]:
        """Set the 32-bit word at ``arg0`` to ``arg1``; return what it held."""

    @abc.abstractmethod
    def bound(self, keep: int, argc: int, constant: bool) -> list[Line]:
        """Call ``slot`` with the caller's first arguments, then bound ones.

        The arguments from ``keep`` to ``argc`` come from ``arg0`` onwards. The
        result is passed on, or is the word ``result`` if ``constant``.
        """

    @abc.abstractmethod
    def attempt(self, argc: int, floats: bool, negative: bool) -> list[Line]:
        """Call ``slot``; if it gives a non-zero int, jump to ``second`` instead.

        If ``negative``, only for an int below zero.

        The second function gets the same arguments: the integer registers, the
        stack, and the floating point registers if ``floats``.
        """

    @abc.abstractmethod
    def chain(self, first: int, second: int) -> list[Line]:
        """Call ``slot`` with ``first`` bound words; keep its uint16_t in ``passed``.

        If that is not 0 jump to ``second`` with ``second`` more bound words and the
        number behind them; else return 0.
        """

    @abc.abstractmethod
    def kept(self) -> list[Line]:
        """Call ``slot`` with a word, an address and a size; keep the result.

        The arguments are the word, and where the address and the size lie; the result
        takes the size's place. Returns 1 if it is positive, else 0.
        """

    @abc.abstractmethod
    def timed(self, argc: int, variadic: bool) -> list[Line]:
        """Call ``slot``; add to ``count``, ``ticks`` and perhaps ``failed``."""

    @abc.abstractmethod
    def recorded(self, argc: int, variadic: bool, noreturn: bool) -> list[Line]:
        """As ``timed``, and write a record; or count, write one and jump."""

    @abc.abstractmethod
    def parse(self, line: Line, at: int) -> tuple[bytes, Field | None]:
        """The octets of a line that lies ``at`` octets into the code."""

    @abc.abstractmethod
    def patch(self, code: bytearray, field: Field, value: int) -> None:
        """Write a distance or a constant into a field."""

    def compile(self, lines: Sequence[Line]) -> Code:
        """Turn a template into octets; its own labels need no address."""
        octets = bytearray()
        labels: dict[str, int] = {}
        fields: list[Field] = []
        for line in lines:
            if not line.code:
                labels[line.text.rstrip(":")] = len(octets)
                continue
            code, field = self.parse(line, len(octets))
            octets += code
            if field is not None:
                fields.append(field)
        left = []
        for field in fields:
            if field.mark.startswith(">"):
                self.patch(octets, field, labels[field.name] - field.origin)
            else:
                left.append(field)
        return Code(bytes(octets), tuple(left))

    def link(self, code: Code, at: int, places: Mapping[str, int]) -> bytes:
        """The octets of compiled code at an address.

        ``places`` gives the addresses of data and the values of constants.
        """
        out = bytearray(code.octets)
        for field in code.fields:
            value = places[field.name]
            if not field.mark:
                value -= at + field.origin
            self.patch(out, field, value)
        return bytes(out)

    def code(self, kind: str, *options: object) -> Code:
        """A template by the name of its method, compiled; made only once."""
        key = (kind, *options)
        if key not in self._compiled:
            self._compiled[key] = self.compile(getattr(self, kind)(*options))
        return self._compiled[key]

    def stack_words(self, argc: int, variadic: bool = False) -> int:
        """Words of stack that a call with ``argc`` argument words reads."""
        return VARIADIC_STACK if variadic else max(0, argc - self.registers)
