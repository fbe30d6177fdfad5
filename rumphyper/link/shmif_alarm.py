"""How the receiver of a shmif link waits, alone or in somebody's event loop."""

from __future__ import annotations

import os
import select

from rumphyper.host.inotify import ModifyWatch
from rumphyper.link.shmif_file import BusFile
from rumphyper.link.waiter import Waiter


class Alarm:
    """Waits for writes to the bus file; offers a descriptor for it.

    Nothing is opened before somebody waits: a watch makes each wake-up dearer
    for the one who sends it, and a link that only sends needs none.
    """

    def __init__(self, file: BusFile) -> None:
        self._file = file
        self._watch: ModifyWatch | None = None
        self._waiter: Waiter | None = None
        self._epoll: select.epoll | None = None
        self._ready = -1
        self._is_ready = False

    def arm(self) -> bool:
        """Watch from now on; true when that is new: look at the bus again."""
        if self._watch is not None:
            return False
        watch = ModifyWatch.of_descriptor(self._file.fd, self._file.path)
        try:
            self._waiter = Waiter(watch.fd)
        except BaseException:
            watch.close()
            raise
        self._watch = watch
        return True

    def wait(self, timeout: float | None) -> bool:
        """Wait for a write since the last wait; false when the time ran out.

        `arm` has been called. Also true after `wake`.
        """
        assert self._waiter is not None
        assert self._watch is not None
        woken = self._waiter.wait(timeout)
        if woken:
            self._watch.drain()
        return woken

    def fileno(self) -> int:
        """A descriptor that is readable after a write and while `show` says so."""
        if self._epoll is None:
            self.arm()
            assert self._watch is not None
            epoll = select.epoll()
            try:
                self._ready = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            except BaseException:
                epoll.close()
                raise
            epoll.register(self._watch.fd, select.EPOLLIN)
            epoll.register(self._ready, select.EPOLLIN)
            self._epoll = epoll
            self.show(True)  # nobody has looked since the watch began
        return self._epoll.fileno()

    def before_look(self) -> None:
        """Forget earlier writes: what they brought is about to be seen."""
        if self._epoll is not None and self._watch is not None:
            self._watch.drain()

    def show(self, ready: bool) -> None:
        """Say whether there is something to receive without a further write."""
        if self._epoll is None or ready == self._is_ready:
            return
        self._is_ready = ready
        if ready:
            os.eventfd_write(self._ready, 1)
        else:
            os.eventfd_read(self._ready)

    def wake(self) -> None:
        """End the wait of another thread; from now on nobody waits."""
        if self._waiter is not None:
            self._waiter.wake()
        if self._ready >= 0:
            os.eventfd_write(self._ready, 1)

    def close(self) -> None:
        """Close all descriptors. Idempotent."""
        if self._epoll is not None:
            self._epoll.close()
            os.close(self._ready)
            self._epoll, self._ready = None, -1
        if self._waiter is not None:
            self._waiter.close()
        if self._watch is not None:
            self._watch.close()
