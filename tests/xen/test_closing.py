"""What is closed while another thread is at it: xenstore, event channels, a link."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.errors import HostError, LinkError
from rumphyper.link.base import Link
from rumphyper.link.waiter import Waiter
from rumphyper.link.xen_link import XenLink
from rumphyper.xen import EventChannels, Xenstore
from rumphyper.xen.bus import State
from rumphyper.xen.errors import XenstoreGoneError
from rumphyper.xen.wire import Kind


def test_closing_ends_a_request_that_xenstored_does_not_take(tmp_path: Path) -> None:
    """Of which a part is sent already: it waits for room in the socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        store = Xenstore(str(tmp_path / "socket"))
        errors: list[BaseException] = []

        def fill() -> None:
            try:
                while True:
                    store.submit(Kind.WRITE, b"a\0" + bytes(4000), "a").done()
            except BaseException as error:
                errors.append(error)

        writer = threading.Thread(target=fill)
        writer.start()
        poll = select.poll()
        poll.register(store.fileno(), select.POLLOUT)
        while poll.poll(0):
            time.sleep(0.01)
        time.sleep(0.1)
        began = time.monotonic()
        store.close()
        writer.join(9)
        assert time.monotonic() - began < 5
        assert isinstance(errors[0], XenstoreGoneError)
        assert "was closed" in str(errors[0])


def test_closing_event_channels_wakes_who_waits_for_them(tmp_path: Path) -> None:
    """A FIFO for the node, as nothing is bound."""
    os.mkfifo(tmp_path / "evtchn")
    before = set(os.listdir("/proc/self/fd"))
    events = EventChannels(str(tmp_path / "evtchn"))
    errors: list[HostError] = []

    def wait() -> None:
        try:
            events.wait(8)
        except HostError as error:
            errors.append(error)

    waiting = [threading.Thread(target=wait) for _ in range(2)]
    for thread in waiting:
        thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    events.close()
    events.close()
    for thread in waiting:
        thread.join(9)
    assert time.monotonic() - began < 5
    assert ["it was closed" in str(error) for error in errors] == [True, True]
    assert set(os.listdir("/proc/self/fd")) == before


class Bare(XenLink):
    """A link without Xen, of which only the alarm is looked at."""

    def __init__(self) -> None:
        Link.__init__(self, "xen:none", bytes(6))
        self._rings = None
        self._up = False
        self._failure = None
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ringing = threading.Lock()
        self._rung = False
        self._waiter = Waiter(self._alarm)

    def _step(self, theirs: State) -> None:
        raise NotImplementedError

    def _farewell(self) -> None:
        raise NotImplementedError


def fail() -> None:
    raise LinkError("xen:none", "the other side is broken")


def test_a_senders_failure_reaches_a_receiver_that_goes_to_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = Bare()
    link._ring()  # frames came, and all have been taken

    def sender() -> None:
        with pytest.raises(LinkError):
            link._guarded(fail)

    thread = threading.Thread(target=sender)

    def between(read: Callable[..., object]) -> Callable[..., object]:
        def slow(*arguments: object) -> object:
            thread.start()
            thread.join(0.3)
            return read(*arguments)

        return slow

    monkeypatch.setattr(os, "read", between(os.read))
    monkeypatch.setattr(os, "eventfd_read", between(os.eventfd_read))
    link._quiet()
    monkeypatch.undo()
    thread.join(9)
    assert link._waiter.wait(0), "nobody tells the receiver"
    link._waiter.close()
    os.close(link._alarm)
