"""``pci:ADDRESS``: frames by an e1000 or e1000e that this process drives itself.

The driver is Python's from the registers on: `rumphyper.pci` opens the device,
`rumphyper.ring.e1000` has the rings, `e1000_device` sets the controller up. See
docs/e1000.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Literal, cast

from typing_extensions import Buffer

from rumphyper.errors import LinkError, LinkstrError
from rumphyper.link import e1000_regs as regs
from rumphyper.link.base import BATCH, ETHER_HEADER, Link
from rumphyper.link.e1000_alarm import Alarm
from rumphyper.link.e1000_device import E1000Device, Irq, model
from rumphyper.link.station import station
from rumphyper.pci import Device, Sysfs, open_device
from rumphyper.pci.container import is_vfio
from rumphyper.pci.errors import DeviceBusyError, PciError
from rumphyper.pci.uio import DRIVERS
from rumphyper.ring.e1000 import LEAST, MOST, STEP

DRAIN_TIME = 1.0
"""Seconds that `close` gives to the frames that are on their way out."""

_TDT, _RDT = regs.TDT >> 2, regs.RDT >> 2
_OCTETS = {bytes, bytearray}


class E1000Link(Link):
    """One controller, which this process has to itself.

    ``counters.dropped`` counts frames that came with an error, and those for which
    there was no room; the latter when the receiver next finds nothing.
    """

    def __init__(
        self,
        linkstr: str,
        device: E1000Device,
        mac: bytes,
        *,
        promiscuous: bool,
        irq: Irq,
    ) -> None:
        """Take over ``device``, which was reset and is closed if this fails."""
        super().__init__(linkstr, mac)
        self.irq = irq
        """What tells of frames: ``msi``, ``intx`` or ``poll``."""
        with contextlib.ExitStack() as stack:
            stack.callback(device.close)
            device.start(mac, promiscuous=promiscuous, irq=irq)
            self._alarm = Alarm(device)
            stack.callback(self._alarm.close)
            self._held = stack.pop_all()
        self._device = device
        self._words = device.words

    @property
    def is_up(self) -> bool:
        """Whether there is somebody at the other end of the cable."""
        with self.tx_lock:
            self.check_open()
            return self._device.link_is_up

    def wait_until_up(self, seconds: float) -> None:
        """Wait for the two ends of the cable to agree. LinkError if they do not."""
        deadline = time.monotonic() + seconds
        while not self.is_up:
            if time.monotonic() > deadline:
                raise self._down()
            time.sleep(0.01)

    # -- sending -------------------------------------------------------------

    def send(self, frames: Sequence[Buffer]) -> int:
        """Store a batch in the ring and tell the controller, once.

        Raises FrameError, LinkClosedError, LinkError (the link is down).
        """
        with self.tx_lock:
            if self._closed:
                self.check_open()
            if not frames:
                return 0
            octets = self._checked(frames)
            if not self._device.link_is_up:
                raise self._down()
            tx = self._device.tx
            taken = tx.put(octets)
            if taken:
                self._words[_TDT] = tx.tail
                counters = self.counters
                counters.sent += taken
                counters.sent_bytes += sum(map(len, octets[:taken]))
            return taken

    def _checked(self, frames: Sequence[Buffer]) -> Sequence[bytes | bytearray]:
        """The frames as types whose length is their octets, none too long."""
        if not _OCTETS.issuperset(map(type, frames)):
            frames = [memoryview(frame).tobytes() for frame in frames]
        octets = cast("Sequence[bytes | bytearray]", frames)
        sizes = set(map(len, octets))
        if min(sizes) < ETHER_HEADER or max(sizes) > self.max_frame:
            self.check_frames(frames)
        return octets

    def _down(self) -> LinkError:
        remedy = "plug the cable in, or bring the other end up"
        return LinkError(self.linkstr, "the link is down", remedy)

    # -- receiving -----------------------------------------------------------

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Take frames that have come in.

        Raises LinkClosedError, LinkEndedError (the device is gone), CorruptError.
        """
        with self.rx_lock:
            frames = list(map(memoryview.tobytes, self._take(limit, timeout)))
            self._give_back()
            return frames

    def recv_views(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> Sequence[Buffer]:
        """Like `recv`, but the frames lie in the ring, which is smaller meanwhile."""
        with self.rx_lock:
            return self._take(limit, timeout)

    def _take(self, limit: int, timeout: float | None) -> list[memoryview]:
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        alarm = self._alarm
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        alarm.before_look()
        while True:
            if self._closed:
                self.check_open()
            rx = self._device.rx
            self._give_back()
            views = rx.take(limit)
            if views:
                break
            if rx.waiting:
                continue
            self._count_dropped()
            if left == 0:
                break
            if alarm.arm():
                continue
            if not alarm.wait(left):
                left = 0
            elif deadline is not None:
                left = max(0.0, deadline - time.monotonic())
        alarm.settle()
        counters = self.counters
        counters.received += len(views)
        counters.received_bytes += sum(map(len, views))
        return views

    def _give_back(self) -> None:
        rx = self._device.rx
        if rx.give_back():
            self._words[_RDT] = rx.tail

    def _count_dropped(self) -> None:
        rx = self._device.rx
        self.counters.dropped += rx.dropped + self._device.missed()
        rx.dropped = 0

    def fileno(self) -> int:
        """Readable when `recv` would not wait; always with ``irq="poll"``."""
        with self.rx_lock:
            self.check_open()
            return self._alarm.fileno()

    # -- the end -------------------------------------------------------------

    def _wake(self) -> None:
        self._alarm.wake()

    def _release(self) -> None:
        try:
            self._device.drain(DRAIN_TIME)
        finally:
            self._held.close()


def open_pci(
    address: str,
    /,
    *,
    driver: Literal["vfio", "uio"] | None = None,
    irq: Irq | None = None,
    tx_ring: int = 256,
    rx_ring: int = 512,
    promiscuous: bool = True,
    mac: bytes | str | None = None,
    wait: float = 5.0,
) -> E1000Link:
    """Drive the controller at a PCI address, or that of an interface's name.

    ``driver`` is what gives access to it, ``vfio`` or ``uio``: by default what it
    is bound to. ``irq`` is ``msi``, ``intx``, or ``poll`` for looking every
    millisecond; by default the first that it has. The rings have ``tx_ring`` and
    ``rx_ring`` frames. Without ``promiscuous`` only frames to its own address and to
    groups arrive. ``mac`` is another address than its own. ``wait`` is how many
    seconds the link may take to come up; 0 opens without.

    Raises LinkstrError (an option that cannot be), UnsupportedError (a device of
    another kind), LinkError (the link is down, a reset that does not finish), and
    the errors of `rumphyper.pci`: DeviceBusyError when a driver of the kernel's own
    has it. A failure leaves the device stopped.
    """
    linkstr = f"pci:{address}"
    _check(linkstr, driver, irq, {"tx_ring": tx_ring, "rx_ring": rx_ring})
    wanted = None if mac is None else station(linkstr, mac)
    opened = _open(address, driver)
    with contextlib.ExitStack() as stack:
        stack.callback(opened.close)
        device = E1000Device(opened, tx_ring, rx_ring)
        device.reset()
        link = E1000Link(
            f"pci:{opened.address}",
            device,
            wanted or device.address(),
            promiscuous=promiscuous,
            irq=irq or _best(opened),
        )
        stack.callback(link.close)
        if wait > 0:
            link.wait_until_up(wait)
        stack.pop_all()
    return link


def _check(
    linkstr: str, driver: str | None, irq: str | None, rings: dict[str, int]
) -> None:
    if driver not in (None, "vfio", "uio"):
        raise LinkstrError(linkstr, f"driver={driver!r}", "vfio or uio")
    if irq not in (None, "msi", "intx", "poll"):
        raise LinkstrError(linkstr, f"irq={irq!r}", "msi, intx or poll")
    for name, size in rings.items():
        if not LEAST <= size <= MOST or size % STEP:
            remedy = f"a ring has {LEAST} to {MOST} descriptors, a multiple of {STEP}"
            raise LinkstrError(linkstr, f"{name}={size}", remedy)


def _open(address: str, driver: Literal["vfio", "uio"] | None) -> Device:
    """Open a device of ours that was given to vfio or UIO."""
    sysfs = Sysfs()
    info = sysfs.info(sysfs.resolve(address))
    model(info)
    if not (is_vfio(info.driver) or info.driver in DRIVERS):
        thing = f"PCI device {info.address}"
        remedy = f"rumphyper pci bind vfio-pci {info.address}"
        if info.driver is None:
            raise PciError(thing, "it is bound to no driver", remedy)
        cause = f"the kernel's driver {info.driver} has it"
        raise DeviceBusyError(thing, cause, remedy)
    return open_device(info.address, driver=driver)


def _best(device: Device) -> Irq:
    """The best kind of interrupt that a device and its driver offer."""
    counts = device.interrupt_counts()
    if counts.get("msi"):
        return "msi"
    return "intx" if counts.get("intx") else "poll"
