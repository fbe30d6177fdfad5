"""What to call a thread in a trace."""

from __future__ import annotations

import functools
import threading


class _Known(threading.local):
    """What is known of the calling thread; goes when the thread goes."""

    identity: tuple[int, str] | None = None


_known = _Known()


def thread_identity() -> tuple[int, str]:
    """The host's id of the calling thread, and its name.

    The name is Python's for threads that Python started and for the main one;
    for a kernel's thread it is the one that rumpuser_thread_create was given,
    which the host learns a moment after the thread began to run: so a name that
    is still the process's is looked up again.
    """
    known = _known.identity
    if known is not None:
        return known
    ident = threading.get_ident()
    number = threading.get_native_id()
    for thread in threading.enumerate():
        # Foreign threads that asked for current_thread() are "Dummy-N" there.
        if thread.ident == ident and not thread.name.startswith("Dummy-"):
            _known.identity = (number, thread.name)
            return number, thread.name
    name = _comm(f"/proc/self/task/{number}/comm")
    if name != _process_name():
        _known.identity = (number, name)
    return number, name


def _comm(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return "?"


@functools.cache
def _process_name() -> str:
    return _comm("/proc/self/comm")
