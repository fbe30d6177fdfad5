"""Cheap callbacks on threads that Python did not start.

When C calls a ctypes callback on a foreign thread, CPython makes a thread
state and drops it again on return: 16 microseconds each time. Holding on to
the state, by one more PyGILState_Ensure, brings that below one. It has to be
given back when the thread ends, which a destructor of thread-specific data
does (pthread_key_create(3)): it runs on the thread, after its function.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
import threading
from typing import Any

from rumphyper.host.libc import libc
from rumphyper.hypercalls.guard import CODES

_UNLOCKED_NEVER = 0  # PyGILState_LOCKED: give the state back but keep the GIL


class _Held(threading.local):
    """Whether the calling thread's state is held."""

    held = False


_held = _Held()


class _Key:
    """The thread-specific data whose destructor gives the state back."""

    def __init__(self) -> None:
        library = libc()
        key_type = ctypes.c_uint
        destructor_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self._destructor = destructor_type(_give_back)
        self.key = key_type()
        create = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(key_type), destructor_type
        )(("pthread_key_create", library))
        self.usable = create(ctypes.byref(self.key), self._destructor) == 0
        self.set: Any = ctypes.CFUNCTYPE(ctypes.c_int, key_type, ctypes.c_size_t)(
            ("pthread_setspecific", library)
        )
        self._delete = ctypes.CFUNCTYPE(ctypes.c_int, key_type)(
            ("pthread_key_delete", library)
        )
        # A thread that ends after the interpreter must not call into it.
        atexit.register(self.drop)

    def drop(self) -> None:
        """No destructor runs any more; what is held stays held."""
        if self.usable:
            self.usable = False
            self._delete(self.key)


def _give_back(value: int | None) -> None:
    ctypes.pythonapi.PyGILState_Release(_UNLOCKED_NEVER)


_key: _Key | None = None
_key_lock = threading.Lock()


def hold_thread_state() -> None:
    """Keep the calling thread's Python state until the thread ends.

    To be called inside a hypercall. Does nothing where a Python function runs
    further out on this thread, for then the state lasts anyway; cheap when it
    is called again.
    """
    global _key
    if _held.held:
        return
    if not _is_outermost():
        ident = threading.get_ident()
        _held.held = any(t.ident == ident for t in threading.enumerate())
        return
    with _key_lock:
        if _key is None:
            _key = _Key()
    if _key.usable and _key.set(_key.key, 1) == 0:
        ctypes.pythonapi.PyGILState_Ensure()
        _held.held = True


def _is_outermost() -> bool:
    """Whether the hypercall being answered is this thread's outermost Python."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code in CODES
