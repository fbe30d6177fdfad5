"""An e1000 or e1000e controller: reset, addresses, rings, interrupts.

The order of things is that of Intel's manual (14, General Initialization and Reset
Operation) and of Linux's e1000_reset_hw and e1000_configure. Whatever state the
controller was left in, it can start nothing until its registers have been set:
bus mastering is off until then.
"""

from __future__ import annotations

import contextlib
import time
from typing import Literal

from rumphyper.errors import LinkEndedError, LinkError, UnsupportedError
from rumphyper.link import e1000_regs as regs
from rumphyper.pci import Device, DeviceInfo, Interrupt
from rumphyper.ring import e1000 as ring
from rumphyper.ring.e1000 import RxRing, TxRing

Irq = Literal["msi", "intx", "poll"]

CAUSES = regs.ICR_RXT0 | regs.ICR_RXDMT0 | regs.ICR_RXO
"""What interrupts: frames that came, or found no room."""

ALL_ONES = 0xFFFFFFFF
"""What a device that is gone answers to every read."""

RESET_TIME = 1.0
"""Seconds; it takes microseconds."""

EEPROM_TIME = 0.025
"""Seconds for reading the EEPROM after a reset (e1000_get_auto_rd_done_generic)."""


def model(info: DeviceInfo) -> regs.Model:
    """Which controller a device is. UnsupportedError for any other device."""
    found = regs.MODELS.get(info.device)
    if info.vendor == regs.VENDOR and found is not None:
        return found
    drives = ", ".join(
        f"{regs.VENDOR:04x}:{number:04x} ({each.name})"
        for number, each in regs.MODELS.items()
    )
    cause = f"no driver here drives a {info.vendor:04x}:{info.device:04x}"
    remedy = f"this one drives {drives}"
    raise UnsupportedError(f"PCI device {info.address}", cause, remedy)


class E1000Device:
    """A controller over an open device, which becomes its own.

    ``tx`` and ``rx`` are the sizes of the rings. Nothing runs before `start`.
    """

    tx: TxRing
    rx: RxRing

    def __init__(self, device: Device, tx: int, rx: int) -> None:
        self.model = model(device.info)
        self.thing = device.thing
        self._device = device
        self.words = device.bar(0).view(32)
        """All registers, by their offsets divided by 4."""
        self._sizes = (tx, rx)
        self.interrupt: Interrupt | None = None

    def __getitem__(self, offset: int) -> int:
        """Read a register; its offset is in octets."""
        value: int = self.words[offset >> 2]
        return value

    def __setitem__(self, offset: int, value: int) -> None:
        self.words[offset >> 2] = value

    # -- from reset to the first frame ---------------------------------------

    def reset(self) -> None:
        """Stop it and make it forget. LinkError when it does not come back."""
        self._device.bus_master = False
        self.stop()
        self[regs.CTRL] |= regs.CTRL_RST
        deadline = time.monotonic() + RESET_TIME
        while True:
            time.sleep(EEPROM_TIME)
            ctrl = self[regs.CTRL]
            if not ctrl & regs.CTRL_RST:
                break
            if time.monotonic() > deadline:
                gone = "; it reads as ones: it is gone" if ctrl == ALL_ONES else ""
                cause = f"its reset has not finished after {RESET_TIME:g} s{gone}"
                remedy = "bind it anew, or power the machine off and on"
                raise LinkError(self.thing, cause, remedy)
        self[regs.IMC] = ALL_ONES
        _ = self[regs.ICR]

    def address(self) -> bytes:
        """The address that the EEPROM gives it. LinkError when that is none."""
        low, high = self[regs.RAL], self[regs.RAH]
        octets = (low | (high & 0xFFFF) << 32).to_bytes(6, "little")
        if octets[0] & 1 or not any(octets):
            cause = f"its EEPROM holds no address of its own: {octets.hex(':')}"
            raise LinkError(self.thing, cause, "give one: mac=")
        return octets

    def start(self, mac: bytes, *, promiscuous: bool, irq: Irq) -> None:
        """Set everything up after a `reset`, and begin to send and receive."""
        tx, rx = self._sizes
        split = ring.memory(tx)
        memory = self._device.dma_alloc(split + ring.memory(rx), align=4096)
        view, bus = memory.view, memory.iova
        self.tx = TxRing(self.thing, view[:split], bus, tx)
        self.rx = RxRing(self.thing, view[split:], bus + split, rx)
        self._filter(mac)
        self._set_up_receiver()
        self._set_up_transmitter()
        if irq != "poll":
            (self.interrupt,) = self._device.interrupts(irq)
        ctrl = self[regs.CTRL] & ~_NEGOTIATED
        self[regs.CTRL] = ctrl | regs.CTRL_SLU | regs.CTRL_ASDE
        self._device.bus_master = True
        self[regs.TCTL] = regs.TCTL_EN | regs.TCTL_PSP | regs.TCTL_CT | regs.TCTL_COLD
        every = regs.RCTL_UPE if promiscuous else 0
        # All groups always: who listens to which, the station itself knows.
        self[regs.RCTL] = (
            regs.RCTL_EN | regs.RCTL_MPE | regs.RCTL_BAM | regs.RCTL_SECRC | every
        )
        self[regs.RDT] = self.rx.tail

    def _filter(self, mac: bytes) -> None:
        octets = int.from_bytes(mac, "little")
        self[regs.RAL] = octets & ALL_ONES
        self[regs.RAH] = octets >> 32 | regs.RAH_AV
        for other in range(1, regs.RA_COUNT):
            self[regs.RAH + other * regs.RA_STEP] = 0
        for word in range(regs.MTA_WORDS):
            self[regs.MTA + 4 * word] = 0

    def _set_up_receiver(self) -> None:
        self[regs.RDTR] = self[regs.RADV] = self[regs.ITR] = 0  # interrupt at once
        if self.model.express:
            self[regs.RFCTL] = self[regs.MRQC] = 0  # legacy descriptors, one queue
        self[regs.RDBAL] = self.rx.bus & ALL_ONES
        self[regs.RDBAH] = self.rx.bus >> 32
        self[regs.RDLEN] = self.rx.octets
        self[regs.RDH] = self[regs.RDT] = 0
        self._missed = 0
        self.missed()

    def _set_up_transmitter(self) -> None:
        self[regs.TIPG] = regs.TIPG_COPPER
        if self.model.express:
            self[regs.TXDCTL] = regs.TXDCTL_GRAN | regs.TXDCTL_COUNT_DESC
        self[regs.TDBAL] = self.tx.bus & ALL_ONES
        self[regs.TDBAH] = self.tx.bus >> 32
        self[regs.TDLEN] = self.tx.octets
        self[regs.TDH] = self[regs.TDT] = 0

    # -- while it runs -------------------------------------------------------

    @property
    def link_is_up(self) -> bool:
        """Whether there is somebody at the other end of the cable."""
        return bool(self[regs.STATUS] & regs.STATUS_LU)

    def missed(self) -> int:
        """How many frames have found no room since the last call."""
        count: int = self[regs.MPC]
        if not count:
            return 0
        again = self[regs.MPC]
        if again != count:
            return count + again
        # Reading should have cleared it, but QEMU's e1000 goes on counting.
        before, self._missed = self._missed, count
        return count - before

    def arm(self) -> None:
        """Have the next frame interrupt; what has come before does not."""
        _ = self[regs.ICR]
        self[regs.IMS] = CAUSES

    def acknowledge(self) -> bool:
        """Serve an interrupt, if there was one, and have no more until `arm`.

        LinkEndedError when the device is gone.
        """
        interrupt = self.interrupt
        if interrupt is None or not interrupt.read():
            return False
        self[regs.IMC] = ALL_ONES
        if self[regs.ICR] == ALL_ONES:
            raise LinkEndedError(self.thing, "the device is gone", "plug it in again")
        interrupt.read()  # another may have come before it was masked
        interrupt.unmask()
        return True

    # -- the end -------------------------------------------------------------

    def drain(self, seconds: float) -> None:
        """Wait until what was sent has gone out, if it can."""
        deadline = time.monotonic() + seconds
        while not self.tx.idle and self.link_is_up and time.monotonic() < deadline:
            time.sleep(0.001)

    def stop(self) -> None:
        """Neither receive nor send nor interrupt."""
        self[regs.IMC] = ALL_ONES
        self[regs.RCTL] = 0
        self[regs.TCTL] = regs.TCTL_PSP
        _ = self[regs.STATUS]  # which makes sure that the writes have arrived

    def close(self) -> None:
        """Stop it and give the device up. Idempotent."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._device.close)
            if not self._device.closed:
                stack.callback(self.stop)
        for ring_of in ("tx", "rx"):  # their memory goes with the last slice of it
            vars(self).pop(ring_of, None)


_NEGOTIATED = (
    regs.CTRL_LRST
    | regs.CTRL_FRCSPD
    | regs.CTRL_FRCDPX
    | regs.CTRL_RFCE
    | regs.CTRL_TFCE
    | regs.CTRL_VME
    | regs.CTRL_PHY_RST
)
"""Off: speed and duplex are negotiated, no flow control, VLAN tags stay in."""
