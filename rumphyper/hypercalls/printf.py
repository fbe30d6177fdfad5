"""How a trace prints what follows a printf(3) format: each as its conversion says.

The caller's arguments are machine words, as many as could have been given; the
format says how many there are and what they mean.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence

from rumphyper.hypercalls.show import TEXT_LIMIT, View, character, quoted

_CONVERSION = re.compile(
    rb"%(?P<flags>[-+ #0']*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d*))?"
    rb"(?P<size>hh|h|ll|l|q|j|z|t)?(?P<kind>.)",
    re.DOTALL,
)
_BITS = {b"hh": 8, b"h": 16, b"": 32}


def arguments(format: bytes, words: Sequence[int], live: bool) -> list[str]:
    """The texts of the arguments behind ``format``.

    ``live`` permits to read the strings. What cannot be told is ``...``.
    """
    left = iter(words)
    texts: list[str] = []
    for match in _CONVERSION.finditer(format):
        if match["kind"] == b"%":
            continue
        try:
            if match["width"] == b"*":
                texts.append(str(_signed(next(left), 32)))
            limit = _precision(match["precision"], left, texts)
            text = _one(match["kind"], match["size"] or b"", limit, left, live)
        except StopIteration:
            text = None
        if text is None:
            return [*texts, "..."]
        texts.append(text)
    return texts


def _precision(
    given: bytes | None, left: Iterator[int], texts: list[str]
) -> int | None:
    if given == b"*":
        number = _signed(next(left), 32)
        texts.append(str(number))
        return number if number >= 0 else None
    return None if given is None else int(given or 0)


def _one(
    kind: bytes, size: bytes, limit: int | None, left: Iterator[int], live: bool
) -> str | None:
    """The next argument; None for a conversion that a kernel does not use."""
    bits = _BITS.get(size, 64)
    if kind in b"di":
        return str(_signed(next(left), bits))
    if kind in b"ouxX":
        return hex(next(left) & ((1 << bits) - 1))
    if kind == b"c":
        return character(next(left) & 0xFF, View())
    if kind == b"p":
        return hex(next(left))
    if kind == b"s":
        word = next(left)
        return _string(word, limit) if word and live else hex(word)
    return None


def _signed(word: int, bits: int) -> int:
    word &= (1 << bits) - 1
    return word - (1 << bits) if word >> (bits - 1) else word


def _string(address: int, limit: int | None) -> str:
    """The string at ``address``; with a limit it need not end with a NUL."""
    if limit is None:
        return quoted(ctypes.string_at(address))
    octets = bytearray()
    while len(octets) < min(limit, TEXT_LIMIT + 1):
        octet = ctypes.c_ubyte.from_address(address + len(octets)).value
        if not octet:
            break
        octets.append(octet)
    return quoted(bytes(octets))
