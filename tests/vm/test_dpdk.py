"""DPDK on a PCI card: its driver by vfio at one end, Linux's own at the other."""

from __future__ import annotations

import os

import pytest

from rumphyper.dpdk.eal import running
from rumphyper.errors import HostError
from rumphyper.link import open_link
from rumphyper.link.dpdk_link import DpdkLink
from rumphyper.pci import bind
from tests.namespace import in_child
from tests.vm.nics import PAIR, Frames, KernelEnd, on_the_wire, receive
from tests.vm.pci import eventually

pytestmark = pytest.mark.vm("dpdk", timeout=200)

OURS, THEIRS = PAIR
COUNT, BATCH = 2000, 50


def check_card() -> None:
    """Opened, both ways, its settings; a card of the kernel's is refused."""
    with KernelEnd(THEIRS) as kernel:
        with pytest.raises(HostError, match=r"e1000e has it.*pci bind vfio-pci"):
            open_link(f"dpdk:{OURS}")
        binding = bind(OURS, "vfio-pci")
        try:
            with open_link(f"dpdk:{OURS}") as link:
                assert isinstance(link, DpdkLink)
                check_frames(link, kernel)
        finally:
            if (started := running()) is not None:
                started.close()  # it holds the card, which cannot be unbound then
            binding.restore()


def check_frames(link: DpdkLink, kernel: KernelEnd) -> None:
    assert link.port.info.driver == "net_e1000_em"
    assert link.port.name == str(OURS)
    assert link.mac == link.port.mac != kernel.mac
    assert eventually(lambda: link.port.link().up, 20)
    out, back = Frames(kernel.mac, link.mac), Frames(link.mac, kernel.mac)
    for start in range(0, COUNT, BATCH):
        frames = out.batch(start, BATCH)
        assert link.send(frames) == BATCH
        assert kernel.recv(BATCH) == on_the_wire(frames), start
        frames = back.batch(start, BATCH)
        kernel.send(frames)
        assert receive(link, BATCH) == on_the_wire(frames), start
    stats = link.stats()
    assert stats["opackets"] == COUNT
    assert stats["ipackets"] >= COUNT
    assert link.counters.dropped == 0


def test_a_card_by_vfio_and_huge_pages() -> None:
    def child() -> None:
        check_card()

    assert in_child(child) == ("ok", "")
    assert not [name for name in os.listdir("/tmp") if "rumphyper-dpdk" in name]
