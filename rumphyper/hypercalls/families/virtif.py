"""The virt(4) interface over any link.

Facts: NetBSD sys/rump/net/lib/libvirtif/virtif_user.c, virtif_user.h and
if_virt.c.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rumphyper.errors import LinkClosedError, LinkEndedError, RumphyperError
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.handles import Handles
from rumphyper.hypercalls.report import HypercallError, Reporter
from rumphyper.hypercalls.tables.virtif import DELIVER
from rumphyper.link.base import BATCH, Link
from rumphyper.link.linkstr import open_link

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor

MAC_OCTETS = 6
MOST_PARTS = 1024
"""Parts of a frame at most (the kernel's driver uses 32)."""

Source = str | Link
"""What an interface is connected to: a linkstr, or a link that is open."""


class Iovec(ctypes.Structure):
    """struct iovec of a received frame; holds on to the frame."""

    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class SendIovec(ctypes.Structure):
    """struct iovec of a frame to be sent: an address of the kernel's memory."""

    _fields_ = [("base", ctypes.c_size_t), ("length", ctypes.c_size_t)]


class Interface:
    """One interface: its link, and the thread that receives for it."""

    def __init__(self, link: Link, softc: int, name: str) -> None:
        self.link = link
        self.softc = softc
        self.name = name
        self.dying = False
        self.dropped = 0
        """Frames from the kernel that the link did not take."""

        self.thread: threading.Thread | None = None


class Virtif(Family):
    """Connects the kernel's virt interfaces to links.

    What the kernel gives as ``devstr`` is looked up in ``links``, where a plain
    unit number ("0") has to be; anything else is opened as a linkstr. ``library``
    is a handle of the library that has the upcall `DELIVER`, by default the
    process's global scope. The links are closed with their interfaces.

    Frames from the link are delivered by one thread for each interface, all of
    a burst under one virtual CPU. The component functions are called by their
    symbols, for they must be of one provider with locks and curlwp.
    """

    family = "virtif"

    def __init__(
        self,
        links: Mapping[str, Source] | None = None,
        library: ctypes.CDLL | None = None,
        batch: int = BATCH,
    ) -> None:
        self.links: dict[str, Source] = dict(links or {})
        self.library = library
        self.batch = batch
        self._interfaces: Handles[Interface] = Handles("virtif_user")
        self._reporter = Reporter()

    def start(self, hypervisor: Hypervisor) -> None:
        """Get hold of the component functions."""
        self._reporter = hypervisor.reporter
        function = hypervisor.function
        self._schedule = function("rumpuser_component_schedule")
        self._unschedule = function("rumpuser_component_unschedule")
        self._kthread = function("rumpuser_component_kthread")
        self._kthread_release = function("rumpuser_component_kthread_release")

    def interfaces(self) -> list[Interface]:
        """The interfaces that exist now, with their links' counters."""
        return list(self._interfaces.values())

    def create(self, devstr: bytes | None, softc: int, enaddr: int, viup: Any) -> int:
        """Open the link, give its MAC to the kernel, start to receive."""
        name = (devstr or b"").decode("utf-8", "surrogateescape")
        source = self.links.get(name, name)
        if isinstance(source, str) and source.isdecimal():
            raise HypercallError(
                f"virt{source}",
                "no link is known for this unit",
                "give Virtif(links={...}) its linkstr",
                errno=Errno.ENXIO,
            )
        deliver = self._deliver()
        cookie = self._unschedule()
        try:
            link = open_link(source) if isinstance(source, str) else source
            interface = Interface(link, softc, name)
            receiver = threading.Thread(
                target=self._receive,
                args=(interface, deliver),
                name=f"virtif {name}",
                daemon=True,
            )
            try:
                receiver.start()
            except RuntimeError as error:
                link.close()
                raise HypercallError(
                    name, str(error), "end other threads", errno=Errno.EAGAIN
                ) from None
            interface.thread = receiver
        finally:
            self._schedule(cookie)
        ctypes.memmove(enaddr, link.mac, MAC_OCTETS)
        viup[0] = self._interfaces.add(interface)
        return 0

    def _deliver(self) -> Callable[..., Any]:
        """The kernel's upcall for a received frame."""
        library = self.library or ctypes.CDLL(None)
        prototype = ctypes.CFUNCTYPE(
            None, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
        )
        try:
            upcall: Callable[..., Any] = prototype((DELIVER, library))
        except AttributeError:
            raise HypercallError(
                DELIVER,
                "no library that is loaded has this symbol",
                "load the virtif component with RTLD_GLOBAL, or pass its handle",
                errno=Errno.ENXIO,
            ) from None
        return upcall

    def _receive(self, interface: Interface, deliver: Callable[..., Any]) -> None:
        """The receiver thread: an lwp of its own, bursts under one virtual CPU."""
        self._kthread()
        try:
            self._deliver_bursts(interface, deliver)
        except (LinkClosedError, LinkEndedError):
            pass
        except BaseException as error:
            self._reporter.exception(f"receiver of virt {interface.name}", error)
        finally:
            self._kthread_release()

    def _deliver_bursts(
        self, interface: Interface, deliver: Callable[..., Any]
    ) -> None:
        link, softc, batch = interface.link, interface.softc, self.batch
        schedule, unschedule = self._schedule, self._unschedule
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

    def send(self, user: int, iov: int, iovlen: int) -> None:
        """Send one frame; without room on the link it is dropped."""
        interface = self._interfaces[user]
        if iovlen > MOST_PARTS:
            raise HypercallError(f"frame of {iovlen} parts", "too many")
        parts = (SendIovec * iovlen).from_address(iov)
        string_at = ctypes.string_at
        frame = b"".join([string_at(part.base, part.length) for part in parts])
        cookie = self._unschedule()
        try:
            if not interface.link.send([frame]):
                interface.dropped += 1
        except LinkClosedError:
            interface.dropped += 1
            if not interface.dying:
                raise
        except RumphyperError:
            interface.dropped += 1
            raise
        finally:
            self._schedule(cookie)

    def dying(self, user: int) -> int:
        """Make the receiver end; frames may still be sent until destroy."""
        interface = self._interfaces[user]
        interface.dying = True
        cookie = self._unschedule()
        try:
            interface.link.close()
        finally:
            self._schedule(cookie)
        return 0

    def destroy(self, user: int) -> None:
        """Wait for the receiver; the link is closed."""
        interface = self._interfaces.take(user)
        cookie = self._unschedule()
        try:
            self._end(interface)
        finally:
            self._schedule(cookie)

    def _end(self, interface: Interface) -> None:
        interface.dying = True
        interface.link.close()
        thread = interface.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def stop(self) -> None:
        """Close the links; the receivers end by themselves.

        They are not waited for: the kernel may have stopped, and then they
        never get a virtual CPU again.
        """
        for interface in self.interfaces():
            interface.dying = True
            interface.link.close()
