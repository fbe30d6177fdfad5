"""Frame formats and a small IP stack, without input or output."""

from rumphyper.net.errors import AddressError, ParseError

__all__ = ["AddressError", "ParseError"]
