"""What a bridge knows of kinds of links: which wire they are on, and if it is there."""

from __future__ import annotations

import os

from rumphyper.errors import LinkEndedError
from rumphyper.link import Link
from rumphyper.link.pcapread import PcapReader

Wire = tuple[str, int, int]
"""The scheme, device and inode of a file that stands for a wire."""


def is_capture(link: Link) -> bool:
    """Whether the link is a file that is read: it ends, and nothing is sent to it."""
    return isinstance(_innermost(link), PcapReader)


def _innermost(link: Link) -> Link:
    """The link behind all that stand before it as links of their own."""
    while isinstance(inner := getattr(link, "link", None), Link):  # faulty: for one
        link = inner
    return link


def _bus(link: Link) -> str | None:
    """The path of the shmif bus that a link is on."""
    scheme, _, path = _innermost(link).linkstr.partition(":")
    return path if scheme == "shmif" else None


def wire(link: Link) -> Wire | None:
    """What tells whether two links are on one wire; None when nobody can know.

    A shmif bus is known by its file, whatever path led there.
    """
    path = _bus(link)
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return "shmif", status.st_dev, status.st_ino


def vanished(link: Link, before: Wire | None) -> LinkEndedError | None:
    """The error of a link whose bus is no more where it was ``before``.

    Its mapping still works, but whoever comes now finds another bus, or none.
    """
    if before is None or wire(link) == before:
        return None
    cause = "somebody has removed or replaced the bus"
    return LinkEndedError(link.linkstr, cause, "open it again")
