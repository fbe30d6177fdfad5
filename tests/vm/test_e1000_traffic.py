"""Python's driver of e1000 and e1000e against the kernel's own, and against itself."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

import pytest

from rumphyper.errors import LinkClosedError, LinkError
from rumphyper.link.e1000 import E1000Link
from rumphyper.pci import Address, bind
from rumphyper.pci.binding import AUTO
from tests.vm.nics import (
    BROADCAST,
    HUB_E1000,
    HUB_E1000E,
    PAIR,
    Frames,
    KernelEnd,
    driven,
    on_the_wire,
    receive,
)
from tests.vm.pci import SYSFS, child, eventually, line, master

pytestmark = pytest.mark.vm("pci-hub")

COUNT = 100_000
BATCH = 100


@pytest.mark.vm("pci-hub", timeout=400)
@pytest.mark.parametrize(
    ("ours", "theirs", "irq"),
    [(HUB_E1000, HUB_E1000E, "intx"), (HUB_E1000E, HUB_E1000, "msi")],
    ids=["e1000", "e1000e"],
)
def test_every_frame_passes_both_ways(ours: Address, theirs: Address, irq: str) -> None:
    with KernelEnd(theirs) as kernel, driven(ours, irq=irq) as link:
        assert link.irq == irq
        out = Frames(kernel.mac, link.mac)
        back = Frames(link.mac, kernel.mac)
        for start in range(0, COUNT, BATCH):
            frames = out.batch(start, BATCH)
            assert link.send(frames) == BATCH
            assert kernel.recv(BATCH) == on_the_wire(frames), start
            frames = back.batch(start, BATCH)
            kernel.send(frames)
            assert receive(link, BATCH) == on_the_wire(frames), start
        counters = link.counters
        assert counters.sent == COUNT
        assert counters.sent_bytes == sum(18 + n * 37 % 1497 for n in range(COUNT))
        assert counters.received >= COUNT
        assert counters.dropped == 0


def test_python_at_both_ends_in_three_threads() -> None:
    """One sends while another receives; the third sends the other way."""
    count, batch = 10_000, 50
    with driven(PAIR[0], irq="intx") as first, driven(PAIR[1], tx_ring=8) as second:
        out, back = Frames(second.mac, first.mac), Frames(first.mac, second.mac)
        expected = on_the_wire(out.batch(0, count))

        def send(link: E1000Link, frames: Frames) -> None:
            for start in range(0, count, batch):
                left = frames.batch(start, batch)
                while left:
                    left = left[link.send(left) :]
                time.sleep(0)

        threads = [
            threading.Thread(target=send, args=each)
            for each in ((first, out), (second, back))
        ]
        came: list[bytes] = []
        for thread in threads:
            thread.start()
        while len(came) < count:
            views = second.recv_views(timeout=20)
            assert views
            came += map(bytes, views)
        for thread in threads:
            thread.join()
        assert came == expected
        assert receive(first, count) == on_the_wire(back.batch(0, count))


def test_frames_that_found_no_room_are_counted() -> None:
    """By QEMU's e1000; its e1000e never loses one, for the hub keeps them."""
    with KernelEnd(HUB_E1000E) as kernel, driven(HUB_E1000, rx_ring=8) as link:
        frames = Frames(link.mac, kernel.mac)
        sent = 0
        while not link.counters.dropped:
            batch = frames.batch(sent, 100)
            kernel.send(batch)
            sent += len(batch)
            came = receive(link, 7)
            assert came == on_the_wire(batch[: len(came)])
            assert len(came) >= 7
            while link.recv(timeout=0.1):
                pass
        assert link.counters.received + link.counters.dropped == sent


def test_who_waits_by_select_is_told() -> None:
    with KernelEnd(HUB_E1000) as kernel, driven(HUB_E1000E) as link:
        frames = Frames(link.mac, kernel.mac).batch(0, 10)
        link.fileno()
        assert link.recv(timeout=0) == []
        for each in frames:
            assert not select.select([link], [], [], 0)[0]
            kernel.send([each])
            assert select.select([link], [], [], 20)[0]
            assert link.recv(timeout=0) == on_the_wire([each])
        kernel.send(frames)
        for each in frames:  # what is left is shown, too
            assert select.select([link], [], [], 20)[0]
            assert link.recv(1, timeout=0) == on_the_wire([each])
        assert not select.select([link], [], [], 0.1)[0]


@pytest.mark.parametrize("irq", ["msi", "intx", "poll"])
def test_closing_wakes_who_waits(irq: str) -> None:
    outcome: list[object] = []

    def wait(link: E1000Link) -> None:
        try:
            outcome.append(link.recv())
        except LinkClosedError as error:
            outcome.append(error)

    before = set(os.listdir("/proc/self/fd"))
    with driven(PAIR[0], irq=irq) as link:
        thread = threading.Thread(target=wait, args=[link])
        thread.start()
        time.sleep(0.2)
        link.close()
        thread.join(20)
        assert isinstance(outcome[0], LinkClosedError)
        for call in (link.fileno, link.recv, lambda: link.send([bytes(60)])):
            with pytest.raises(LinkClosedError):
                call()
        link.close()
        assert not master(PAIR[0])
    assert set(os.listdir("/proc/self/fd")) == before
    assert SYSFS.driver(PAIR[0]) == "e1000e"


def test_without_interrupts_it_looks_again_and_again() -> None:
    with KernelEnd(HUB_E1000) as kernel, driven(HUB_E1000E, irq="poll") as link:
        frames = Frames(link.mac, kernel.mac).batch(0, 10)
        assert link.recv(timeout=0.05) == []
        timer = threading.Timer(0.2, kernel.send, [frames])
        timer.start()
        assert receive(link, 10) == on_the_wire(frames)
        timer.join()
        assert select.select([link], [], [], 0)[0]


OTHER, GROUP = bytes.fromhex("0200000000aa"), bytes.fromhex("333300000001")


def test_only_its_own_frames_where_it_is_not_promiscuous() -> None:
    own = bytes.fromhex("020000000042")
    targets = (OTHER, GROUP, BROADCAST, own)
    with KernelEnd(HUB_E1000) as kernel:
        frames = [
            Frames(target, kernel.mac).batch(number, 1)[0]
            for number, target in enumerate(targets)
        ]
        with driven(HUB_E1000E) as link:
            kernel.send(frames)
            assert receive(link, 4) == on_the_wire(frames)
        with driven(HUB_E1000E, promiscuous=False, mac=own) as link:
            assert link.mac == own
            kernel.send(frames)
            assert receive(link, 3) == on_the_wire(frames[1:])
        with driven(HUB_E1000E) as link:
            assert link.mac != own


KILLED = """
import sys
import rumphyper
from rumphyper.pci import Address, bind
bind(Address.parse(sys.argv[1]), "vfio-pci")
link = rumphyper.open_link(f"pci:{sys.argv[1]}")
frame = b"\\xff" * 6 + link.mac + b"\\x88\\xb5" + bytes(1000)
while True:
    link.send([frame] * 50)
    print(len(link.recv(timeout=0.001)), flush=True)
"""


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(HUB_E1000, HUB_E1000E), (HUB_E1000E, HUB_E1000)],
    ids=["e1000", "e1000e"],
)
def test_a_kill_amid_traffic_leaves_a_card_that_opens_again(
    ours: Address, theirs: Address
) -> None:
    with KernelEnd(theirs) as kernel:
        with child(KILLED, str(ours)) as process:
            assert len(kernel.recv(500)) == 500
            while line(process) == "0":  # until it receives, too
                kernel.send(Frames(BROADCAST, kernel.mac).batch(0, 20))
            process.send_signal(signal.SIGKILL)
            kernel.send(Frames(BROADCAST, kernel.mac).batch(0, 20))
            process.wait()
        assert eventually(lambda: not master(ours))
        kernel.send(Frames(BROADCAST, kernel.mac).batch(0, 20))
        while kernel.recv(1, timeout=0.5):
            pass
        with driven(ours) as link:
            out, back = Frames(kernel.mac, link.mac), Frames(link.mac, kernel.mac)
            for start in range(0, 1000, BATCH):
                frames = out.batch(start, BATCH)
                assert link.send(frames) == BATCH
                assert kernel.recv(BATCH) == on_the_wire(frames)
                frames = on_the_wire(back.batch(start, BATCH))
                kernel.send(frames)
                while frames:
                    for came in receive(link, 1):
                        # What was sent since the kill may still be in the hub.
                        assert came == frames[0] or came.startswith(BROADCAST)
                        if came == frames[0]:
                            frames.pop(0)
    bind(ours, AUTO)


def test_a_link_that_is_down() -> None:
    """The card negotiates anew, which takes QEMU's half a second."""
    mdic, write, phy, control, restart = 0x20, 1 << 26, 1 << 21, 0, 0x1200
    with driven(HUB_E1000) as link:
        link._device[mdic] = write | phy | control << 16 | restart
        assert not link.is_up
        with pytest.raises(LinkError, match="the link is down") as caught:
            link.send([bytes(60)])
        assert "cable" in caught.value.remedy
        with pytest.raises(LinkError, match="the link is down"):
            link.wait_until_up(0.1)
        assert link.recv(timeout=0) == []
        link.wait_until_up(10)
        assert link.send([bytes(60)]) == 1
        assert link.counters.sent == 1
