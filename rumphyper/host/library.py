"""An open library of thunks: the words that say what its symbols do."""

from __future__ import annotations

import ctypes
from _ctypes import CFuncPtr
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs
from typing_extensions import Self

from rumphyper.errors import HostError
from rumphyper.host.counter import Counter
from rumphyper.host.libc import libc
from rumphyper.host.recorder import Recorded, Recorder
from rumphyper.host.recordring import HEADER_SIZE, RECORD, Ring

Target: TypeAlias = "int | Callable[..., object]"
"""An address, or a ctypes function, which is kept alive as long as the process."""

PROBE_HEADER = HEADER_SIZE
COMMON_SIZE = 2 * HEADER_SIZE
"""The library's ring and the one for its own clock readings, then the words."""

_CLOCK_MONOTONIC = 1

_forever: list[object] = []
"""Libraries and callbacks that C may still call."""


@attrs.frozen
class Spec:
    """One symbol: what kind of thunk it is and where its parts lie."""

    name: str
    kind: str
    words: tuple[str, ...]
    number: int
    argc: int = 0
    noreturn: bool = False
    result: int = 0
    offset: int = 0
    size: int = 0
    """Of its code in the text."""
    data: int = 0
    """Of its words in the data."""


def function_address(function: Target) -> int:
    """The address of a ctypes function or callback; an integer is passed on.

    Raises HostError for anything else, and for null.
    """
    value: int | None = None
    if isinstance(function, int):
        value = function
    elif isinstance(function, CFuncPtr):
        value = ctypes.cast(function, ctypes.c_void_p).value
    if value is None or not 0 < value < 1 << 64:
        cause = "not the address of a function"
        remedy = "pass an address or a ctypes function"
        raise HostError(f"target {function!r}", cause, remedy)
    return value


class Arguments(Sequence[int]):
    """The bound argument words of a thunk: 64 bits each, negative or not."""

    def __init__(self, words: Sequence[ctypes.c_uint64]) -> None:
        self._words = words

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [word.value for word in self._words[index]]
        return self._words[index].value

    def __setitem__(self, index: int, value: int) -> None:
        self._words[index].value = value


class Thunk:
    """One symbol of an open library; writing its words changes what it does.

    Each word changes at once, in one store, also while threads run through. A
    kind that lacks a word raises HostError when it is asked for.
    """

    def __init__(self, spec: Spec, address: int, data: int) -> None:
        self.name = spec.name
        self.kind = spec.kind
        self.address = address
        self._words = {
            word: ctypes.c_uint64.from_address(data + spec.data + 8 * index)
            for index, word in enumerate(spec.words)
        }
        bound = [word for name, word in self._words.items() if name.startswith("arg")]
        self.args = Arguments(bound)
        """The bound words, none for kinds without."""

    def _word(self, word: str) -> ctypes.c_uint64:
        try:
            return self._words[word]
        except KeyError:
            cause = f"a thunk of kind {self.kind} has no {word}"
            remedy = "build it as another kind"
            raise HostError(f"thunk {self.name!r}", cause, remedy) from None

    def _aim(self, word: str, target: Target) -> None:
        address = function_address(target)
        if not isinstance(target, int):
            _forever.append(target)
        self._word(word).value = address

    @property
    def target(self) -> int:
        """The function behind the symbol; abort(3) until it is set."""
        return self._word("slot").value

    @target.setter
    def target(self, target: Target) -> None:
        self._aim("slot", target)

    @property
    def second(self) -> int:
        """The function that an attempt falls back on; abort(3) until it is set."""
        return self._word("second").value

    @second.setter
    def second(self, target: Target) -> None:
        self._aim("second", target)

    @property
    def result(self) -> int:
        """The constant that a bound call returns."""
        return self._word("result").value

    @result.setter
    def result(self, value: int) -> None:
        self._word("result").value = value

    @property
    def passed(self) -> int:
        """What the target of a chain returned last, which its second got."""
        return self._word("passed").value

    @property
    def count(self) -> int:
        """Calls through a counted symbol since the library was opened.

        Those that have returned, where the symbol is timed or recorded.
        """
        return self._word("count").value

    @property
    def failed(self) -> int:
        """Those of a timed symbol whose result was not zero in its lower half."""
        return self._word("failed").value

    @property
    def ticks(self) -> int:
        """What a timed symbol's calls took, by the processor's counter."""
        return self._word("ticks").value


class ThunkLibrary:
    """The symbols of an open library by name, and its ring.

    It stays open as long as the process lives, `close` or not: other libraries
    have bound themselves to its symbols, a thread may be inside of one, and
    dlclose(3) would take the code away under them.
    """

    def __init__(
        self,
        handle: ctypes.CDLL,
        text: int,
        data: int,
        specs: Sequence[Spec],
        capacity: int,
    ) -> None:
        self.handle = handle
        """The open library, for `ctypes.CDLL.__getitem__` and prototypes."""
        self._specs = specs
        self._capacity = capacity
        first = specs[1]
        base = function_address(handle[first.name]) - text - first.offset
        self._text, self._data = base + text, base + data
        self._thunks = {
            spec.name: Thunk(spec, self._text + spec.offset, self._data)
            for spec in specs
        }
        self._ring: Recorder | None = None
        self._closed = False
        self._prime()
        _forever.append(handle)

    def _prime(self) -> None:
        """Aim every symbol where a call before its time does no harm unseen."""
        nowhere = ctypes.c_uint32(0xFFFFFFFF)
        _forever.append(nowhere)
        for spec in self._specs:
            thunk = self._thunks[spec.name]
            for word in ("slot", "second"):
                if word in spec.words:
                    thunk._aim(word, function_address(libc().abort))
            if "result" in spec.words:
                thunk.result = spec.result
            if spec.kind == "swap" and spec.words:
                thunk.args[0] = ctypes.addressof(nowhere)
        if any(spec.kind in ("recorded", "timed") for spec in self._specs[1:]):
            self._ring = self._open_ring()

    def _open_ring(self) -> Recorder:
        probe, timespec = self._thunks[""], (ctypes.c_int64 * 2)()
        probe.target = libc().clock_gettime
        ring = Ring(self._data + PROBE_HEADER, 2)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        call, at = kind(probe.address), ctypes.addressof(timespec)

        def read() -> tuple[int, int, int]:
            call(_CLOCK_MONOTONIC, at)
            words = RECORD.unpack(ring.take()[0])
            return words[2], words[3], words[4]

        recorded = [Recorded(s.name, s.argc, s.noreturn) for s in self._specs]
        clock = Counter(read, timespec)
        return Recorder(self._data, self._capacity, recorded, clock)

    def __getitem__(self, name: str) -> Thunk:
        """A symbol. Raises HostError when there is none or the library is closed."""
        if self._closed:
            raise HostError("thunk library", "it is closed", "build a new one")
        thunk = self._thunks.get(name) if name else None
        if thunk is None:
            remedy = "add it to the builder before load"
            raise HostError(f"thunk {name!r}", "no such symbol", remedy)
        return thunk

    def __contains__(self, name: object) -> bool:
        return name != "" and name in self._thunks

    def address(self, name: str) -> int:
        """The address of a symbol, as dlsym(3) gives it."""
        return self[name].address

    @property
    def ring(self) -> Recorder:
        """The records, and the clock of their times.

        Raises HostError when no symbol of the library records or takes times.
        """
        if self._ring is None:
            remedy = "add a symbol with ThunkBuilder.recorded"
            raise HostError("ring", "no symbol of this library records", remedy)
        return self._ring

    def close(self) -> None:
        """Let go of the library's words from Python; its code stays. Idempotent."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
