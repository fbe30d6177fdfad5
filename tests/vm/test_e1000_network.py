"""Python's driver of e1000 and e1000e on QEMU's user network, by vfio and by UIO."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from rumphyper.cli.main import main
from rumphyper.host.netif import Netif
from rumphyper.link.e1000 import E1000Link
from rumphyper.net import ethernet
from rumphyper.net.arp import REPLY, Arp
from rumphyper.net.dhcp import ANY, CLIENT_PORT, SERVER_PORT, DhcpClient
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.ipv4 import IPv4
from rumphyper.net.mac import BROADCAST
from rumphyper.net.probe import who_has
from rumphyper.net.udp import PROTOCOL, Udp
from rumphyper.pci import Address, bind
from tests.judges import tool, tshark
from tests.vm.nics import E1000_82545, HUB_E1000, HUB_E1000E, KernelEnd, driven
from tests.vm.pci import E1000, E1000E, SYSFS, address, child, line

pytestmark = pytest.mark.vm("pci")

ROUTER = IPv4Address("10.0.2.2")
OURS = IPv4Interface("10.0.2.15/24")

CARDS = [
    *(
        pytest.param((which, "vfio-pci", irq), marks=pytest.mark.vm("pci"))
        for which, irq in (
            (E1000, "intx"),
            (E1000E, "intx"),
            (E1000E, "msi"),
            (E1000E, "poll"),
        )
    ),
    *(
        pytest.param((which, "uio_pci_generic", irq), marks=pytest.mark.vm("bare-pci"))
        for which in (E1000, E1000E)
        for irq in ("intx", "poll")
    ),
    pytest.param((E1000_82545, "vfio-pci", "intx"), marks=pytest.mark.vm("pci-hub")),
]


def name(card: object) -> str:
    """The parts of a test's name."""
    assert isinstance(card, tuple)
    which, driver, irq = card
    number = 0x100F if isinstance(which, Address) else which[1]
    return f"{number:04x}-{driver.partition('_')[0]}-{irq}"


@pytest.fixture(params=CARDS, ids=name)
def link(request: pytest.FixtureRequest) -> Iterator[E1000Link]:
    which, driver, irq = request.param
    place = which if isinstance(which, Address) else address(which)
    before = SYSFS.driver(place)
    with driven(place, driver, irq=irq) as link:
        assert link.irq == irq
        yield link
    assert SYSFS.driver(place) == before in ("e1000", "e1000e")


def test_arp_and_dhcp(link: E1000Link) -> None:
    """The router's own answers, and those of its server."""
    for _ in range(3):
        link.send([who_has(link.mac, OURS.ip, ROUTER)])
        answer = Arp.parse(_received(link, ethernet.ARP).payload)
        assert (answer.operation, answer.sender_ip) == (REPLY, ROUTER)
        assert (answer.target_mac, answer.target_ip) == (link.mac, OURS.ip)
    client = DhcpClient(link.mac)
    while client.lease is None:
        link.send([_to_server(link.mac, client.message())])
        packet = IPv4.parse(_received(link, ethernet.IPV4).payload)
        datagram = Udp.parse(packet.payload, packet.source, packet.destination)
        assert datagram.destination_port == CLIENT_PORT
        assert client.input(datagram.payload)
    assert client.lease.address == OURS
    assert client.lease.gateways == (ROUTER,)
    assert client.lease.server == ROUTER


def _received(link: E1000Link, ethertype: int) -> Ethernet:
    """The next frame of a type; there may be others, of IPv6."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for frame in link.recv(1, timeout=20):
            parsed = Ethernet.parse(frame)
            if parsed.ethertype == ethertype:
                return parsed
    raise AssertionError("nothing came")


def _to_server(mac: bytes, payload: bytes) -> bytes:
    everybody = IPv4Address("255.255.255.255")
    datagram = Udp(CLIENT_PORT, SERVER_PORT, payload).build(ANY, everybody)
    packet = IPv4(ANY, everybody, PROTOCOL, datagram).build()
    return Ethernet(BROADCAST, mac, ethernet.IPV4, packet).build()


def test_ping(capsys: pytest.CaptureFixture[str]) -> None:
    """The command, from a station behind each card."""
    for which in (E1000, E1000E):
        place = address(which)
        binding = bind(place, "vfio-pci")
        command = ["ping", f"pci:{place}", str(ROUTER), "-c5", "-i0.1", "--json"]
        assert main([*command, "-s1400"]) == 0
        binding.restore()
        said = json.loads(capsys.readouterr().out)
        assert (said["sent"], said["received"], said["damaged"]) == (5, 5, 0)


@pytest.mark.vm("pci-hub")
def test_dump(tmp_path: Path) -> None:
    """What the command writes is what another program reads."""
    path = tmp_path / "frames.pcap"
    binding = bind(HUB_E1000E, "vfio-pci")
    with KernelEnd(HUB_E1000) as kernel:
        code = "import sys; from rumphyper.cli.main import main; main(sys.argv[1:])"
        with child(code, "dump", f"pci:{HUB_E1000E}", "-w", str(path), "-c5") as dump:
            frame = BROADCAST + kernel.mac + b"\x88\xb5" + b"hello".ljust(50, b"\0")
            while dump.poll() is None:
                kernel.send([frame])
                time.sleep(0.1)
    binding.restore()
    mac = kernel.mac.hex(":")
    assert tshark(path, ["eth.src", "frame.len"]) == [[mac, "64"]] * 5


@pytest.mark.vm("pci-hub")
def test_echo() -> None:
    """Linux's ping(8), by the kernel's own card, of a station behind ours."""
    program = tool("ping")
    binding = bind(HUB_E1000, "vfio-pci")
    with KernelEnd(HUB_E1000E) as kernel, Netif() as netif:
        netif.add_address(kernel.name, "192.168.77.1/24")
        code = "import sys; from rumphyper.cli.main import main; main(sys.argv[1:])"
        with child(code, "echo", f"pci:{HUB_E1000}", "-a", "192.168.77.2/24") as echo:
            assert line(echo).startswith(f"answering on pci:{HUB_E1000}")
            command = [program, "-n", "-c5", "-i0.2", "-s1400", "192.168.77.2"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        netif.remove_address(kernel.name, "192.168.77.1/24")
    binding.restore()
    assert "5 packets transmitted, 5 received, 0% packet loss" in done.stdout
