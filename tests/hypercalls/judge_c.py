"""C code that uses hypercalls as a kernel does: by address, from many threads."""

from pathlib import Path

SOURCE = (Path(__file__).parent / "judge.c").read_text()

NAMES = (
    "mutex_init", "mutex_enter", "mutex_enter_nowrap", "mutex_tryenter",
    "mutex_exit", "mutex_destroy", "mutex_owner", "rw_init", "rw_enter",
    "rw_tryenter", "rw_tryupgrade", "rw_downgrade", "rw_exit", "rw_destroy",
    "rw_held", "cv_init", "cv_destroy", "cv_wait", "cv_wait_nowrap",
    "cv_timedwait", "cv_signal", "cv_broadcast", "cv_has_waiters", "curlwpop",
    "curlwp", "thread_create", "thread_exit", "thread_join", "malloc", "free",
)  # fmt: skip
"""The members of ``struct calls``, in order."""

COUNT, READWRITE, PRODUCE, CONSUME, MEET, ALLOCATE, LEAVE = range(7)
SPIN, KMUTEX = 1, 2
