"""Errors of Xen: each says which key or node, why, and the remedy."""

from __future__ import annotations

from rumphyper.errors import HostError, ProtocolError


class XenstoreError(HostError):
    """xenstored refused a request; ``errno`` is what it said."""


class XenstoreTimeoutError(XenstoreError):
    """xenstored did not answer in time."""


class XenstoreGoneError(XenstoreError):
    """xenstored has died, or the connection to it was closed."""


class XenstoreProtocolError(ProtocolError):
    """xenstored answered what nobody asked, or not by its protocol."""
