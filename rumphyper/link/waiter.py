"""Waiting for a descriptor in a way that another thread can end."""

from __future__ import annotations

import os
import select

import attrs


@attrs.define(eq=False)
class Waiter:
    """Waits until ``fd`` is readable, or writable, or `wake` is called.

    The waiter owns an eventfd, never ``fd``. After `wake` every wait returns
    at once: it is meant for closing, not for signalling.
    """

    fd: int
    _event: int = attrs.field(factory=lambda: os.eventfd(0, os.EFD_CLOEXEC))

    def wait(self, timeout: float | None, events: int = select.POLLIN) -> bool:
        """Wait at most ``timeout`` seconds (None: for ever); true unless it ran out.

        True also when the descriptor has an error or the waiter was woken:
        the caller's next call on ``fd`` says which.
        """
        poll = select.poll()
        poll.register(self.fd, events)
        poll.register(self._event, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout * 1000)))

    def wake(self) -> None:
        """End the wait of every thread, now and from now on."""
        os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Close the eventfd; nobody may wait any more. Idempotent."""
        event, self._event = self._event, -1
        if event >= 0:
            os.close(event)
