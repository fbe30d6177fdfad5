"""host/tasks: threads by both their numbers."""

from __future__ import annotations

import ctypes
import platform
import threading
import time

import pytest

from rumphyper.host import tasks
from rumphyper.host.libc import libc

GLIBC = platform.libc_ver()[0] == "glibc"


def test_tasks_are_this_process_threads() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert {threading.get_native_id(), thread.native_id} <= set(tasks.task_ids())
        assert tasks.task_name(threading.get_native_id())
    finally:
        over.set()
        thread.join()
    assert tasks.task_name(0) == ""


@pytest.mark.skipif(not GLIBC, reason="needs glibc: others keep no such list")
def test_a_task_is_a_pthread() -> None:
    """Of Python's threads, and of one that C has made."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    sleep = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: over.wait())
    before, made = set(tasks.task_ids()), ctypes.c_ulong()
    assert not libc().pthread_create(ctypes.byref(made), None, sleep, None)
    try:
        main = threading.current_thread()
        for one in (main, thread):
            assert one.native_id is not None
            assert tasks.pthread_of(one.native_id) == one.ident
        (task,) = set(tasks.task_ids()) - before
        deadline = time.monotonic() + 20
        while not tasks.pthread_of(task):  # it makes its list itself
            assert time.monotonic() < deadline
        assert tasks.pthread_of(task) == made.value
    finally:
        over.set()
        thread.join()
        libc().pthread_join(made, None)
    assert tasks.pthread_of(task) == tasks.UNKNOWN
