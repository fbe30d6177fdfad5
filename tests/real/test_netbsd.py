"""A real NetBSD kernel in a process: interfaces, buses, bridges, DHCP, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judges import tool
from tests.real.netbsd_session import (
    WITHOUT_RIGHTS,
    finish,
    require_tap,
    run,
    start,
)
from tests.real.rump import require_rump, share

pytestmark = [pytest.mark.rump, pytest.mark.usefixtures("mode")]

LOCKS = {"native": "stock", "hybrid": "stock", "libc": "libc", "python": "python"}
"""Who answers for locks in each mode."""


@pytest.fixture(autouse=True)
def _libraries() -> None:
    require_rump()
    tool("ip")


def test_linux_and_netbsd_ping_each_other(mode: str) -> None:
    require_tap()
    assert run("linux_and_netbsd_ping_each_other") == {
        "linux to netbsd 4": 3,
        "linux to netbsd 6": 3,
        "netbsd to linux 4": 3,
        "netbsd to linux 6": 3,
        "counted": True,
        "send by": "libc",
        "locks by": LOCKS[mode],
        "left": [],
    }


def test_down_and_up_many_times(mode: str) -> None:
    require_tap()
    found = run("down_and_up_many_times", str(share(mode, 200)))
    assert found == {"before": 3, "silent": False, "after": 3, "leaked": [0, 0]}


def test_create_and_destroy_200_times(tmp_path: Path) -> None:
    require_tap()
    case, bus = "create_and_destroy_many_times", str(tmp_path / "bus")
    both = [start(case, kind, "200", bus) for kind in ("virt", "shmif")]
    for process in both:
        found = finish(process)
        assert found["leaked"] == [0, 0]
        assert found["interfaces"] == ["lo0"]
        assert found["taps"] == []
        # What is left is NetBSD's own: virtif_unclone forgets the 16 octets of
        # its linkstr, and some more stays for each address that an interface had.
        assert found["octets each"] < 4096


@pytest.mark.parametrize(("one", "two"), [("shmif0", "shmif0"), ("shmif0", "virt0")])
def test_two_kernels_on_one_bus(one: str, two: str, tmp_path: Path) -> None:
    bus = str(tmp_path / "bus")
    first = start("on_a_bus", one, bus, "10.66.0.1", "10.66.0.2")
    second = start("on_a_bus", two, bus, "10.66.0.2", "10.66.0.1")
    for word in ("ready", "done"):
        for process in (first, second):
            assert process.stdout is not None
            if process.stdout.readline() != f"{word}\n":
                first.kill()
                second.kill()
                pytest.fail(f"not {word}: {process.communicate()[1]}")
        for process in (first, second):
            assert process.stdin is not None
            process.stdin.write("go on\n")
            process.stdin.flush()
    assert finish(first) == {"4": 3, "6": 3}
    assert finish(second) == {"4": 3, "6": 3}


def test_a_station_of_ours_on_the_bus(tmp_path: Path) -> None:
    found = run("with_a_station_on_the_bus", str(tmp_path / "bus"))
    assert found == {"shmif0": 3, "virt0": 3}


def test_bridged_from_bus_to_tap(tmp_path: Path) -> None:
    require_tap()
    assert run("bridged_from_bus_to_tap", str(tmp_path / "bus")) == {
        "linux to station": 3,
        "netbsd to linux": 3,
        "netbsd to station": 3,
        "linux to netbsd": 3,
        "parted": 0,
    }


@pytest.mark.parametrize("server", ["busybox", "dnsmasq"])
def test_dhcp(server: str, tmp_path: Path) -> None:
    require_tap()
    tool(server)
    found = run("dhcp", server, str(tmp_path))
    assert found["early"][0] == "RumphyperError"
    assert "within 1 seconds" in found["early"][1]
    assert found["addresses"] == [found["lease"]]
    assert found["lease"].startswith("10.66.0.2")
    assert found["gateway"] == "10.66.0.1"
    assert found["dns"] == ["10.66.0.3"]
    assert found["duration"] == 600
    assert found["ping"] == 3
    assert found["left"] == []
    if server == "dnsmasq":
        assert found["known"]
        assert found["released"]


def test_bad_input(tmp_path: Path) -> None:
    require_tap()
    found = run("bad_input", str(tmp_path))
    expected = {
        "unknown driver": ("KernelError", "drivers here: bridge"),
        "name": ("InterfaceError", "a name is a driver and a number"),
        "long name": ("InterfaceError", "15 characters"),
        "taken": ("KernelError", "File exists"),
        "busy tap": ("HostError", "busy"),
        "no linkstr": ("LinkstrError", "needs a linkstr"),
        "scheme": ("LinkstrError", "known forms"),
        "option": ("LinkstrError", "nonsense"),
        "bus folder": ("HostError", "No such file"),
        "bus file": ("CorruptError", "100 octets"),
        "link of a bridge": ("InterfaceError", "have no link"),
        "address": ("InterfaceError", "10.66.0.300"),
        "length": ("InterfaceError", "10.66.0.3/33"),
        "absent address": ("KernelError", "Cannot assign"),
        "mtu": ("InterfaceError", "between 46 and 1500"),
        "mac": ("InterfaceError", "not the address of one station"),
        "no interface": ("KernelError", "virt9"),
        "loopback": ("KernelError", "not permitted"),
        "gateway": ("InterfaceError", "10.66.0.400"),
        "far gateway": ("KernelError", "unreachable"),
        "no route": ("KernelError", "No such process"),
        "member": ("KernelError", "virt9"),
        "second boot": ("RumphyperError", "boot once"),
        "closed": ("KernelClosedError", "shut down"),
        "interface of a closed kernel": ("KernelClosedError", "shut down"),
    }
    for name, (kind, text) in expected.items():
        assert found[name][0] == kind, (name, found[name])
        assert text in found[name][1], (name, found[name])
    assert found["unchanged"] is True
    assert found["interfaces"] == ["lo0", "virt0"]
    assert (found["still there"], found["fork"], found["after fork"]) == (3, 0, 3)


def test_a_tap_that_is_not_permitted() -> None:
    require_tap()
    found = run("not_permitted", inside=WITHOUT_RIGHTS)
    assert found["error"][0] == "HostError"
    assert "not permitted" in found["error"][1] or "denied" in found["error"][1]
    assert found["same"]
    assert found["interfaces"] == ["lo0"]


def test_a_missing_component() -> None:
    kind, text = run("missing_component")
    assert kind == "LibraryError"
    assert "librumpnet_flux.so" in text


@pytest.mark.parametrize("ncpu", ["1", "4"])
def test_settings(ncpu: str) -> None:
    require_tap()
    assert run("settings", ncpu) == {
        "cpus": int(ncpu),
        "environment": None,
        "mac": "b2:a0:00:00:00:77",
        "mac seen": True,
        "mtu": 1300,
        "ping": 3,
        "routes": ["10.66.0.8", "10.66.0.1"],
        "gateway": "10.66.0.8",
        "removed": True,
    }
