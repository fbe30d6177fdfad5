"""The threads of this process: which task of Linux is which thread of libc.

Code that runs on a thread knows both its numbers. Of another thread Linux tells
where its list of robust futexes begins (get_robust_list(2)), which glibc keeps
inside of the structure that pthread_self(3) points to: the distance is the same
for all threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading

from rumphyper.errors import RumphyperError
from rumphyper.host.syscalls import syscall

UNKNOWN = 0
"""No thread of libc has this number."""


def task_ids() -> list[int]:
    """The thread ids (gettid(2)) of this process, none where /proc is missing."""
    try:
        return [int(name) for name in os.listdir("/proc/self/task")]
    except OSError:
        return []


def task_name(task: int) -> str:
    """A thread's name as Linux keeps it, at most 15 octets; empty if it is gone."""
    try:
        with open(f"/proc/self/task/{task}/comm", "rb") as file:
            return file.read().rstrip(b"\n").decode(errors="replace")
    except OSError:
        return ""


def pthread_of(task: int) -> int:
    """What pthread_self(3) is in the thread with the id ``task``.

    UNKNOWN when it is gone, when it has hardly begun, with a libc that has no
    such list (musl), and where Python ends before anybody has asked.
    """
    try:
        distance = _distance()
    except RuntimeError:  # the interpreter ends and starts no thread any more
        return UNKNOWN
    head = _robust_list(task) if distance is not None else 0
    return head - distance if head and distance is not None else UNKNOWN


def _robust_list(task: int) -> int:
    head, length = ctypes.c_size_t(), ctypes.c_size_t()
    try:
        syscall(
            "get_robust_list", task, ctypes.addressof(head), ctypes.addressof(length)
        )
    except RumphyperError:
        return 0
    return head.value


@functools.cache
def _distance() -> int | None:
    """From pthread_self to the list, seen in two threads; None if it varies."""
    found: list[int] = []

    def look() -> None:
        head = _robust_list(threading.get_native_id())
        found.append(head - threading.get_ident() if head else -1)

    look()
    other = threading.Thread(target=look, daemon=True)
    other.start()
    other.join()
    return found[0] if found[0] == found[1] and 0 < found[0] < 1 << 16 else None
