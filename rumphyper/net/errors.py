"""Errors of the frame formats and of the small stack."""

from __future__ import annotations

from rumphyper.errors import RumphyperError


class ParseError(RumphyperError, ValueError):
    """Octets, or a text, that break the format they were read as."""

    def __init__(self, thing: str, cause: str, remedy: str = "") -> None:
        super().__init__(thing, cause, remedy)


class AddressError(RumphyperError, ValueError):
    """An address that the station cannot have or cannot reach."""


def need(data: bytes, size: int, thing: str) -> None:
    """Raise ParseError when ``data`` is shorter than ``size`` octets."""
    if len(data) < size:
        raise ParseError(thing, f"cut off: {len(data)} octets of at least {size}")
