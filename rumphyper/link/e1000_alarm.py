"""How the receiver of an e1000 waits: for an interrupt, or in somebody's event loop.

The controller interrupts only while a receiver has found nothing and waits: it is
armed then. While frames keep coming nobody is interrupted.
"""

from __future__ import annotations

import contextlib
import os
import select

from rumphyper.link.e1000_device import E1000Device

POLL_TIME = 0.001
"""Seconds between two looks of a receiver without interrupts."""


class Alarm:
    """Waits for a controller's interrupt, or by the clock where it has none.

    For the receiver's thread, but for `wake`.
    """

    def __init__(self, device: E1000Device) -> None:
        self._device = device
        self._armed = False
        self._shown = False
        self._watched = False
        with contextlib.ExitStack() as stack:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(os.close, self._bell)
            self._epoll = select.epoll()
            stack.callback(self._epoll.close)
            self._epoll.register(self._bell, select.EPOLLIN)
            if device.interrupt is not None:
                self._epoll.register(device.interrupt, select.EPOLLIN)
            self._held = stack.pop_all()

    def fileno(self) -> int:
        """Readable after an interrupt, and while `settle` found something.

        Without interrupts it is readable always.
        """
        if not self._watched:
            self._watched = True
            self._show(True)  # nobody has looked since
        return self._epoll.fileno()

    def before_look(self) -> None:
        """Forget what was shown: it is about to be seen."""
        if self._watched:
            self._show(False)
            self._acknowledge()

    def arm(self) -> bool:
        """Have the next frame wake; true when that is new: look once more."""
        if self._armed or self._device.interrupt is None:
            return False
        self._device.arm()
        self._armed = True
        return True

    def wait(self, timeout: float | None) -> bool:
        """Wait until another look is worth while; false when the time ran out.

        `arm` has been called. Also true after `wake`.
        """
        if self._device.interrupt is None:
            short = POLL_TIME if timeout is None else min(timeout, POLL_TIME)
            self._epoll.poll(short)
            return True
        if not self._epoll.poll(timeout):
            return False
        self._acknowledge()
        return True

    def settle(self) -> None:
        """Before the receiver leaves: have `fileno` tell what there is to receive."""
        if self._watched:
            polled = self._device.interrupt is None
            self._show(polled or self._device.rx.waiting or self._missed())

    def wake(self) -> None:
        """End the wait of another thread; from now on nobody waits."""
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Close what the alarm opened. Idempotent."""
        self._held.close()

    def _missed(self) -> bool:
        """Arm, and whether a frame came before that."""
        return self.arm() and self._device.rx.waiting

    def _acknowledge(self) -> None:
        if self._device.acknowledge():
            self._armed = False

    def _show(self, ready: bool) -> None:
        if ready != self._shown:
            self._shown = ready
            if ready:
                os.eventfd_write(self._bell, 1)
            else:
                # A `wake` goes with it: the receiver looks at ``closed`` next.
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
