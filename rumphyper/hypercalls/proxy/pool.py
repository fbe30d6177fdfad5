"""The threads of the server: each waits for any client, and does what comes.

Who gets an event handles it to its end, system call included, so the common way
from request to response has no hand-over between threads. One more thread than
those that work waits for the next event; when there can be none, what might
sleep is refused.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

from rumphyper.hypercalls.proxy.limits import Limits
from rumphyper.hypercalls.proxy.process import Worker

Job = Callable[[Worker], None]

READABLE = select.EPOLLIN | select.EPOLLONESHOT
NEVER = select.EPOLLONESHOT


class Pool:
    """``ready(worker, fd)`` is called for a watched descriptor, once per `watch`.

    ``make`` makes a thread's `Worker`, ``failed`` is told of what either raises.
    """

    def __init__(
        self,
        make: Callable[[], Worker],
        ready: Callable[[Worker, int], None],
        failed: Callable[[BaseException], object],
        limits: Limits,
    ) -> None:
        self._make = make
        self._ready = ready
        self._failed = failed
        self._limits = limits
        self._poller = select.epoll()
        self._bell = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._bell, select.EPOLLIN)
        self._jobs: deque[Job] = deque()
        self._ringing = threading.Lock()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._stopping = False

    # Descriptors

    def add(self, fd: int) -> None:
        """Watch a new descriptor."""
        self._poller.register(fd, READABLE)

    def watch(self, fd: int) -> None:
        """Watch for the next event; it may have been removed."""
        self._modify(fd, READABLE)

    def ignore(self, fd: int) -> None:
        """Do not watch until the next `watch`."""
        self._modify(fd, NEVER)

    def remove(self, fd: int) -> None:
        """Forget a descriptor, before it is closed."""
        with contextlib.suppress(OSError, ValueError):
            self._poller.unregister(fd)

    def _modify(self, fd: int, events: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._poller.modify(fd, events)

    # Threads

    def start(self) -> None:
        """Start the first thread. Raises HostError when the kernel refuses it."""
        problems: list[BaseException] = []
        begun = threading.Event()
        self._begin(problems, begun)
        begun.wait()
        if problems:
            raise problems[0]

    def another(self) -> bool:
        """See to it that another thread than the caller's waits, if possible."""
        with self._lock:
            if self._idle:
                return True
            if self._stopping or len(self._threads) >= self._limits.workers:
                return False
            try:
                self._begin([], threading.Event())
            except RuntimeError:  # the host has no thread to give
                return False
            return True

    def post(self, job: Job) -> None:
        """Let a worker do ``job``, soon; nobody does it after the end."""
        self._jobs.append(job)
        self._ring()

    def finish(self, job: Job, patience: float) -> None:
        """Let a worker do ``job``, and wait for its end."""
        done = threading.Event()

        def run(worker: Worker) -> None:
            job(worker)
            done.set()

        self.post(run)
        done.wait(patience)

    def stop(self, patience: float) -> None:
        """End the threads; those that sleep in the kernel are not waited for.

        The last of them takes the descriptors along.
        """
        with self._lock:
            self._stopping = True
            threads = list(self._threads)
        self._ring()  # nobody reads it any more: all wake up
        deadline = time.monotonic() + patience
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if not self._threads:
            self._close()

    def _close(self) -> None:
        with self._ringing:
            self.forget()

    def forget(self) -> None:
        """Close the descriptors: there are no threads, or (fork) they are not here.

        Idempotent. Without a lock, which in a child nobody may ever release.
        """
        self._poller.close()
        bell, self._bell = self._bell, -1
        if bell >= 0:
            os.close(bell)

    def _ring(self) -> None:
        with self._ringing:  # a call that ends late finds the number somebody else's
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _begin(self, problems: list[BaseException], begun: threading.Event) -> None:
        thread = threading.Thread(
            target=self._live, args=(problems, begun), name="sysproxy", daemon=True
        )
        self._threads.add(thread)
        self._idle += 1  # it will be; so nobody begins another one meanwhile
        try:
            thread.start()
        except BaseException:
            self._idle -= 1
            self._threads.discard(thread)
            raise

    def _live(self, problems: list[BaseException], begun: threading.Event) -> None:
        worker = None
        try:
            worker = self._make()
        except BaseException as error:
            problems.append(error)
            self._failed(error)
        begun.set()
        if worker is not None:
            self._work(worker)
            worker.end()
        else:
            with self._lock:
                self._idle -= 1
        with self._lock:
            self._threads.discard(threading.current_thread())
            last = self._stopping and not self._threads
        if last:
            self._close()

    def _work(self, worker: Worker) -> None:
        """Until there are too many, or the end; begins and ends as idle."""
        poll, lock, bell = self._poller.poll, self._lock, self._bell
        while True:
            [(fd, _)] = poll(-1, 1)
            with lock:
                self._idle -= 1
                if self._stopping:
                    return
            try:
                if fd != bell:
                    self._ready(worker, fd)
                else:
                    self._next_job(worker)
            except BaseException as error:  # nothing may end the thread
                self._failed(error)
            with lock:
                if self._stopping or self._idle >= self._limits.spare:
                    return
                self._idle += 1

    def _next_job(self, worker: Worker) -> None:
        try:
            os.eventfd_read(self._bell)
            job = self._jobs.popleft()
        except (BlockingIOError, IndexError):
            return  # another worker was faster
        self.another()
        job(worker)
