"""Doing something inside another network namespace.

setns(2) moves the calling thread only, so the work is done by a thread made
for it: nothing has to be put back, and no failure can leave the caller in the
wrong namespace. What is opened there (a socket, a TAP) stays in that namespace
wherever it is used.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rumphyper.errors import HostError
from rumphyper.host.libc import check, from_oserror, libc

T = TypeVar("T")

NAMED = "/run/netns"
"""Where ``ip netns`` keeps the namespaces that have a name (ip-netns(8))."""

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

Netns = str | int
"""A namespace: a name of ``ip netns``, a path (with a slash) or a process id."""


def path_of(netns: Netns) -> str:
    """The file that stands for a namespace. Raises HostError.

    A string of digits is a name where ``ip netns`` has it, else a process id.
    """
    text = str(netns)
    if "/" in text:
        return text
    named = f"{NAMED}/{text}"
    spelt = not isinstance(netns, int) and text not in ("", ".", "..")
    if spelt and (os.path.exists(named) or not text.isdecimal()):
        return named
    if not text.isdecimal() or int(text) < 1:
        cause = "neither a name nor a path nor a process id"
        raise HostError(f"network namespace {netns!r}", cause, "see ip-netns(8)")
    return f"/proc/{text}/ns/net"


def within(netns: Netns | None, action: Callable[[], T]) -> T:
    """Return ``action()``, done inside ``netns`` (None: where the caller is).

    What ``action`` raises is raised here. HostError when the namespace is not
    there, is no network namespace, or may not be entered.
    """
    if netns is None:
        return action()
    thing = f"network namespace {netns!r}"
    try:
        fd = os.open(path_of(netns), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        remedy = "see `ip netns list`, or give a path or a process id"
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = "it belongs to somebody else: run as its owner or as root"
        raise from_oserror(error, thing, remedy) from None
    try:
        visitor = _Visitor(fd, thing, action)
        visitor.start()
        visitor.join()
    finally:
        os.close(fd)
    return visitor.outcome()


def enter_new(*, user: bool | None = None) -> None:
    """Move this process into a fresh network namespace with ``lo`` down.

    ``user`` makes a user namespace with it, in which the caller is root: that
    needs no privilege, but the process must have one thread only. None does so
    only for who is not root already. Raises HostError.
    """
    uid, gid = os.geteuid(), os.getegid()
    user = uid != 0 if user is None else user
    remedy = "needs root, or kernel.unprivileged_userns_clone and its like to be on"
    flags = CLONE_NEWNET | (CLONE_NEWUSER if user else 0)
    check(libc().unshare(flags), "new network namespace", remedy)
    if not user:
        return
    try:
        for file, line in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as target:
                target.write(line)
    except OSError as error:
        raise from_oserror(error, "new user namespace", remedy) from None


class _Visitor(threading.Thread, Generic[T]):
    """The thread that enters a namespace, does one thing there and ends."""

    def __init__(self, fd: int, thing: str, action: Callable[[], T]) -> None:
        super().__init__(name=f"in {thing}", daemon=True)
        self._fd = fd
        self._thing = thing
        self._action = action
        self._results: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._enter()
            self._results.append(self._action())
        except BaseException as error:
            self._error = error

    def _enter(self) -> None:
        remedy = "needs CAP_SYS_ADMIN there: run as root, or by nsenter(1) with -U"
        if libc().setns(self._fd, CLONE_NEWNET) == -1:
            try:
                check(-1, self._thing, remedy)
            except HostError as error:
                if error.errno != errno.EINVAL:
                    raise
                cause = "the file is no network namespace"
                remedy = "give a name of `ip netns list`"
                raise HostError(self._thing, cause, remedy, errno.EINVAL) from None

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]
