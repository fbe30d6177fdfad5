"""Xen's back end in Python: against a front end in Python, and the kernel's."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.link import Link, open_link
from rumphyper.link.xen import XenBack, XenFront
from rumphyper.net.checksum import checksum, pseudo_header
from rumphyper.xen import Xenstore
from tests.vm.xen_support import (
    FRONT,
    LINUX,
    PYTHON,
    address,
    answering,
    eventually,
    linux_pings,
    load,
    pair,
    part,
    run,
    serving,
    tables,
    unload,
    vif,
)

pytestmark = pytest.mark.vm("xen", timeout=60)


@pytest.fixture(autouse=True)
def drivers() -> None:
    """The kernel has no driver for either end."""
    unload("xen-netfront")
    unload("xen-netback")


def mixed(count: int, most: int) -> list[bytes]:
    source = random.Random(count)
    octets = source.randbytes(2 * most)
    sizes = [14, most, *(source.randint(14, most) for _ in range(count - 2))]
    return [octets[size : 2 * size].ljust(size, b"x") for size in sizes]


def carried(source: Link, target: Link, frames: list[bytes]) -> list[bytes]:
    """What arrives of frames, as many at once as there is room for."""
    got: list[bytes] = []
    sent = 0
    while len(got) < len(frames):
        sent += source.send(frames[sent:])
        some = target.recv(timeout=5)
        assert some
        got += some
    return got


@pytest.mark.parametrize(
    ("mtu", "options"), [(1500, {}), (1500, {"split": False}), (9000, {"tx_slots": 18})]
)
def test_frames_pass_between_two_pythons(mtu: int, options: dict[str, int]) -> None:
    frames = mixed(300, mtu + 14)
    with pair(mtu=mtu, **options) as (front, back):
        assert carried(front, back, frames) == frames
        assert carried(back, front, frames) == frames
        for link in (front, back):
            assert link.counters.sent == link.counters.received == 300
            assert link.counters.sent_bytes == sum(map(len, frames))
            assert link.counters.dropped == 0
    with Xenstore() as store:
        assert store.get(f"{FRONT}/5") is None  # made and removed by the back end
    assert tables()[0] == 0


def test_front_ends_come_and_go_and_so_do_back_ends() -> None:
    frames = mixed(20, 100)
    before = tables()
    with vif():
        for _ in range(3):
            back = open_link("xen:back/0/0")
            assert isinstance(back, XenBack)
            for _ in range(2):
                with serving(back), open_link("xen:vif/0") as front:
                    assert carried(front, back, frames) == frames
                    assert carried(back, front, frames) == frames
                    assert isinstance(front, XenFront)
                    part(front, back)
            assert back.connects == 2
            back.close()
    eventually(lambda: tables() == before)


def test_a_front_end_that_was_killed_does_no_harm() -> None:
    with open_link("xen:back/0/5") as back:
        assert isinstance(back, XenBack)
        case = [sys.executable, "-m", "tests.vm.xen_cases", "hold", "xen:vif/5"]
        with subprocess.Popen(case, stdout=subprocess.PIPE) as process:
            with serving(back):
                pass
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            process.kill()
        back.send([bytes(60)] * 3)
        with answering(back), open_link("xen:vif/5") as front:
            assert front.send([bytes(60)]) == 1
            eventually(lambda: back.counters.received == 1)
    assert tables()[0] == 0


# -- the kernel's front end ---------------------------------------------------------


@pytest.fixture
def served() -> Iterator[XenBack]:
    """A back end whose front end is Linux's, with an address."""
    with open_link("xen:back/0/0") as back:
        assert isinstance(back, XenBack)
        with serving(back):
            load("xen-netfront")
        (interface,) = Path("/sys/bus/xen/devices/vif-0/net").iterdir()
        address(interface.name, f"{LINUX}/24")
        yield back


def test_linux_netfront_pings_a_back_end_in_python(served: XenBack) -> None:
    with answering(served):
        for size in (64, 1472):
            assert linux_pings(30, size)
    assert served.counters.dropped == 0


def test_checksums_that_netfront_leaves_out_are_filled_in(served: XenBack) -> None:
    run("ip", "neigh", "add", PYTHON, "lladdr", served.mac.hex(":"), "dev", "eth0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"odd number of octets!", (PYTHON, 99))
        frame = b""
        while frame[23:24] != b"\x11" or frame[12:14] != b"\x08\x00":
            (frame,) = served.recv(1, timeout=10)
    source, target, datagram = frame[26:30], frame[30:34], frame[34:]
    assert checksum(pseudo_header(source, target, 17, len(datagram)) + datagram) == 0
