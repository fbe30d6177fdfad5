"""The virt(4) interface over any link.

Facts: NetBSD sys/rump/net/lib/libvirtif/virtif_user.c, virtif_user.h and
if_virt.c.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rumphyper.errors import LinkClosedError, RumphyperError
from rumphyper.host import thunks
from rumphyper.host.library import Thunk
from rumphyper.host.thunks import ThunkLibrary
from rumphyper.hypercalls.burst import Burst, deliver_each, writev_address
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.handles import Handles
from rumphyper.hypercalls.receiver import Component, Interface, receive
from rumphyper.hypercalls.report import HypercallError, Reporter
from rumphyper.hypercalls.sendqueue import SendQueue, writev_or
from rumphyper.hypercalls.superburst import SuperBurst, kernel_sum
from rumphyper.hypercalls.tables.virtif import DELIVER
from rumphyper.hypercalls.threadstate import hold_thread_state
from rumphyper.link.base import BATCH, Link
from rumphyper.link.linkstr import open_link

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor

MAC_OCTETS = 6
SEND = "rumpcomp_virt_send"
MOST_PARTS = 1024
"""Parts of a frame at most (the kernel's driver uses 32)."""

Source = str | Link
"""What an interface is connected to: a linkstr, or a link that is open."""


class SendIovec(ctypes.Structure):
    """struct iovec of a frame to be sent: an address of the kernel's memory."""

    _fields_ = [("base", ctypes.c_size_t), ("length", ctypes.c_size_t)]


class Virtif(Family):
    """Connects the kernel's virt interfaces to links.

    What the kernel gives as ``devstr`` is looked up in ``links``, where a plain
    unit number ("0") has to be; anything else is opened as a linkstr. ``library``
    is a handle of the library that has the upcall `DELIVER`, by default the
    process's global scope; where a kernel cannot export symbols it is the
    upcall's address. The links are closed with their interfaces.

    Frames from the link are delivered by one thread for each interface, all of
    a burst under one virtual CPU. The component functions are called by their
    symbols, for they must be of one provider with locks and curlwp.

    A link with a descriptor of frames (`Link.frame_fd`: TAP) is bypassed unless
    ``native`` is false: bursts are delivered by burst.py, and while all links
    are of that kind the slot of virt_send leads straight to libc's writev(2),
    which has the same arguments once the descriptor is the kernel's handle. So it is
    with links that like bursts (`Link.sends_in_bursts`): there the descriptor leads
    to a queue, see sendqueue.py.
    """

    family = "virtif"

    def __init__(
        self,
        links: Mapping[str, Source] | None = None,
        library: ctypes.CDLL | int | None = None,
        batch: int = BATCH,
        native: bool = True,
    ) -> None:
        self.links: dict[str, Source] = dict(links or {})
        self.library = library
        self.batch = batch
        self.native = native
        self._interfaces: Handles[Interface] = Handles("virtif_user")
        self._reporter = Reporter()
        self._hypervisor: Hypervisor | None = None
        self._sender = "python"
        self._thunks: ThunkLibrary | None = None
        self._writer: Thunk | None = None

    def start(self, hypervisor: Hypervisor) -> None:
        """Get hold of the component functions."""
        self._hypervisor = hypervisor
        self._reporter = hypervisor.reporter
        self._component = component = Component.of(hypervisor)
        self._schedule, self._unschedule = component.schedule, component.unschedule

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
            try:
                handle = self._admit(interface, deliver)
            except BaseException:
                interface.close()
                raise
            receiver = threading.Thread(
                target=receive,
                args=(interface, deliver, self._component, self.batch, self._reporter),
                name=f"virtif {name}",
                daemon=True,
            )
            try:
                receiver.start()
            except RuntimeError as error:
                self._dismiss(handle).close()
                raise HypercallError(
                    name, str(error), "end other threads", errno=Errno.EAGAIN
                ) from None
            interface.thread = receiver
        finally:
            self._schedule(cookie)
        ctypes.memmove(enaddr, link.mac, MAC_OCTETS)
        viup[0] = handle
        return 0

    def _admit(self, interface: Interface, deliver: Callable[..., Any]) -> int:
        """Choose how frames pass; return the kernel's handle of the interface."""
        link = interface.link
        native = self.native and thunks.supported()
        fd = link.frame_fd() if native else None
        if fd is None and native and link.sends_in_bursts:
            interface.queue = SendQueue(interface, self._reporter)
            interface.sends_by_fd = True
            handle = interface.queue.fd
            self._interfaces[handle] = interface
        elif fd is None:
            handle = self._interfaces.add(interface)
        else:
            if self._thunks is None:
                self._thunks = deliver_each(deliver)
            thunk = self._thunks.address("deliver_one")
            kind, room = Burst, link.max_frame
            if link.frame_header:
                kind, room = SuperBurst, room + link.frame_header
            burst = kind(fd, room, interface.softc, thunk)
            if isinstance(burst, SuperBurst):
                burst.compute = kernel_sum()
            interface.burst = burst
            interface.sends_by_fd = not link.frame_header
            handle = fd
            self._interfaces[fd] = interface
        self._choose_sender()
        return handle

    def _dismiss(self, handle: int) -> Interface:
        interface = self._interfaces.take(handle)
        self._choose_sender()
        return interface

    def _choose_sender(self) -> None:
        """Let C send where every handle is a descriptor, else `send`."""
        items = self._interfaces.values()
        sender = "python"
        if items and all(item.sends_by_fd for item in items):
            sender = "queue" if any(item.queue for item in items) else "libc"
        hypervisor = self._hypervisor
        if sender == self._sender or hypervisor is None:
            return
        self._sender = sender
        if sender == "python":
            hypervisor.bind(SEND, self.send, sender)
        elif sender == "libc":
            hypervisor.bind(SEND, writev_address(), sender)
        else:
            if self._writer is None:
                self._writer = writev_or(hypervisor.callback(SEND, self.send))
            hypervisor.bind(SEND, self._writer.address, "libc")

    def _deliver(self) -> Callable[..., Any]:
        """The kernel's upcall for a received frame."""
        library = self.library or ctypes.CDLL(None)
        prototype = ctypes.CFUNCTYPE(
            None, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
        )
        where = library if isinstance(library, int) else (DELIVER, library)
        try:
            upcall: Callable[..., Any] = prototype(where)
        except AttributeError:
            raise HypercallError(
                DELIVER,
                "no library that is loaded has this symbol",
                "load the virtif component with RTLD_GLOBAL, or pass its handle",
                errno=Errno.ENXIO,
            ) from None
        return upcall

    def send(self, user: int, iov: int, iovlen: int) -> None:
        """Send one frame; without room on the link it is dropped."""
        hold_thread_state()
        interface = self._interfaces[user]
        if iovlen > MOST_PARTS:
            raise HypercallError(f"frame of {iovlen} parts", "too many")
        parts = (SendIovec * iovlen).from_address(iov)
        string_at = ctypes.string_at
        frame = b"".join([string_at(part.base, part.length) for part in parts])
        cookie = self._unschedule()
        try:
            if interface.queue is not None:
                interface.queue.send(frame)
            elif not interface.link.send([frame]):
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
        cookie = self._unschedule()
        try:
            interface.die()
        finally:
            self._schedule(cookie)
        return 0

    def destroy(self, user: int) -> None:
        """Wait for the receiver; the link is closed."""
        interface = self._dismiss(user)
        cookie = self._unschedule()
        try:
            interface.end()
        finally:
            self._schedule(cookie)

    def stop(self) -> None:
        """Close the links; the receivers end by themselves.

        They are not waited for: the kernel may have stopped, and then they
        never get a virtual CPU again.
        """
        for interface in self.interfaces():
            interface.die()
        if self._sender != "python" and self._hypervisor is not None:
            self._sender = "python"  # before the descriptors' numbers are free
            self._hypervisor.bind(SEND, self.send, "python")
        for interface in self.interfaces():
            interface.close_link()
