"""What can be asked of xenstore. Facts: Xen docs/misc/xenstore.txt."""

from __future__ import annotations

import abc
import errno
from collections.abc import Sequence

import attrs

from rumphyper.xen.errors import XenstoreError
from rumphyper.xen.wire import Kind, number, path_octets, texts


@attrs.frozen
class Permission:
    """What a domain may do with a key: ``r``, ``w``, ``b`` (both) or ``n`` (nothing).

    The first of a key's says who owns it, and what everybody else may do.
    """

    domain: int
    access: str


class Operations(abc.ABC):
    """What can be asked for, in a transaction and outside of one.

    Every method raises XenstoreError (ENOENT, EACCES, ...), and what
    `Pending.result` raises.
    """

    @abc.abstractmethod
    def ask(self, kind: Kind, payload: bytes, thing: str) -> bytes:
        """Make a request; return the answer's payload."""

    def read_octets(self, path: str) -> bytes:
        """The value of a key."""
        return self.ask(Kind.READ, path_octets(path) + b"\0", path)

    def read(self, path: str) -> str:
        """The value of a key, as text."""
        return self.read_octets(path).decode("utf-8", "surrogateescape")

    def get(self, path: str) -> str | None:
        """The value of a key; None where there is none."""
        try:
            return self.read(path)
        except XenstoreError as error:
            if error.errno != errno.ENOENT:
                raise
            return None

    def write(self, path: str, value: str | bytes | int) -> None:
        """Set a key, which is made, and those above it, if need be."""
        octets = (
            value
            if isinstance(value, bytes)
            else str(value).encode("utf-8", "surrogateescape")
        )
        self.ask(Kind.WRITE, path_octets(path) + b"\0" + octets, path)

    def list(self, path: str) -> list[str]:
        """The names of the keys below one."""
        return texts(self.ask(Kind.DIRECTORY, path_octets(path) + b"\0", path))

    def mkdir(self, path: str) -> None:
        """Make a key without a value, unless it is there."""
        self.ask(Kind.MKDIR, path_octets(path) + b"\0", path)

    def remove(self, path: str) -> None:
        """Remove a key and all below it; it need not be there."""
        try:
            self.ask(Kind.RM, path_octets(path) + b"\0", path)
        except XenstoreError as error:
            if error.errno != errno.ENOENT:
                raise

    def permissions(self, path: str) -> Sequence[Permission]:
        """Who may do what with a key."""
        found = texts(self.ask(Kind.GET_PERMS, path_octets(path) + b"\0", path))
        return [Permission(number(text[1:], path), text[0]) for text in found]

    def set_permissions(self, path: str, permissions: Sequence[Permission]) -> None:
        """Say who may do what with a key."""
        each = [f"{one.access}{one.domain}\0".encode() for one in permissions]
        self.ask(Kind.SET_PERMS, path_octets(path) + b"\0" + b"".join(each), path)
