"""xenstore's protocol: messages as octets.

Facts: Xen xen/include/public/io/xs_wire.h, docs/misc/xenstore.txt.
"""

from __future__ import annotations

import enum
import errno
import os
import struct

import attrs

from rumphyper.xen.errors import XenstoreError, XenstoreProtocolError

HEADER = struct.Struct("=4I")
"""type, request id, transaction id, octets of the payload."""

MOST = 4096
"""Octets of a payload."""
LONGEST_PATH = 3072
RESTART = "restart xenstored's clients, or the domain, if it goes on"


class Kind(enum.IntEnum):
    """Types of messages (XS_*)."""

    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16


@attrs.frozen
class Message:
    """One message, of either direction."""

    kind: int
    request: int
    transaction: int
    payload: bytes

    def encode(self) -> bytes:
        """Its octets. XenstoreError (E2BIG): the payload is too long."""
        size = len(self.payload)
        if size > MOST:
            cause = f"the request has {size} octets, xenstore takes {MOST}"
            raise XenstoreError("xenstore", cause, "write less at once", errno.E2BIG)
        head = HEADER.pack(self.kind, self.request, self.transaction, size)
        return head + self.payload


class Decoder:
    """Puts messages together from what is read in pieces of any size."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> list[Message]:
        """The messages that are complete now. Raises XenstoreProtocolError."""
        self._octets += octets
        messages: list[Message] = []
        while len(self._octets) >= HEADER.size:
            kind, request, transaction, size = HEADER.unpack_from(self._octets)
            if size > MOST:
                cause = f"a message of type {kind} has {size} octets, more than {MOST}"
                raise XenstoreProtocolError("xenstore", cause, RESTART)
            end = HEADER.size + size
            if len(self._octets) < end:
                break
            payload = bytes(self._octets[HEADER.size : end])
            del self._octets[:end]
            messages.append(Message(kind, request, transaction, payload))
        return messages


def path_octets(path: str) -> bytes:
    """A path as it goes over the wire. XenstoreError (EINVAL) for none."""
    octets = path.encode("utf-8", "surrogateescape")
    if not octets or b"\0" in octets or len(octets) > LONGEST_PATH:
        cause = f"{len(octets)} octets, or a null octet, are no path"
        remedy = "name a key, absolute or below the domain's own"
        raise XenstoreError(repr(path), cause, remedy, errno.EINVAL)
    return octets


def texts(payload: bytes) -> list[str]:
    """The texts of a payload, each of which ends with a null octet."""
    parts = payload.split(b"\0")
    if not parts[-1]:
        del parts[-1]
    return [part.decode("utf-8", "surrogateescape") for part in parts]


def text(payload: bytes) -> str:
    """The one text of a payload, which may lack its null octet."""
    return "".join(texts(payload)[:1])


def number(value: str, thing: str) -> int:
    """A decimal number. XenstoreProtocolError: the text is none."""
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        cause = f"{value[:40]!r} is not a number"
        raise XenstoreProtocolError(thing, cause, RESTART)
    return int(value)


def refusal(payload: bytes, thing: str) -> XenstoreError:
    """The error that an answer of the type ERROR stands for."""
    name = payload.rstrip(b"\0").decode("ascii", "replace")
    number = getattr(errno, name, 0) if name.startswith("E") else 0
    remedies = {
        errno.ENOENT: "look with xenstore-ls",
        errno.EACCES: "the key belongs to another domain: run this in that one",
        errno.EAGAIN: "begin the transaction again",
        errno.ENOSPC: "the domain's quota of xenstore is used up",
    }
    cause = os.strerror(number) if isinstance(number, int) and number else name
    return XenstoreError(
        thing, f"xenstore says {cause}", remedies.get(number, ""), number or 0
    )
