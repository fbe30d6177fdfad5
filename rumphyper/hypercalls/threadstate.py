"""Cheap callbacks on threads that Python did not start.

When C calls a ctypes callback on a foreign thread, CPython makes a thread
state and drops it again on return: 16 microseconds each time. Holding on to
the state, by one more PyGILState_Ensure, brings that below one. It has to be
given back when the thread ends.

That is done by a destructor of the kind that C++ has for thread_local objects
(glibc's __cxa_thread_atexit_impl). Thread-specific data of pthreads will not
do: glibc has forgotten all of it, CPython's own included, by the time its
destructors run, and CPython would not find the state. Without that function
(musl) nothing is held: slower, but right.

At the end of the process CPython ends threads that ask for the GIL, and their
destructors run when the interpreter is gone. So what is registered is a thunk,
which is aimed at a C function that does nothing before that.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder, supported
from rumphyper.hypercalls.guard import CODES

_KEEP_THE_GIL = 0  # PyGILState_LOCKED: the callback around it needs it still

_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Held(threading.local):
    """Whether the calling thread's state is held."""

    held = False


_held = _Held()


def _give_back(value: int | None) -> None:
    ctypes.pythonapi.PyGILState_Release(_KEEP_THE_GIL)


_destructor = _Destructor(_give_back)


@functools.cache
def _destructor_thunk() -> int:
    """The address of C code that calls `_give_back` until the process ends.

    0 where there are no thunks.
    """
    if not supported():
        return 0
    builder = ThunkBuilder("librumphyper-threadstate.so")
    builder.jump("give_back")
    thunk = builder.load()["give_back"]
    thunk.target = _destructor

    def disarm() -> None:
        thunk.target = libc().abs

    atexit.register(disarm)
    return thunk.address


@functools.cache
def _at_thread_exit() -> Callable[..., int] | None:
    """glibc's function that registers a destructor with the calling thread."""
    prototype: Any = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
    )
    try:
        register: Callable[..., int] = prototype(("__cxa_thread_atexit_impl", libc()))
    except AttributeError:
        return None
    return register if _destructor_thunk() else None


def hold_thread_state() -> None:
    """Keep the calling thread's Python state until the thread ends.

    To be called inside a hypercall. Does nothing where a Python function runs
    further out on this thread, for then the state lasts anyway; cheap when it
    is called again.
    """
    if _held.held:
        return
    if not _is_outermost():
        ident = threading.get_ident()
        _held.held = any(t.ident == ident for t in threading.enumerate())
        return
    register = _at_thread_exit()
    # The last argument is any address in a library that must stay loaded.
    thunk = _destructor_thunk()
    if register is not None and register(thunk, None, libc().abort) == 0:
        ctypes.pythonapi.PyGILState_Ensure()
    _held.held = True


def _is_outermost() -> bool:
    """Whether the hypercall being answered is this thread's outermost Python."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code in CODES
