"""Thunks: symbols for C made at run time, each a few instructions long.

A `ThunkBuilder` collects symbols, writes a shared object of them and opens it; the
`ThunkLibrary` is the open one. Other libraries find the symbols as they find any
(RTLD_GLOBAL, or by DT_NEEDED of the soname), and what a symbol does is set and
changed by writing words of the library's data:

    builder = ThunkBuilder("librumpuser.so.0")
    builder.jump("rumpuser_malloc")
    library = builder.load(RTLD_GLOBAL)
    library["rumpuser_malloc"].target = callback

There are templates for x86-64 and aarch64; elsewhere `supported` is false and
callers take ctypes and libatomic instead.

No stack can be unwound through a recorded or kept call or an attempt while it is
under way: bind functions that end their thread (pthread_exit) to a jump, or record them
with ``noreturn``, which leaves no frame of its own.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import RTLD_LOCAL

import attrs

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import loader, machine
from rumphyper.host.arch import abi
from rumphyper.host.elf import SharedObject, Symbol
from rumphyper.host.libc import libc
from rumphyper.host.library import (
    COMMON_SIZE,
    PROBE_HEADER,
    Spec,
    ThunkLibrary,
)
from rumphyper.host.machine.template import Code, Machine
from rumphyper.host.recordring import HEADER, check_capacity

__all__ = ["ThunkBuilder", "ThunkLibrary", "check_supported", "probe", "supported"]

SWITCH = "RUMPHYPER_THUNKS"
"""Set to 0 in the environment, no thunk is used, as if there were no template."""

_ALIGN = 16
_LINE = 64
"""Octets of a cache line; of a pair of them that some processors fetch, half."""

_TIMED = ("slot", "count", "failed", "ticks")


def supported() -> bool:
    """Whether thunks can be had here: a template exists and nobody forbade it."""
    return os.environ.get(SWITCH) != "0" and machine.current() is not None


def check_supported() -> Machine:
    """The machine's templates; raise UnsupportedError when `supported` is false."""
    templates = machine.current()
    if templates is None:
        cause = f"no machine code templates for {abi()}"
        raise UnsupportedError("thunks", cause, "use x86-64 or aarch64")
    if os.environ.get(SWITCH) == "0":
        raise UnsupportedError("thunks", f"{SWITCH}=0 forbids them", "unset it")
    return templates


def probe() -> None:
    """Prove that thunks work here: load one and call it.

    Raises UnsupportedError (no templates, or forbidden) or HostError (the host
    lets no code be loaded), whose texts say why and what to do.
    """
    builder = ThunkBuilder("librumphyper-probe.so")
    builder.bound("probe", 1)
    thunk = builder.load()["probe"]
    thunk.target = libc().abs
    thunk.args[0] = -42
    if ctypes.CFUNCTYPE(ctypes.c_int)(thunk.address)() != 42:
        remedy = f"set {SWITCH}=0 and report this processor"
        raise HostError("thunks", "a thunk gave a wrong result", remedy)


@attrs.frozen
class Image:
    """A shared object of thunks, before it is opened."""

    octets: bytes
    text: int
    data: int
    """Addresses of text and data, relative to where the object is loaded."""
    specs: tuple[Spec, ...]


class ThunkBuilder:
    """Collects the symbols of one library.

    ``capacity`` is how many unread records its ring holds, a power of two; a
    record is 128 octets. ``templates`` is for tests of another machine's code.
    Raises UnsupportedError where there are no templates.
    """

    def __init__(
        self, soname: str, capacity: int = 65536, templates: Machine | None = None
    ) -> None:
        self.soname = soname
        self.capacity = check_capacity(capacity)
        self._machine = templates or check_supported()
        self._specs: list[Spec] = []
        self._codes: list[Code] = []
        # The library's own clock reading, for the times in records.
        self._add("", "recorded", _TIMED, self._code("recorded", 2, False, False), 2)

    def _add(
        self,
        name: str,
        kind: str,
        words: tuple[str, ...],
        code: Code,
        argc: int = 0,
        noreturn: bool = False,
    ) -> None:
        number = len(self._specs)
        self._specs.append(Spec(name, kind, words, number, argc, noreturn))
        self._codes.append(code)

    def _code(self, kind: str, *options: object) -> Code:
        return self._machine.code(kind, *options)

    def jump(self, name: str) -> None:
        """A symbol that jumps to its target."""
        self._add(name, "jump", ("slot",), self._code("jump"))

    def counted(self, name: str) -> None:
        """A symbol that adds one to its count and jumps to its target."""
        self._add(name, "counted", ("slot", "count"), self._code("counted"))

    def timed(self, name: str, argc: int, variadic: bool = False) -> None:
        """A symbol that calls its target and adds to its count and its time.

        A result whose lower half is not zero also adds to ``failed``. For the
        arguments see `recorded`. Where the target may not return, see `counted`.
        """
        _check_count(name, argc, 64)
        self._add(name, "timed", _TIMED, self._code("timed", argc, variadic), argc)

    def recorded(
        self, name: str, argc: int, noreturn: bool = False, variadic: bool = False
    ) -> None:
        """A symbol that does as `timed` and writes a record of the call.

        ``argc`` counts the argument words, integers and pointers; floating point
        ones pass through untouched and unrecorded. The first ten are recorded.
        A ``variadic`` call passes on 16 words of stack and always records ten
        words, of which those after the last argument mean nothing. A
        ``noreturn`` target is jumped to, counted and recorded beforehand.
        """
        _check_count(name, argc, 64)
        code = self._code("recorded", argc, variadic, noreturn)
        argc = 10 if variadic else min(argc, 10)
        self._add(name, "recorded", _TIMED, code, argc, noreturn)

    def bound(
        self, name: str, argc: int, result: int | None = None, keep: int = 0
    ) -> None:
        """A symbol that calls its target with arguments bound in advance.

        The target gets ``argc`` (six at most) words: the caller's first ``keep``,
        then bound ones. Its result is passed on, or replaced by ``result``. All
        bound words may be rewritten at any time, each on its own.
        """
        _check_count(name, argc, 6)
        _check_count(name, keep, argc)
        words = ("slot", *(f"arg{index}" for index in range(argc - keep)))
        if result is not None:
            words = (*words, "result")
        code = self._code("bound", keep, argc, result is not None)
        self._add(name, "bound", words, code)
        if result is not None:
            self._specs[-1] = attrs.evolve(self._specs[-1], result=result)

    def attempt(
        self, name: str, argc: int = 6, floats: bool = False, negative: bool = False
    ) -> None:
        """A symbol that calls its target and, if that gives non-zero, its second.

        The target returns a C int. Zero is returned as it is; otherwise the
        second is jumped to with the same arguments: ``argc`` integer words and,
        only if ``floats``, the floating point registers (their lower 128 bits).
        With ``negative`` only a negative int is a failure, as of system calls;
        all else is returned, the whole word of it.
        """
        _check_count(name, argc, 64)
        code = self._code("attempt", argc, floats, negative)
        self._add(name, "attempt", ("slot", "second"), code)

    def chain(self, name: str, first: int, second: int) -> None:
        """A symbol that hands what its target gives on to its second.

        The target is called with the first ``first`` bound words and returns a
        uint16_t, which the word ``passed`` keeps. If it is not 0, the second is
        jumped to with the other ``second`` (five at most) bound words and that
        number as its last argument; else the result is 0. Two threads may not use
        it at the same time.
        """
        _check_count(name, first, 6)
        _check_count(name, second, 5)
        bound = (f"arg{index}" for index in range(first + second))
        words = ("slot", "second", *bound, "passed")
        self._add(name, "chain", words, self._code("chain", first, second))

    def kept(self, name: str) -> None:
        """A symbol that calls its target on an iovec and keeps the result in it.

        Called with a word and the address of an iovec, it calls the target with the
        word and the iovec's address and size, as read(2) and write(2) take them, and
        puts the result in the size's place. It returns 1 for a positive result, else
        0: lfind(3) walks over an array of iovecs until a call fails.
        """
        self._add(name, "kept", ("slot",), self._code("kept"))

    def compare_and_swap(self, name: str, bound: bool = True) -> None:
        """A symbol that sets a 32-bit word if it holds the expected value: 1, else 0.

        Without arguments: ``args`` holds the word's address, the expected and the
        new value. Unbound, those three are the call's arguments.
        """
        words = ("arg0", "arg1", "arg2") if bound else ()
        self._add(name, "swap", words, self._code("compare_and_swap", bound))

    def exchange(self, name: str, bound: bool = True) -> None:
        """A symbol that sets a 32-bit word and returns what it held.

        Without arguments: ``args`` holds the word's address and the new value.
        Unbound, those two are the call's arguments.
        """
        words = ("arg0", "arg1") if bound else ()
        self._add(name, "swap", words, self._code("exchange", bound))

    def image(self) -> Image:
        """Write the shared object. Raises HostError for unfit or double names."""
        templates = self._machine
        at, data, placed = 0, COMMON_SIZE, []
        for spec, code in zip(self._specs, self._codes, strict=True):
            size = len(code.octets)
            if "count" in spec.words:  # what changes often has a line of its own
                data = -(-data // _LINE) * _LINE
            placed.append(attrs.evolve(spec, offset=at, size=size, data=data))
            at += -(-size // _ALIGN) * _ALIGN
            data += 8 * len(spec.words)
        symbols = [Symbol(s.name, s.offset, s.size) for s in placed[1:]]
        if not symbols:
            remedy = "add a symbol before load"
            raise HostError(self.soname, "a library without symbols", remedy)
        layout = SharedObject(
            self.soname, templates.elf_machine, symbols, at, data, templates.page
        )
        text = bytearray(templates.padding * (at // len(templates.padding)))
        for spec, code in zip(placed, self._codes, strict=True):
            header = layout.data_address + (0 if spec.name else PROBE_HEADER)
            places = {name: header + offset for name, offset in HEADER.items()}
            for index, word in enumerate(spec.words):
                places[word] = layout.data_address + spec.data + 8 * index
            places["id"] = spec.number
            octets = templates.link(code, layout.text_address + spec.offset, places)
            text[spec.offset : spec.offset + spec.size] = octets
        whole = layout.write(bytes(text), bytes(data))
        return Image(whole, layout.text_address, layout.data_address, tuple(placed))

    def load(self, mode: int = RTLD_LOCAL) -> ThunkLibrary:
        """Write and open the library, for all to see if ``mode`` is RTLD_GLOBAL.

        A library loaded later that needs this soname (DT_NEEDED) gets this one.
        Raises HostError when the host lets no code be loaded.
        """
        image = self.image()
        handle = loader.load(image.octets, self.soname, mode)
        return ThunkLibrary(handle, image.text, image.data, image.specs, self.capacity)


def _check_count(name: str, count: int, most: int) -> None:
    if not 0 <= count <= most:
        cause = f"{count} arguments, not 0 to {most}"
        raise HostError(f"thunk {name!r}", cause, "see ThunkBuilder's limits")
