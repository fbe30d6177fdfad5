"""NetBSD's own wm(4) on emulated Intel cards, against Linux on the same wire."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rumphyper.pci.binding import AUTO, bind
from tests.cli.command import argv
from tests.real.netbsd_cases.kit import LINUX4, ip
from tests.real.rump import require_rump
from tests.real.traffic_cases import PORT
from tests.vm.netbsd_cases import GATEWAY
from tests.vm.pci import E1000, E1000E, SYSFS, VIRTIO_NET, address, eventually, master

require_rump("pci", "pci_if_wm")

pytestmark = pytest.mark.rump

iommu = pytest.mark.vm("pci", timeout=180)
bare = pytest.mark.vm("bare-pci", timeout=180)
wired = pytest.mark.vm("wired-pci", timeout=180)
wired_bare = pytest.mark.vm("wired-bare-pci", timeout=180)

ROOT = Path(__file__).parents[2]
CARDS = {"e1000": E1000, "e1000e": E1000E}


@contextlib.contextmanager
def linux() -> Iterator[None]:
    """Linux has a card of its own on the wire, with its address."""
    (path,) = SYSFS.path(address(VIRTIO_NET)).glob("virtio*/net/*")
    name = path.name
    ip("addr", "replace", f"{LINUX4}/24", "dev", name)
    ip("link", "set", name, "up")
    try:
        yield
    finally:
        ip("addr", "flush", "dev", name)
        ip("link", "set", name, "down")


def spec(card: str, settings: str) -> str:
    return f"{address(CARDS[card])},{settings}"


def start(case: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.vm.netbsd_cases", case, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def run(case: str, *arguments: str) -> tuple[Any, str]:
    """What a case returned, and its error output; its failure fails the test."""
    with start(case, *arguments) as process:
        out, err = process.communicate()
    if process.returncode:
        pytest.fail(f"exit status {process.returncode}\n{out}\n{err}")
    return json.loads(out.splitlines()[-1]), err


def check_returned(card: str) -> None:
    """The device is stopped, and Linux's driver has it."""
    place = address(CARDS[card])
    assert not master(place) or SYSFS.driver(place) == card
    assert SYSFS.driver(place) == card


WAYS = [
    pytest.param("e1000e", "vfio,irq=msi", "hybrid", marks=wired),
    pytest.param("e1000e", "vfio,irq=intx", "native", marks=wired),
    pytest.param("e1000", "vfio", "hybrid", marks=wired),
    pytest.param("e1000", "vfio", "python", marks=wired),
    pytest.param("e1000", "uio", "hybrid", marks=wired_bare),
    pytest.param("e1000e", "uio", "hybrid", marks=wired_bare),
]


@pytest.mark.parametrize(("card", "driver", "mode"), WAYS)
def test_wm_carries_traffic(card: str, driver: str, mode: str) -> None:
    with linux():
        settings = f"driver={driver},restore"
        found, err = run("traffic", spec(card, settings), mode, "4")
    assert err == ""
    assert found == {
        "to linux": 3,
        "to netbsd": 3,
        "tcp": [True, True],
        "udp": [],
        "after down and up": 3,
        "interrupt": "msi" if "msi" in driver else "intx",
        "served": True,
        "memory by": "python",
        "addresses by": "libc" if "vfio" in driver else "python",
        "locks by": "python" if mode == "python" else "stock",
        "destroyed": "wm0: Operation not permitted (it is the kernel's own)",
    }
    check_returned(card)


LEASES = [
    pytest.param(["e1000e", "e1000"], "vfio", marks=iommu),
    pytest.param(["e1000"], "uio", marks=bare),
]


@pytest.mark.parametrize(("cards", "driver"), LEASES)
def test_leases_for_cards_in_the_order_that_they_are_named(
    cards: list[str], driver: str
) -> None:
    macs = []
    for card in cards:
        (path,) = (SYSFS.path(address(CARDS[card])) / "net").glob("*/address")
        macs.append(path.read_text().strip())
    specs = [spec(card, f"driver={driver},restore") for card in cards]
    found, _ = run("leases", *specs)
    network = "10.0.2.0/24"
    assert found == {f"wm{n}": [mac, network, 3] for n, mac in enumerate(macs)}
    for card in cards:
        check_returned(card)


KILLED = [
    pytest.param("e1000e", "vfio", "vfio-pci", marks=wired),
    pytest.param("e1000", "uio", "uio_pci_generic", marks=wired_bare),
]


@pytest.mark.parametrize(("card", "driver", "bound"), KILLED)
def test_killed_in_mid_transfer(card: str, driver: str, bound: str) -> None:
    """The card is stopped by Linux, and serves the next kernel."""
    place = address(CARDS[card])
    with linux():
        with socket.create_server((LINUX4, PORT)) as server:
            server.settimeout(90)
            with start("endless", spec(card, f"driver={driver}")) as process:
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    process.kill()
                    pytest.fail("\n".join(process.communicate()))
                with connection:
                    got = 0
                    while got < 1 << 20:
                        got += len(connection.recv(1 << 16))
                    assert master(place)
                    process.kill()
                process.communicate()
        assert eventually(lambda: not master(place))
        assert SYSFS.driver(place) == bound
        found, _ = run("traffic", str(place), "hybrid", "1")
        assert found["tcp"] == [True, True]
        assert found["to netbsd"] == 3
    assert not master(place)
    assert SYSFS.driver(place) == bound
    bind(place, AUTO)
    assert SYSFS.driver(place) == card


@iommu
@pytest.mark.parametrize(("mebibytes", "limit"), [("2", "none"), ("32", "1m")])
def test_too_little_memory_is_an_error_not_a_hang(mebibytes: str, limit: str) -> None:
    found, _ = run("starved", spec("e1000", "driver=vfio,restore"), mebibytes, limit)
    assert f"the kernel's DMA memory of {mebibytes} MiB" in found["error"]
    assert "NetBSD does not boot in it" in found["error"]
    assert "--pci-memory" in found["error"]
    assert "a boot in this process ran out of memory" in found["again"]
    assert found["quick"]
    check_returned("e1000")


@iommu
def test_memory_that_runs_out_later_is_told() -> None:
    found, err = run("tight", spec("e1000", "driver=vfio,restore"))
    assert "Cannot allocate memory" in found["error"]
    assert found["up"]
    assert "it has no run of 4096 octets left (give it more: " in err
    check_returned("e1000")


@iommu
def test_a_device_without_a_driver_is_told_of() -> None:
    one = spec("e1000", "driver=vfio,restore")
    found, err = run("idle", one, "net,netinet,dev")
    assert found == {"interfaces": ["lo0"]}
    assert f"PCI device {address(E1000)}: no driver of this kernel took it" in err
    check_returned("e1000")


@iommu
def test_rumphyper_run(tmp_path: Path) -> None:
    """A script reaches QEMU's gateway; then Ctrl-C ends a run without one."""
    path = tmp_path / "script.py"
    path.write_text(
        "from tests.real.echo_request import ping_patiently\n"
        f"print(ping_patiently(kernel.socket, {GATEWAY!r}))\n"
        "print(kernel.provided.devices.arena.size >> 20)\n"
    )
    one = spec("e1000e", "driver=vfio,restore")
    arguments = ["run", "--pci", one, "-i", "wm0=,10.0.2.15/24,gw=10.0.2.2"]
    done = subprocess.run(
        argv(*arguments, "--pci-memory", "16", path),
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["3", "16"]
    assert "wm0" in done.stderr
    check_returned("e1000e")
    with subprocess.Popen(
        argv(*arguments), stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        while "Ctrl-C" not in process.stdout.readline():
            assert process.poll() is None
        assert master(address(E1000E))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    check_returned("e1000e")


@iommu
def test_what_the_command_line_refuses() -> None:
    place = address(E1000)
    cases = [
        (["--pci", str(place)], "it is bound to e1000, not to vfio-pci or UIO"),
        (["--pci", f"{place},driver=igb"], "'driver=igb' is no setting"),
        (["--pci", "0000:00:1f.7"], "0000:00:1f.7"),
        (
            ["--pci", f"{place},driver=vfio,restore", "--pci-memory", "1"],
            "pci_memory=1048576: not between",
        ),
        (
            ["--pci", f"{place},driver=vfio,restore", "-i", "wm1=,10.0.0.1/8"],
            "wm1",
        ),
    ]
    for arguments, cause in cases:
        done = subprocess.run(
            argv("run", *arguments, os.devnull),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done
        assert cause in done.stderr
        check_returned("e1000")
