"""Calls of dead clients and of old programs come back: woken until they do.

hyp_lwpexit signals what a process's lwps sleep on, without holding its locks, and
a thread gives up its virtual CPU before it begins to wait: who is between the two
misses it, and nobody does it again there. Facts: NetBSD
sys/rump/kern/lib/libsysproxy/sysproxy.c, sys/rump/librump/rumpkern/locks.c
(docvwait), lib/librumpuser/rumpuser_pth.c (rumpuser_cv_wait).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rumphyper.host.timerfd import Timer

if TYPE_CHECKING:
    from rumphyper.hypercalls.proxy.client import Client
    from rumphyper.hypercalls.proxy.process import Process, Worker
    from rumphyper.hypercalls.proxy.server import Server

AGAIN = 0.2
"""Seconds after which calls that have not come back are woken again."""


class Waking:
    """Wakes the calls of a server's clients; its timer is one of the pool's."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._timer: Timer | None = None
        self._asleep: set[Client] = set()

    def start(self) -> None:
        """Have the pool watch the timer. Raises HostError without descriptors."""
        self._timer = timer = Timer()
        self._server.pool.add(timer.fileno())

    def is_timer(self, fd: int) -> bool:
        """Whether ``fd`` is the timer's: call `again` when it is ready."""
        return self._timer is not None and fd == self._timer.fileno()

    def wake(self, worker: Worker, client: Client, process: Process) -> None:
        """Let all calls that sleep come back; for who holds ``client.main``."""
        process.wake(worker)
        with self._lock:
            if not self._asleep:
                self._arm()
            self._asleep.add(client)

    def again(self, worker: Worker) -> None:
        """Once more for all clients of whom a call is still in."""
        with self._lock:
            clients = list(self._asleep)
        back = {client for client in clients if not self._asleep_still(worker, client)}
        with self._lock:
            self._asleep -= back
            if self._timer is None:
                return
            fd = self._timer.fileno()
            if self._asleep:
                self._arm()
            else:
                self._timer.arm(None)
        self._server.pool.watch(fd)

    def _asleep_still(self, worker: Worker, client: Client) -> bool:
        if not client.linger():
            return False
        try:
            with client.main:
                process = client.process
                return process is not None and process.wake(worker, again=True)
        finally:
            self._server.leave(worker, client)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.arm(AGAIN)

    def close(self) -> None:
        """Free the timer: the pool has ended. Idempotent."""
        with self._lock:
            self.forget()

    def forget(self) -> None:
        """The same in a forked child, where nobody may ever release the lock."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
