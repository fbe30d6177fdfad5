"""Waiting for a descriptor in a way that others can end."""

from __future__ import annotations

import os
import select
import sys
from typing import Protocol

import attrs

ONE = (1).to_bytes(8, sys.byteorder)
"""What an eventfd takes (eventfd(2)); a pipe takes anything."""


def _bell() -> tuple[int, int]:
    """A descriptor to poll and one to write to: an eventfd, or else a pipe."""
    if hasattr(os, "eventfd"):
        event = os.eventfd(0, os.EFD_CLOEXEC)
        return event, event
    return os.pipe()


@attrs.define(eq=False)
class Waiter:
    """Waits until ``fd`` is readable, or writable, or `wake` is called.

    The waiter owns an eventfd (a pipe where there is none), never ``fd``. After
    `wake` every wait returns at once: it is meant for closing, not for signalling.
    """

    fd: int
    _bell: tuple[int, int] = attrs.field(factory=_bell, init=False)

    def wait(self, timeout: float | None, events: int = select.POLLIN) -> bool:
        """Wait at most ``timeout`` seconds (None: for ever); true unless it ran out.

        True also when the descriptor has an error or the waiter was woken:
        the caller's next call on ``fd`` says which.
        """
        poll = select.poll()
        poll.register(self.fd, events)
        poll.register(self._bell[0], select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout * 1000)))

    def wake(self) -> None:
        """End the wait of every thread, now and from now on."""
        os.write(self._bell[1], ONE)

    def close(self) -> None:
        """Close what the waiter owns; nobody may wait any more. Idempotent."""
        bell, self._bell = self._bell, (-1, -1)
        for end in set(bell) - {-1}:
            os.close(end)


class Stopper(Protocol):
    """Who may want the loop to stop: `rumphyper.cli.common.Stop`, for one."""

    wanted: bool

    def wait(self, fd: int, timeout: float | None = None) -> bool:
        """Wait until ``fd`` is readable; false when the loop shall stop."""
