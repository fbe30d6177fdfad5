"""A thread that somebody joins keeps its lwp until then.

NetBSD's kthread_join(9) reads the lwp of a thread that may be over, and free
memory (sys/rump/librump/rumpkern/threads.c): when another lwp is there by then
the kernel panics. Destroying a shmif interface joins its receiver, so that
happens where threads come and go meanwhile. Here the last hypercall before an
lwp is freed waits until the thread that joins has read it.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from rumphyper.hypercalls.around import Around
from rumphyper.hypercalls.families.lwp import CREATE, DESTROY
from rumphyper.hypercalls.hypervisor import Hypervisor

PATIENCE = 0.05
"""Seconds that a thread waits for who joins it: it holds a virtual CPU."""

Answer = Callable[..., Any]


class Joins:
    """Stands before the hypercalls of threads, once `install` has been called."""

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}
        """The lwp that each thread has made last, by `get_ident`."""

        self._by_lwp: dict[int, threading.Event] = {}
        self._by_cookie: dict[int, threading.Event] = {}
        self._installed = False

    def install(self, hypervisor: Hypervisor) -> None:
        """From now on; nothing happens when it is called again."""
        if not self._installed:
            self._installed = True
            hypervisor.add_around("rumpuser_curlwpop", Around(self.curlwpop))
            hypervisor.add_around("rumpuser_thread_create", Around(self.create))
            hypervisor.add_around("rumpuser_thread_join", Around(self.join))

    def curlwpop(self, answer: Answer, operation: int, lwp: int) -> None:
        """Note who makes an lwp; hold up the end of one that is to be joined."""
        if operation == CREATE:
            self._newest[get_ident()] = lwp
        elif operation == DESTROY:
            joined = self._by_lwp.pop(lwp, None)
            if joined is not None:
                joined.wait(PATIENCE)
        answer(operation, lwp)

    def create(self, answer: Answer, *arguments: Any) -> int:
        """Note a thread that is to be joined, and its lwp."""
        mustjoin, cookie = arguments[3], arguments[-1]
        lwp = self._newest.pop(get_ident(), 0)
        if mustjoin:
            joined = self._by_lwp[lwp] = threading.Event()
        error: int = answer(*arguments)
        if mustjoin:
            if error:
                del self._by_lwp[lwp]
            else:
                self._by_cookie[cookie[0]] = joined
        return error

    def join(self, answer: Answer, cookie: int) -> int:
        """Let the thread go on that is joined here."""
        joined = self._by_cookie.pop(cookie, None)
        if joined is not None:
            joined.set()
        error: int = answer(cookie)
        return error
