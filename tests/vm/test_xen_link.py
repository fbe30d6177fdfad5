"""Xen's front end in Python against the kernel's xen-netback, in dom0's loopback."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface

import pytest

from rumphyper.doctor.devices import check_xen
from rumphyper.errors import HostError, LinkClosedError, LinkEndedError, LinkError
from rumphyper.link import Link, open_link
from rumphyper.net.pinger import Pinger
from rumphyper.net.stack import Stack
from rumphyper.xen import Xenstore
from tests.vm.xen_cases import PORT, octets, serve
from tests.vm.xen_support import (
    BACK,
    LINUX,
    MAC,
    PYTHON,
    address,
    answering,
    error_of,
    eventually,
    linux_pings,
    load,
    run,
    tables,
    unload,
    vif,
)

pytestmark = pytest.mark.vm("xen", timeout=60)

LONG = os.environ.get("RUMPHYPER_LONG_TESTS") == "1"
CONNECTS = 1000 if LONG else 25
TCP_OCTETS = 20_000_000


@pytest.fixture(autouse=True)
def drivers() -> None:
    """The kernel has netback, and not netfront, which would take the vif."""
    unload("xen-netfront")
    load("xen-netback")


@pytest.fixture
def link() -> Iterator[Link]:
    """A front end that is connected; Linux has the other end, with an address."""
    with vif() as handle, open_link(f"xen:vif/{handle}") as link:
        address("vif0.0", f"{LINUX}/24")
        yield link


def pings(link: Link, size: int, count: int) -> int:
    """How many of our pings are answered, intact."""
    stack = Stack(link.mac, [IPv4Interface(f"{PYTHON}/24")], [])
    pinger = Pinger(
        stack, IPv4Address(LINUX), size=size, count=count, interval=0, timeout=10
    )
    while (deadline := pinger.deadline()) is not None:
        link.send(pinger.poll(time.monotonic()))
        for frame in link.recv(timeout=max(0, deadline - time.monotonic())):
            link.send(pinger.input(frame, time.monotonic()))
    figures = pinger.summary()
    assert figures.damaged == figures.duplicates == 0
    return figures.received


def test_a_thousand_pings_of_all_sizes_are_answered(link: Link) -> None:
    assert link.mac.hex(":") == MAC
    for size in (64, 65, 500, 1000, 1471, 1472, 100, 1399):
        assert pings(link, size, 125) == 125
    assert link.counters.dropped == 0
    assert link.counters.received >= 1000
    assert link.counters.sent_bytes > 1000 * 64


def test_linux_pings_python(link: Link) -> None:
    with answering(link):
        for size in (64, 1472):
            assert linux_pings(30, size)


@pytest.mark.parametrize(
    "options", [{"split": False}, {"tx_slots": 18, "rx_slots": 18}]
)
def test_other_ways_to_connect(options: dict[str, int]) -> None:
    with vif(), open_link(f"xen:vif/{MAC}", **options) as link:
        address("vif0.0", f"{LINUX}/24")
        assert pings(link, 1472, 100) == 100


@pytest.mark.vm("xen", timeout=150)
def test_tcp_of_20_megabytes_each_way() -> None:
    """Of Linux with Linux in another namespace, by TAP, Python, rings, netback."""
    run("ip", "netns", "add", "far")
    with vif(), socket.create_server(("0.0.0.0", PORT)) as listener:
        found: list[int] = []
        arguments = (listener, TCP_OCTETS, found)
        server = threading.Thread(target=serve, args=arguments, daemon=True)
        server.start()
        address("vif0.0", f"{LINUX}/24")
        case = [sys.executable, "-m", "tests.vm.xen_cases", "tcp", "xen:vif/0"]
        with subprocess.Popen(
            ["ip", "netns", "exec", "far", *case, str(TCP_OCTETS)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            said, _ = process.communicate(timeout=140)
        server.join(10)
    right = zlib.crc32(octets(TCP_OCTETS))
    assert found == [right]
    figures = json.loads(said)
    assert figures["down"] == right
    assert min(figures["sent_bytes"], figures["received_bytes"]) > TCP_OCTETS


def hotplugged() -> None:
    """What a toolstack's script writes when it has set the interface up."""
    run("xenstore-write", f"{BACK}/0/hotplug-status", "connected")


def state(handle: int = 0) -> str:
    return run("xenstore-read", f"{BACK}/{handle}/state").strip()


def test_select_says_when_frames_are_there(link: Link) -> None:
    while select.select([link], [], [], 0.5)[0]:
        link.recv(timeout=0)  # what Linux says of itself
    with subprocess.Popen(["ping", "-c", "1", "-W", "1", PYTHON]) as ping:
        assert select.select([link], [], [], 10)[0]
        frames = link.recv(timeout=0)
        assert frames[0][12:14] == b"\x08\x06"  # who has 10.9.0.2?
        ping.kill()


# -- connections come and go ---------------------------------------------------------


@pytest.mark.vm("xen", timeout=300 if LONG else 60)
def test_many_connects_leave_no_grant_and_no_event_channel() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with vif():
        open_link("xen:vif/0").close()
        before = tables()
        for number in range(CONNECTS):
            with open_link("xen:vif/0", split=bool(number % 2)) as link:
                assert link.send([bytes(60)]) == 1
        assert state() == "6"
        assert tables() == before
    assert before[0] == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_back_end_that_is_reloaded_under_traffic_is_found_again(link: Link) -> None:
    with answering(link):
        assert linux_pings(20)
        command = ["ping", "-q", "-i", "0.01", "-c", "500", "-W", "1", PYTHON]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as traffic:
            time.sleep(0.3)
            unload("xen-netback")  # which leaves its state as it was
            load("xen-netback")
            hotplugged()
            eventually(lambda: link.connects == 2)  # type: ignore[attr-defined]
            traffic.kill()
        address("vif0.0", f"{LINUX}/24")
        assert linux_pings(20, 1472)
        assert link.connected  # type: ignore[attr-defined]


def test_without_reconnecting_a_link_ends_with_its_back_end() -> None:
    with vif(), open_link("xen:vif/0", reconnect=False) as link:
        run("xenstore-write", f"{BACK}/0/online", "0", f"{BACK}/0/state", "5")
        with pytest.raises(LinkEndedError, match="the back end has closed"):
            error_of(link)
        with pytest.raises(LinkEndedError):
            link.send([bytes(60)])


def test_a_vif_that_is_removed_ends_the_link() -> None:
    with vif(), open_link("xen:vif/0") as link:
        run("xenstore-rm", "/local/domain/0/device/vif/0", f"{BACK}/0")
        with pytest.raises(LinkEndedError, match="the vif was removed"):
            error_of(link)
    eventually(lambda: tables()[0] == 0)


def test_a_front_end_that_was_killed_leaves_a_vif_that_opens_again() -> None:
    with vif():
        case = [sys.executable, "-m", "tests.vm.xen_cases", "hold", "xen:vif/0"]
        with subprocess.Popen(case, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            process.kill()
        assert state() == "4"
        with open_link("xen:vif/0") as link:
            address("vif0.0", f"{LINUX}/24")
            assert pings(link, 64, 10) == 10
    eventually(lambda: tables()[0] == 0)


def test_closing_wakes_a_receiver(link: Link) -> None:
    threading.Timer(0.3, link.close).start()
    with pytest.raises(LinkClosedError):
        error_of(link)


# -- what is refused -------------------------------------------------------------------


def test_a_vif_that_the_kernel_has_is_not_taken_from_it() -> None:
    load("xen-netfront")
    with vif():
        eventually(lambda: os.path.exists("/sys/bus/xen/devices/vif-0/driver"))
        with pytest.raises(HostError, match="the kernel's driver has vif-0") as error:
            open_link("xen:vif/0")
        assert error.value.remedy == "echo vif-0 > /sys/bus/xen/drivers/vif/unbind"
        with pytest.raises(HostError, match="the kernel's driver has vif-0-0"):
            open_link("xen:back/0/0")
        eventually(lambda: state() == "4")
        subprocess.run(["sh", "-c", error.value.remedy], check=True)
        with open_link("xen:vif/0") as link:
            address("vif0.0", f"{LINUX}/24")
            assert pings(link, 64, 10) == 10
    unload("xen-netfront")


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(HostError, match="no vif 7; there are none"):
        open_link("xen:vif/7")
    with vif(3), pytest.raises(HostError, match="no vif 7; there are 3"):
        open_link("xen:vif/7")
    with pytest.raises(HostError, match="xen-netback takes new ones"):
        open_link("xen:back/0/7")
    with Xenstore() as store:
        assert store.get(f"{BACK}/7") is None
    unload("xen-netback")
    with vif(), pytest.raises(LinkError, match="in the state INITIALISING, this side"):
        open_link("xen:vif/0", timeout=0.5)


def test_the_doctor_knows_dom0_and_its_vifs() -> None:
    found = check_xen()
    assert (found.status, found.remedy) == ("ready", "")
    assert found.reason.startswith("dom0 on Xen 4.")
    assert found.reason.endswith("; no vif")
    with vif(3):
        assert check_xen().reason.endswith("; vif 3")
    unload("xen-gntalloc")
    lost = check_xen()
    assert lost.status == "missing"
    assert lost.reason == "/dev/xen/gntalloc does not exist"
    assert lost.remedy == "dom0: load the module: modprobe xen-gntalloc"
    load("xen-gntalloc")
    assert check_xen().status == "ready"
