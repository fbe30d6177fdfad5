"""Changing drivers, by the library and by ``rumphyper pci``, and back."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from examples.edu import IDENTITY
from rumphyper.cli.main import main
from rumphyper.pci import Address, bind, open_device, unbind
from rumphyper.pci.errors import BindError, DeviceBusyError, PciError
from tests.judges import tool
from tests.vm.pci import E1000, E1000E, EDU, SYSFS, VIRTIO_NET, address

pytestmark = pytest.mark.vm("pci")


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Every device has its driver, and no override, when a test ends."""
    before = {info.address: info.driver for info in SYSFS.devices()}
    yield
    assert {info.address: info.driver for info in SYSFS.devices()} == before
    for place in before:
        assert SYSFS.text(place, "driver_override") == "(null)"


def pci(*words: object) -> str:
    """What the command prints; it must succeed."""
    status, out, err = command(*words)
    assert (status, err) == (0, "")
    return out


def refused(*words: object) -> str:
    """The line that the command says when it cannot be done."""
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    return line


def command(*words: object) -> tuple[int, str, str]:
    """Run it in this process: starting Python takes two seconds here."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["pci", *map(str, words)])
    return status, out.getvalue(), err.getvalue()


def interface(place: Address) -> str:
    (name,) = SYSFS.info(place).interfaces
    return name


def ip(*words: str) -> None:
    subprocess.run([tool("ip"), *words], check=True, timeout=20)


def test_to_vfio_and_back() -> None:
    place = address(E1000)
    binding = bind(place, "vfio-pci")
    assert (binding.former, binding.driver) == ("e1000", "vfio-pci")
    assert SYSFS.driver(place) == "vfio-pci"
    assert SYSFS.info(place).interfaces == ()
    binding.restore()
    binding.restore()
    assert SYSFS.driver(place) == "e1000"
    assert interface(place)


def test_a_device_without_a_driver_is_without_one_again() -> None:
    place = address(EDU)
    binding = bind(place, "uio_pci_generic")
    assert (binding.former, SYSFS.driver(place)) == (None, "uio_pci_generic")
    binding.restore()
    assert SYSFS.driver(place) is None


def test_unbinding_and_what_the_kernel_chooses() -> None:
    place = address(E1000E)
    binding = unbind(place)
    assert (binding.former, SYSFS.driver(place)) == ("e1000e", None)
    again = bind(place, "auto")
    assert (again.former, again.driver) == (None, "e1000e")
    with pytest.raises(BindError, match="no loaded driver takes it"):
        bind(address(EDU), "auto")


@pytest.mark.parametrize("identity", [VIRTIO_NET, EDU])
def test_a_driver_that_fails_leaves_the_former_one(identity: tuple[int, int]) -> None:
    """e1000 takes neither: it fails when it has looked at the device."""
    place = address(identity)
    before = SYSFS.driver(place)
    with pytest.raises(BindError) as caught:
        bind(place, "e1000")
    assert f"{place}: e1000 does not take it" in str(caught.value)
    assert SYSFS.driver(place) == before


def test_opening_that_fails_undoes_the_binding() -> None:
    place = address(E1000)
    with pytest.raises(PciError):
        open_device(place, bind="vfio-pci", driver="uio")
    assert SYSFS.driver(place) == "e1000"


def test_an_interface_with_a_route_is_left_alone() -> None:
    place = address(E1000E)
    name = interface(place)
    ip("address", "add", "10.77.0.1/24", "dev", name)
    ip("link", "set", name, "up")
    try:
        for call in (
            lambda: bind(place, "vfio-pci"),
            lambda: unbind(place),
            lambda: open_device(name, bind="vfio-pci"),
        ):
            with pytest.raises(DeviceBusyError, match="carries the route 10"):
                call()
        assert f"{name} is up" in refused("bind", "vfio-pci", name)
        assert f"{name} is up" in refused("unbind", place)
        assert SYSFS.driver(place) == "e1000e"
        with open_device(name, bind="vfio-pci", restore=True, force=True) as device:
            assert device.driver == "vfio"
        assert pci("bind", "--force", "vfio-pci", place)
        assert SYSFS.driver(place) == "vfio-pci"
    finally:
        pci("bind", "auto", place)
        ip("link", "set", interface(place), "down")


def test_several_devices_or_none() -> None:
    places = [address(E1000), address(EDU)]
    said = pci("bind", "vfio-pci", *places).splitlines()
    assert said == [f"{places[0]}: e1000 -> vfio-pci", f"{places[1]}: none -> vfio-pci"]
    done = json.loads(pci("unbind", "--json", *places))
    assert done == [
        {"address": str(place), "driver": None, "former": "vfio-pci"}
        for place in places
    ]
    # The second cannot be had: the first gets its driver back.
    pci("bind", "auto", places[0])
    line = refused("bind", "e1000e", places[0], places[1])
    assert "does not take it" in line
    line = refused("bind", "vfio-pci", places[0], "nosuch0")
    assert "'nosuch0': neither a PCI address nor the interface" in line
    assert "modprobe nosuch" in refused("bind", "nosuch", places[1])


def test_the_list_is_the_buss() -> None:
    listed = json.loads(pci("list", "--json"))
    lines = pci("list").splitlines()
    assert [each["address"] for each in listed] == [
        str(place) for place in SYSFS.addresses()
    ]
    assert [line.split()[0] for line in lines] == [each["address"] for each in listed]
    card = next(each for each in listed if each["device"] == E1000[1])
    assert card["driver"] == "e1000"
    assert card["interfaces"] == [interface(address(E1000))]
    assert card["bars"][0]["size"] == 128 << 10
    line = next(line for line in lines if line.startswith(card["address"]))
    assert f"if={card['interfaces'][0]} drv=e1000 group={card['iommu_group']}" in line


def test_the_list_is_lspcis() -> None:
    """The same devices, drivers and groups."""
    said = subprocess.run(
        [tool("lspci"), "-D", "-vmmnk"], capture_output=True, text=True, check=True
    ).stdout
    theirs = {}
    for block in said.strip().split("\n\n"):
        fields = dict(line.split(":\t", 1) for line in block.splitlines())
        theirs[fields["Slot"]] = (
            int(fields["Vendor"], 16),
            int(fields["Device"], 16),
            int(fields["Class"], 16),
            fields.get("Driver"),
            fields.get("IOMMUGroup"),
        )
    ours = {
        each["address"]: (
            each["vendor"],
            each["device"],
            each["class"] >> 8,
            each["driver"],
            str(each["iommu_group"]),
        )
        for each in json.loads(pci("list", "--json"))
    }
    assert ours == theirs


def test_show_tells_of_bars_and_capabilities() -> None:
    place = address(E1000E)
    text = pci("show", interface(place))
    assert text.startswith(f"{place} Intel Corporation 82574L Gigabit")
    assert "driver      e1000e" in text
    assert re.search(r"BAR 2 +32 I/O ports at 0x", text)
    assert re.search(r"MSI-X: on, \d vectors, table in BAR 3 at 0x0", text)
    assert "device serial number: " in text
    shown = json.loads(pci("show", "--json", place))
    names = [each["name"] for each in shown["capabilities"]]
    assert names[-1] == "device serial number"
    assert shown["neighbours"] == []
    chipset = next(each for each in SYSFS.devices() if each.class_code == 0x060100)
    assert "with 0000:00:1f.2, 0000:00:1f.3" in pci("show", chipset.address)
    assert "there is none" in refused("show", "00:1e.0")


def test_reading_and_writing_registers() -> None:
    place = address(EDU)
    assert pci("read", place, "bar0:0") == f"{IDENTITY:#010x}\n"
    assert pci("read", place, "config:2", "-w", "16") == "0x11e8\n"
    pci("write", place, "bar0:4", "0x12345678")
    assert pci("read", place, "bar0:4") == "0xedcba987\n"  # nothing resets it
    said = json.loads(pci("read", place, "bar0:0", "--json"))
    assert said == {"register": "bar0:0x0", "value": IDENTITY}
    for words, cause in (
        (("read", place, "bar1:0"), "its size is 0"),
        (("read", place, "bar0:0x100000"), "past its end"),
        (("read", place, "bar0:2"), "unaligned"),
        (("read", place, "nowhere"), "write config:OFFSET or barN:OFFSET"),
        (("write", place, "bar0:4", "0x100000000"), "no value of 32 bits"),
        (("write", address(E1000), "config:0x3c", "1"), "its driver e1000 is using it"),
        (("read", place, "bar0:0", "--via", "uio"), "not to a driver of UIO"),
    ):
        assert cause in refused(*words)


def test_dumps_are_lspcis() -> None:
    place = address(E1000E)
    flags = ("-D", "-s", str(place), "-xxxx")
    theirs = subprocess.run(
        [tool("lspci"), *flags], capture_output=True, text=True, check=True
    ).stdout
    ours = pci("dump", place)
    assert ours.splitlines() == theirs.strip().splitlines()[1:]
    config = (SYSFS.path(place) / "config").read_bytes()
    said = json.loads(pci("dump", "--json", place, "config:0x40", "-n", "8"))
    assert said == {"register": "config:0x40", "data": config[0x40:0x48].hex()}
    assert pci("dump", address(EDU), "bar0:0", "-n", "4") == "00: ed 00 00 01\n"


def test_a_process_of_its_own() -> None:
    place = address(EDU)
    pci("bind", "vfio-pci", place)
    done = subprocess.run(
        [sys.executable, "-m", "rumphyper", "pci", "read", str(place), "bar0:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"{IDENTITY:#010x}\n",
        "",
    )
    pci("unbind", place)
