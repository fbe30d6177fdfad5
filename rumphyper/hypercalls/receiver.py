"""The receiving half of virt(4): from a link, or its descriptor, to the kernel.

One thread for each interface, with an lwp of its own. Facts: NetBSD
sys/rump/net/lib/libvirtif/virtif_user.c.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from rumphyper.errors import LinkClosedError, LinkEndedError
from rumphyper.hypercalls.burst import Burst
from rumphyper.hypercalls.report import Reporter
from rumphyper.hypercalls.sendqueue import SendQueue
from rumphyper.link.base import Link

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor


@attrs.frozen
class Component:
    """The component functions, by their symbols.

    Whoever answers them, they are of one provider with locks and curlwp.
    """

    schedule: Callable[..., Any]
    unschedule: Callable[..., Any]
    kthread: Callable[..., Any]
    kthread_release: Callable[..., Any]

    @classmethod
    def of(cls, hypervisor: Hypervisor) -> Component:
        """Those of a hypervisor that has been started."""
        names = (field.name for field in attrs.fields(cls))
        return cls(*(hypervisor.function(f"rumpuser_component_{n}") for n in names))


class Iovec(ctypes.Structure):
    """struct iovec of a received frame; holds on to the frame."""

    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Interface:
    """One interface: its link, and the thread that receives for it."""

    def __init__(self, link: Link, softc: int, name: str) -> None:
        self.link = link
        self.softc = softc
        self.name = name
        self.dying = False
        self.burst: Burst | None = None
        """Present where frames arrive by the link's descriptor, not the link."""

        self.queue: SendQueue | None = None
        """Present where frames are gathered on their way to the link."""

        self.sends_by_fd = False
        """Whether the kernel's handle is the descriptor of one or the other, for
        writev(2)."""

        self.dropped = 0
        """Frames from the kernel that the link did not take."""

        self.thread: threading.Thread | None = None
        self.reading = threading.Lock()
        """Held while frames are read by the descriptor, which is open meanwhile."""

    def die(self) -> None:
        """Make the receiver end. A descriptor stays open: C code may send on it."""
        self.dying = True
        if self.queue is not None:
            self.queue.finish()
        if self.burst is not None:
            self.burst.wake()
        else:
            self.link.close()

    def end(self) -> None:
        """Wait for the receiver and close the link."""
        self.die()
        thread = self.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.close()

    def close(self) -> None:
        """Close the link; nobody sends or receives any more."""
        self.close_link()
        if self.burst is not None:
            self.burst.close()

    def close_link(self) -> None:
        """Close the link of an interface that dies, though its receiver is at work."""
        with self.reading:
            self.link.close()
        if self.queue is not None:
            self.queue.close()


def receive(
    interface: Interface,
    deliver: Callable[..., Any],
    component: Component,
    batch: int,
    reporter: Reporter,
) -> None:
    """What the interface's thread does until the interface dies."""
    component.kthread()
    try:
        if interface.burst is not None:
            _pump(interface, interface.burst, component)
        else:
            _deliver_frames(interface, deliver, component, batch)
    except (LinkClosedError, LinkEndedError):
        pass
    except BaseException as error:
        reporter.exception(f"receiver of virt {interface.name}", error)
    finally:
        if interface.burst is not None:
            interface.burst.close()
        component.kthread_release()


def _pump(interface: Interface, burst: Burst, component: Component) -> None:
    """Read and deliver bursts; Python runs per burst only."""
    schedule, unschedule = component.schedule, component.unschedule
    counters = interface.link.counters
    while True:
        burst.wait()
        with interface.reading:
            if interface.dying:
                return
            number = burst.read()
        if number:
            counters.received = burst.received
            counters.received_bytes = burst.received_bytes
            schedule(None)
            try:
                burst.deliver()
            finally:
                unschedule()


def _deliver_frames(
    interface: Interface,
    deliver: Callable[..., Any],
    component: Component,
    batch: int,
) -> None:
    """Receive from the link; deliver a batch under one virtual CPU."""
    link, softc = interface.link, interface.softc
    schedule, unschedule = component.schedule, component.unschedule
    iovec = Iovec()
    where = ctypes.byref(iovec)
    while not interface.dying:
        frames = link.recv(batch)
        if not frames:
            continue
        schedule(None)
        try:
            for frame in frames:
                if interface.dying:
                    break
                iovec.base = frame
                iovec.length = len(frame)
                deliver(softc, where, 1)
        finally:
            unschedule()
