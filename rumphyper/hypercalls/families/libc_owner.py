"""Who holds a mutex of libc's, without Python: a note beside the mutex.

libc's mutex knows its owner's thread, a kernel asks for the owner's lwp, and a
debugging kernel asks all the time (two of five hypercalls of its TCP). The first
time a holder asks, Python notes the lwp twice behind the mutex; later questions
of the same holder are answered by C alone, and giving the mutex back spoils one
of the notes. There are no C functions in libc that read, write and compare such
notes by name, but there are some that do just that to structures of their own:

    pthread_attr_setstacksize(m, NOBODY)    the word at 32 = NOBODY
    pthread_attr_getstacksize(m, lp)        *lp = the word at 32
    __fpending(m)                           0 if the words at 32 and 40 are equal

On glibc, that is, for which the offsets are facts (nptl/internaltypes.h struct
pthread_attr, libio/bits/types/struct_FILE.h); a mutex ends at 40 there, and does
not use its last 16 octets unless it is robust. `works` tries all of it first;
where anything is different, Python answers each time.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from rumphyper.host.libc import address, libc
from rumphyper.host.thunks import ThunkBuilder

ROOM = 256
"""Octets of a mutex with its notes: as many as `__fpending` looks at."""

NOTE, SECOND = 32, 40
"""Where in it the notes are."""

COMPARE = "__fpending"

NOBODY = 0x100001
"""A note that is no lwp: odd, and large enough for a size of a stack."""

WORDS = (ctypes.c_size_t * (1 << 59)).from_address(0)
"""All memory, in words of 64 bits: by the address shifted by three."""


class OwnerNotes:
    """C code for mutex_exit and mutex_owner over notes.

    ``ask`` is the address of C code that answers mutex_owner when the notes do
    not; it calls `note`.
    """

    def __init__(self, ask: int) -> None:
        builder = ThunkBuilder("librumphyper-owner-notes.so")
        builder.bound("forget", 2, result=1, keep=1)
        builder.bound("tell", 2, result=1, keep=2)
        builder.attempt("exit", 1)
        builder.attempt("compare", 2)
        builder.attempt("owner", 2)
        library = builder.load()
        library["forget"].target = libc().pthread_attr_setstacksize
        library["forget"].args[0] = NOBODY
        library["tell"].target = libc().pthread_attr_getstacksize
        library["exit"].target = library.address("forget")
        library["exit"].second = libc().pthread_mutex_unlock
        library["compare"].target = libc()[COMPARE]
        library["compare"].second = ask
        library["owner"].target = library.address("tell")
        library["owner"].second = library.address("compare")
        self.exit = library.address("exit")
        self.owner = library.address("owner")


def forget(mutex: int) -> None:
    """Spoil the note of the mutex at an address."""
    WORDS[mutex + NOTE >> 3] = NOBODY


def note(mutex: int, lwp: int) -> None:
    """Note the lwp of the calling thread, which holds the mutex."""
    WORDS[mutex + SECOND >> 3] = lwp
    WORDS[mutex + NOTE >> 3] = lwp


@functools.cache
def works() -> bool:
    """Whether libc's functions do to a mutex with notes what is said above."""
    library = libc()
    memory = ctypes.create_string_buffer(ROOM)
    words = (ctypes.c_size_t * (ROOM // 8)).from_buffer(memory)
    found = ctypes.c_size_t()
    pending: Callable[..., int] = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(
        (COMPARE, library)
    )
    where, lp = ctypes.c_void_p(address(memory)), ctypes.byref(found)
    size = ctypes.c_size_t(NOBODY)

    def others() -> list[int]:
        return [word for index, word in enumerate(words) if index not in (4, 5)]

    def steps() -> bool:
        for lock in ("pthread_mutex_lock", "pthread_mutex_trylock"):
            if getattr(library, lock)(where):
                return False
            held = others()
            if library.pthread_attr_setstacksize(where, size) or words[4] != NOBODY:
                return False
            if library.pthread_attr_getstacksize(where, lp) or found.value != NOBODY:
                return False
            note(where.value or 0, 0x7F00_1234_5670)
            if pending(where) or words[4] != words[5] or others() != held:
                return False
            forget(where.value or 0)
            if not pending(where) & 0xFFFF_FFFF or others() != held:
                return False
            if library.pthread_mutex_unlock(where) or any(others()):
                return False
            if words[4] != NOBODY or words[5] != 0x7F00_1234_5670:
                return False
        return True

    try:
        return steps()
    except AttributeError:  # no such function
        return False
