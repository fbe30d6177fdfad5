"""What a machine code template is, and what every machine has to offer.

A template is a list of lines, each one instruction: its octets in hexadecimal
and what a disassembler prints for it, which is what the tests hold it against.
Braces mark the parts that depend on the place:

* ``{slot}`` a word of the library's data, by its distance;
* ``{=id}`` a constant of this thunk;
* ``{>full}`` a label, a line of its own (`label`).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import attrs

MAX_RECORDED = 10
"""How many argument words a record has room for (see host/recorder.py)."""

VARIADIC_STACK = 16
"""Words of stack that a recorded call of a variadic function passes on."""

RESULT = 40
ARGUMENTS = 48
"""Places in a record: the result and the first argument."""


@attrs.frozen
class Line:
    """One instruction: octets in hexadecimal, and assembler text."""

    code: str
    text: str


def label(name: str) -> Line:
    """A place in the template that jumps can name."""
    return Line("", f"{name}:")


def table(*pairs: tuple[str, str]) -> list[Line]:
    """Lines from pairs of octets and assembler text."""
    return [Line(code, text) for code, text in pairs]


class Machine(abc.ABC):
    """The five kinds of thunk in one architecture's machine code."""

    name: str
    elf_machine: int
    page: int
    """The largest page size of its kernels."""
    registers: int
    """Integer arguments that travel in registers; the rest lies on the stack."""
    padding: bytes
    """An instruction that traps, to fill the room between thunks."""

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
    def attempt(self, argc: int, floats: bool) -> list[Line]:
        """Call ``slot``; if it gives a non-zero int, jump to ``second`` instead.

        The second function gets the same arguments: the integer registers, the
        stack, and the floating point registers if ``floats``.
        """

    @abc.abstractmethod
    def recorded(self, argc: int, variadic: bool, noreturn: bool) -> list[Line]:
        """Call ``slot`` and write a record of it, or write one and jump."""

    @abc.abstractmethod
    def width(self, line: Line) -> int:
        """How many octets a line takes, wherever it lies."""

    @abc.abstractmethod
    def encode(self, line: Line, at: int, places: Mapping[str, int]) -> bytes:
        """The octets of a line at an address; ``places`` resolves its fields.

        Data and labels are addresses, constants are values.
        """

    def size(self, lines: Sequence[Line]) -> int:
        """Octets of a whole template."""
        return sum(self.width(line) for line in lines)

    def assemble(
        self, lines: Sequence[Line], at: int, places: Mapping[str, int]
    ) -> bytes:
        """The octets of a template that starts at an address."""
        known = dict(places)
        here = at
        for line in lines:
            if not line.code:
                known[line.text.rstrip(":")] = here
            here += self.width(line)
        out = b""
        for line in lines:
            out += self.encode(line, at + len(out), known)
        return out

    def stack_words(self, argc: int, variadic: bool = False) -> int:
        """Words of stack that a call with ``argc`` argument words reads."""
        return VARIADIC_STACK if variadic else max(0, argc - self.registers)
