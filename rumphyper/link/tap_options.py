"""The options of ``tap:NAME``, checked before anything is opened."""

from __future__ import annotations

import grp
import pwd
from typing import Literal

import attrs

from rumphyper.errors import HostError, LinkstrError
from rumphyper.host.ifreq import check_name
from rumphyper.host.netns import Netns
from rumphyper.host.tun import MAX_QUEUES

Io = Literal["auto", "uring", "walk", "plain"]

LEAST_MTU = 68
MOST_MTU = 65521
"""What the TAP driver takes: 65,535 octets less the Ethernet header (tun.c)."""


@attrs.frozen
class Options:
    """Everything that `open_tap` takes besides the name; see docs/tap.md."""

    mac: bytes | str | None = None
    host_mac: bytes | str | None = None
    mtu: int | None = None
    up: bool | None = None
    persistent: bool | None = None
    owner: int | str | None = None
    group: int | str | None = None
    netns: Netns | None = None
    queues: int = 0
    io: Io = "auto"
    superframes: bool = False

    def check(self, name: str) -> None:
        """Raise LinkstrError for a name or an option that cannot be right."""
        linkstr = f"tap:{name}"
        try:
            check_name(name)
        except HostError as error:
            raise LinkstrError(linkstr, error.cause, error.remedy) from None
        if name.replace("%d", "", 1).count("%"):
            cause = "a % that does not stand before the only d"
            raise LinkstrError(linkstr, cause, "write tap%d for the first free number")
        if self.io not in ("auto", "uring", "walk", "plain"):
            remedy = "auto, uring, walk or plain"
            raise LinkstrError(linkstr, f"io={self.io!r}", remedy)
        if not 0 <= self.queues <= MAX_QUEUES:
            remedy = f"0 for a device without queues, or 1 to {MAX_QUEUES}"
            raise LinkstrError(linkstr, f"{self.queues} queues", remedy)
        if self.superframes and (self.queues or self.io in ("uring", "walk")):
            cause = "superframes go with neither queues nor io='uring' or 'walk'"
            raise LinkstrError(linkstr, cause, "leave those out")
        if self.mtu is not None and not LEAST_MTU <= self.mtu <= MOST_MTU:
            remedy = f"choose one from {LEAST_MTU} to {MOST_MTU}"
            raise LinkstrError(linkstr, f"the MTU is {self.mtu}", remedy)


def user_id(linkstr: str, owner: int | str | None) -> int | None:
    """The number of a user. LinkstrError for a name that is unknown."""
    if not isinstance(owner, str):
        return _number(linkstr, "user", owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        cause = f"there is no user {owner!r}"
        raise LinkstrError(linkstr, cause, "give a name or a number") from None


def group_id(linkstr: str, group: int | str | None) -> int | None:
    """The number of a group. LinkstrError for a name that is unknown."""
    if not isinstance(group, str):
        return _number(linkstr, "group", group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        cause = f"there is no group {group!r}"
        raise LinkstrError(linkstr, cause, "give a name or a number") from None


def _number(linkstr: str, what: str, number: int | None) -> int | None:
    if number is not None and not 0 <= number < 0xFFFFFFFF:
        raise LinkstrError(linkstr, f"{number} is no {what}", "give a name or a number")
    return number
