"""What several verbs share: stopping on a signal, JSON, addresses, the station."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import threading
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from types import FrameType

from typing_extensions import Self

from rumphyper.net import ParseError
from rumphyper.net.mac import parse_mac

Interface = IPv4Interface | IPv6Interface


class Stop:
    """Turns Ctrl-C and SIGTERM into a wish that the verb's loop looks at.

    An exception out of a signal could hit while a lock in shared memory is
    held. The second Ctrl-C or SIGTERM raises KeyboardInterrupt all the same,
    for a loop that does not come round. ``reader`` is a pipe that is written
    to: that nobody reads it any more is such a wish, too.
    """

    def __init__(
        self, then: Callable[[], object] = lambda: None, reader: int | None = None
    ) -> None:
        self.wanted = False
        self._reader = reader
        self._then = then
        self._event = os.eventfd(0, os.EFD_CLOEXEC)
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._cleanup.callback(os.close, self._event)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._signalled)
                self._cleanup.callback(signal.signal, number, before)
        return self

    def __exit__(self, *_error: object) -> None:
        self._cleanup.close()

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        os.eventfd_write(self._event, 1)
        self._then()

    def wait(self, fd: int, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds until ``fd`` is readable.

        True when the loop shall go on: nobody wants it to stop.
        """
        if not self.wanted:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.register(self._event, select.POLLIN)
            if self._reader is not None:
                poll.register(self._reader, 0)  # POLLERR comes unasked
            # rounded up: a deadline a little ahead must not be polled for
            ready = poll.poll(
                None if timeout is None else max(0, int(timeout * 1000) + 1)
            )
            if any(found == self._reader for found, _events in ready):
                self.wanted = True
        return not self.wanted


def print_json(value: object) -> None:
    """Print ``value`` on one line, at once, for who reads a pipe."""
    print(json.dumps(value), flush=True)


def mac_argument(text: str) -> bytes:
    """The type of ``--mac``."""
    try:
        return parse_mac(text)
    except ParseError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def interface_argument(text: str) -> Interface:
    """The type of an own address: /24 and /64 when no prefix is given."""
    try:
        interface = ip_interface(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if "/" in text:
        return interface
    return ip_interface(f"{text}/{24 if interface.version == 4 else 64}")


def positive(text: str) -> int:
    """The type of a count."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def seconds(text: str) -> float:
    """The type of a time."""
    number = float(text)
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no time in seconds")
    return number


def period(text: str) -> float:
    """Seconds between two lines, not so few that nothing else is done."""
    number = seconds(text)
    if number < 0.01:
        raise argparse.ArgumentTypeError("at least 0.01 seconds")
    return number
