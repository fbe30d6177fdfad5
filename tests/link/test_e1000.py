"""What the driver of e1000 says and does when its controller, or its user, is wrong."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator

import attrs
import pytest

from rumphyper.errors import (
    CorruptError,
    FrameError,
    LinkClosedError,
    LinkEndedError,
    LinkError,
    LinkstrError,
    RumphyperError,
    UnsupportedError,
)
from rumphyper.link import e1000, e1000_device, open_link
from rumphyper.link import e1000_regs as regs
from rumphyper.link.e1000 import E1000Link
from rumphyper.link.e1000_device import E1000Device
from rumphyper.pci.errors import DeviceNotFoundError, PciAddressError
from rumphyper.ring.e1000 import DESCRIPTOR, memory
from tests.link.e1000_fault import INFO, MAC, FaultyDevice, as_device

TX, RX = 16, 8


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(e1000_device, "EEPROM_TIME", 0.01)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


def opened(device: FaultyDevice, irq: e1000_device.Irq = "msi") -> E1000Link:
    """A link over it, as `open_pci` makes one."""
    controller = E1000Device(as_device(device), TX, RX)
    controller.reset()
    mac = controller.address()
    return E1000Link("pci:test", controller, mac, promiscuous=True, irq=irq)


def arrive(device: FaultyDevice, place: int, frame: bytes, status: int = 3) -> None:
    """Store a frame, and mark its descriptor."""
    ring = memory(TX)
    at = ring + place * DESCRIPTOR
    (bus,) = struct.unpack_from("<Q", device.memory, at)
    slot = bus - 0x10000
    device.memory[slot : slot + len(frame)] = frame
    struct.pack_into("<HHB", device.memory, at + 8, len(frame), 0, status)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rx_ring": 4}, "rx_ring=4"),
        ({"tx_ring": 0}, "tx_ring=0"),
        ({"rx_ring": 8192}, "rx_ring=8192"),
        ({"tx_ring": 100}, "tx_ring=100"),
        ({"irq": "msix"}, "irq='msix'"),
        ({"driver": "sysfs"}, "driver='sysfs'"),
        ({"mac": "01:00:00:00:00:01"}, "01:00:00:00:00:01 is no address of one"),
        ({"mac": b"short"}, "no address of one"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], text: str) -> None:
    """Before the device is looked for, and there is none."""
    with pytest.raises(LinkstrError, match=text) as caught:
        open_link("pci:ffff:ff:1f.7", **options)
    assert caught.value.remedy


def test_what_is_no_device() -> None:
    with pytest.raises(DeviceNotFoundError, match=r"ffff:ff:1f\.7"):
        open_link("pci:ffff:ff:1f.7")
    with pytest.raises(PciAddressError, match="neither a PCI address nor"):
        open_link("pci:nonsense")


@pytest.mark.parametrize(("vendor", "device"), [(0x8086, 0x1521), (0x1234, 0x10D3)])
def test_a_controller_of_another_kind(vendor: int, device: int) -> None:
    info = attrs.evolve(INFO, vendor=vendor, device=device)
    with pytest.raises(UnsupportedError, match=f"{vendor:04x}:{device:04x}") as caught:
        E1000Device(as_device(FaultyDevice(info=info)), TX, RX)
    assert "8086:100e (82540EM)" in caught.value.remedy
    assert "8086:10d3 (82574L)" in caught.value.remedy


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("reset", "its reset has not finished after 0.05 s"),
        (
            "gone",
            "its reset has not finished after 0.05 s; it reads as ones: it is gone",
        ),
    ],
)
def test_a_reset_that_does_not_finish(
    fault: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e1000_device, "RESET_TIME", 0.05)
    device = FaultyDevice(fault)
    with pytest.raises(LinkError, match="0000:00:03") as caught:
        opened(device)
    assert caught.value.cause == cause
    assert "bind it anew" in caught.value.remedy
    assert not device.bus_master


def test_a_link_that_does_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FaultyDevice()
    device.registers.set(regs.STATUS, 0)
    monkeypatch.setattr(e1000, "_open", lambda *_: device)
    with pytest.raises(LinkError, match="the link is down") as caught:
        open_link("pci:0000:00:03.0", wait=0.05)
    assert "cable" in caught.value.remedy
    assert device.closed
    again = FaultyDevice()
    again.registers.set(regs.STATUS, 0)
    monkeypatch.setattr(e1000, "_open", lambda *_: again)
    with open_link("pci:0000:00:03.0", wait=0) as link:
        assert isinstance(link, E1000Link)
        assert not link.is_up
        again.registers.set(regs.STATUS, regs.STATUS_LU)
        assert link.is_up


@pytest.mark.parametrize("low", [0, 0x01])
def test_an_eeprom_without_an_address(low: int) -> None:
    device = FaultyDevice()
    device.registers.set(regs.RAL, low)
    device.registers.set(regs.RAH, 0)
    with pytest.raises(LinkError, match="no address of its own") as caught:
        opened(device)
    assert "mac=" in caught.value.remedy


@pytest.mark.parametrize("fault", ["memory", "interrupt"])
def test_a_start_that_fails_gives_the_device_up(fault: str) -> None:
    device = FaultyDevice(fault)
    with pytest.raises(RumphyperError, match=r"there is none|no vectors"):
        opened(device)
    assert device.closed
    assert not device.bus_master
    for offset in (regs.RCTL, regs.TCTL):
        assert not device.registers.get(offset >> 2, 0) & regs.RCTL_EN


def test_nothing_starts_before_the_registers_are_set() -> None:
    """Whoever had the device before may have left it enabled, with its rings."""
    device = FaultyDevice()
    device.registers.set(regs.RCTL, regs.RCTL_EN)
    with opened(device):
        offsets = [offset for offset, _ in device.registers.writes]
        assert offsets.index(regs.RCTL) < offsets.index(regs.CTRL)
        enabled = offsets.index(regs.RCTL, offsets.index(regs.RDBAL))
        assert device.registers.writes[enabled][1] & regs.RCTL_EN
        assert offsets.index(regs.RDT, enabled) > enabled
        assert device.bus_master
    assert device.registers.get(regs.RCTL >> 2) == 0
    assert device.closed


def test_descriptors_that_cannot_be() -> None:
    device = FaultyDevice()
    with opened(device) as link:
        arrive(device, 0, b"a good frame....")
        arrive(device, 1, b"one that goes on", status=0x01)
        assert link.recv() == [b"a good frame...."]
        with pytest.raises(CorruptError, match="receive descriptor 1 has length 16"):
            link.recv()


def test_a_device_that_vanishes_while_somebody_waits() -> None:
    device = FaultyDevice()
    with opened(device) as link:
        timer = threading.Timer(0.1, _vanish, [device])
        timer.start()
        with pytest.raises(LinkEndedError, match="the device is gone"):
            link.recv(timeout=20)
        timer.join()


def _vanish(device: FaultyDevice) -> None:
    device.registers.fault = "gone"
    device.fire()


def test_a_full_ring_takes_no_more() -> None:
    device = FaultyDevice()
    with opened(device) as link:
        frames = [bytes([number]) * 60 for number in range(20)]
        assert link.send(frames) == TX - 1
        assert link.send(frames) == 0
        assert link.send([]) == 0
        assert (link.counters.sent, link.counters.sent_bytes) == (15, 900)
        assert device.registers.get(regs.TDT >> 2) == TX - 1
        device.registers.set(regs.STATUS, 0)
        with pytest.raises(LinkError, match="the link is down"):
            link.send(frames)


@pytest.mark.parametrize("size", [0, 13, 1519])
def test_frames_that_it_cannot_carry(size: int) -> None:
    device = FaultyDevice()
    with opened(device) as link:
        for frames in ([bytes(60), bytes(size)], [memoryview(bytes(size))]):
            with pytest.raises(FrameError, match=f"has {size} octets"):
                link.send(frames)
        assert link.counters.sent == 0
        words = memoryview(bytes(64)).cast("I")
        assert link.send([words, bytearray(60), bytes(1518)]) == 3
        assert link.counters.sent_bytes == 64 + 60 + 1518


def test_closing_waits_a_while_for_what_is_on_its_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rumphyper.link.e1000.DRAIN_TIME", 20.0)
    device = FaultyDevice()
    link = opened(device)
    link.send([bytes(60)])
    thread = threading.Thread(target=link.close)
    thread.start()
    thread.join(0.1)
    assert not device.closed
    device.memory[12] |= 0x01  # the descriptor's status: done
    thread.join(20)
    assert device.closed
    with pytest.raises(LinkClosedError):
        link.send([bytes(60)])


@pytest.mark.parametrize("fault", ["", "statistics"])
def test_frames_without_room_are_counted_once(fault: str) -> None:
    """The register is cleared by reading it, or, in QEMU's e1000, it is not."""
    device = FaultyDevice(fault)
    value = 100  # of before our time
    device.registers.set(regs.MPC, value)
    with opened(device) as link:
        counted = 0
        for missed in (0, 3, 0, 2):
            value = value + missed if fault else missed
            counted += missed
            device.registers.set(regs.MPC, value)
            assert link.recv(timeout=0) == []
            assert link.counters.dropped == counted


def test_lent_frames_count_and_stay_until_the_next_call() -> None:
    device = FaultyDevice()
    with opened(device) as link:
        for place in range(RX - 1):
            arrive(device, place, bytes([place]) * 60)
        views = link.recv_views(3)
        assert views == [bytes([place]) * 60 for place in range(3)]
        assert device.registers.get(regs.RDT >> 2) == RX - 1
        assert link.recv(2) == [bytes([place]) * 60 for place in (3, 4)]
        assert device.registers.get(regs.RDT >> 2) == 4
        counters = link.counters
        assert (counters.received, counters.received_bytes) == (5, 300)
        with pytest.raises(ValueError, match="limit"):
            link.recv(0)
    assert link.mac == MAC
