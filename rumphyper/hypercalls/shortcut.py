"""C that reads what Python's locks wrote, where a kernel asks all the time.

A debugging NetBSD kernel asserts who holds which mutex: two of five hypercalls
of its TCP are rumpuser_mutex_owner. The owner is a word at the mutex's handle
(words.py), so libc's bcopy(3), with eight octets bound, has the same arguments.
Unlike Python's method it does not find out a handle that never was one.
"""

from __future__ import annotations

from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.words import WORD

OWNER = "rumpuser_mutex_owner"


def shorten(hypervisor: Hypervisor) -> None:
    """Let C tell the owner of a mutex of Python's family of locks."""
    hypervisor.bind(OWNER, _library()[OWNER].address, "libc")


def _library() -> ThunkLibrary:
    builder = ThunkBuilder("librumphyper-owner.so")
    builder.bound(OWNER, 3, keep=2)
    library = builder.load()
    library[OWNER].target = libc().bcopy
    library[OWNER].args[0] = WORD
    return library
