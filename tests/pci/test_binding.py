"""pci/binding before it touches anything; the rest is in tests/vm."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.host.netif import Netif
from rumphyper.pci import Address, Sysfs, bind, unbind
from rumphyper.pci.errors import BindError, DeviceBusyError, NoIommuError
from rumphyper.pci.holders import holders
from rumphyper.pci.inuse import refuse_in_use
from tests.judges import tool
from tests.namespace import isolated
from tests.pci.tree import E1000E_ADDRESS, make_tree

CARD = Address.parse(E1000E_ADDRESS)


def test_a_driver_that_is_not_loaded(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path)
    for name in ("nosuch", "../drivers", "."):
        with pytest.raises(BindError, match="no driver of this name is loaded"):
            bind(CARD, name, sysfs=sysfs)
    assert sysfs.text(CARD, "driver_override") == "(null)"


def test_vfio_without_an_iommu(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path, iommu=False)
    with pytest.raises(NoIommuError, match="intel_iommu=on"):
        bind(CARD, "vfio-pci", sysfs=sysfs)
    assert sysfs.driver(CARD) == "e1000e"


def test_the_driver_that_it_has_is_left(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path)
    binding = bind(CARD, "e1000e", sysfs=sysfs)
    binding.restore()
    assert (binding.driver, binding.former) == ("e1000e", "e1000e")
    assert sysfs.text(CARD, "driver_override") == "(null)"


def card(tmp_path: Path, interface: str) -> Sysfs:
    """The recorded card, with an interface that is really there."""
    sysfs = make_tree(tmp_path)
    net = sysfs.path(CARD) / "net"
    (net / "eth1").rename(net / interface)
    return sysfs


def ip(*words: str) -> None:
    subprocess.run([tool("ip"), *words], check=True, timeout=10)


@isolated
def test_an_interface_that_carries_a_route(tmp_path: Path) -> None:
    sysfs = card(tmp_path, "tap0")
    info = sysfs.info(CARD)
    refuse_in_use(info, sysfs)  # there is no such interface
    ip("tuntap", "add", "tap0", "mode", "tap")
    ip("address", "add", "10.9.0.1/24", "dev", "tap0")
    refuse_in_use(info, sysfs)  # it is down
    ip("link", "set", "tap0", "up")
    calls: tuple[Callable[[], object], ...] = (
        lambda: bind(CARD, "vfio-pci", sysfs=sysfs),
        lambda: unbind(CARD, sysfs=sysfs),
    )
    for call in calls:
        with pytest.raises(DeviceBusyError) as caught:
            call()
        assert "interface tap0 is up and carries the route 10.9.0.0/24" in str(
            caught.value
        )
    ip("route", "add", "default", "dev", "tap0")
    with pytest.raises(DeviceBusyError, match=r"default, 10\.9\.0\.0/24"):
        refuse_in_use(info, sysfs)
    ip("address", "flush", "dev", "tap0")
    ip("route", "flush", "dev", "tap0")
    refuse_in_use(info, sysfs)  # up, but idle
    with Netif() as netif:
        netif.set_down("tap0")


@isolated
def test_an_interface_that_belongs_to_a_bridge(tmp_path: Path) -> None:
    sysfs = card(tmp_path, "tap0")
    ip("tuntap", "add", "tap0", "mode", "tap")
    ip("link", "set", "tap0", "up")
    (tmp_path / "class/net/tap0").mkdir()
    (tmp_path / "class/net/br0").mkdir()
    refuse_in_use(sysfs.info(CARD), sysfs)
    (tmp_path / "class/net/tap0/master").symlink_to(tmp_path / "class/net/br0")
    with pytest.raises(DeviceBusyError, match="is up and belongs to br0"):
        refuse_in_use(sysfs.info(CARD), sysfs)


def test_who_has_a_file_open(tmp_path: Path) -> None:
    path = tmp_path / "node"
    path.touch()
    assert holders(str(path)) == []
    with subprocess.Popen(["sleep", "60"], stdin=path.open()) as process:
        with path.open():
            found = holders(str(path))
        process.kill()
    assert sorted(found) == [f"sleep ({process.pid})", "this process"]
