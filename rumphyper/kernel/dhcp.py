"""An address from a DHCP server for an interface of the kernel.

The client is this package's own. The one of librumpnet_config waits up to 100
seconds inside of the kernel, where it cannot be interrupted, and reads freed or
unset memory when an acknowledgement is lost (buildrump.sh,
brlib/libnetconfig/dhcp_main.c, get_ack).
"""

from __future__ import annotations

import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from rumphyper.errors import InterfaceError, RumphyperError
from rumphyper.kernel.bpf import Bpf, Instruction
from rumphyper.net.dhcp import CLIENT_PORT, SERVER_PORT, DhcpClient, Lease
from rumphyper.net.errors import ParseError
from rumphyper.net.ethernet import IPV4, Ethernet
from rumphyper.net.ipv4 import UDP, IPv4
from rumphyper.net.mac import BROADCAST
from rumphyper.net.udp import Udp

if TYPE_CHECKING:
    from rumphyper.kernel.interface import Interface

ANY, EVERYBODY = IPv4Address(0), IPv4Address("255.255.255.255")
FIRST_WAIT, LONGEST_WAIT = 1.0, 8.0
"""Seconds before a message is sent again; doubled each time."""

TO_CLIENT: tuple[Instruction, ...] = (
    (0x28, 0, 0, 12),  # ldh [12]: the type of the frame
    (0x15, 0, 8, IPV4),
    (0x30, 0, 0, 23),  # ldb [23]: the protocol
    (0x15, 0, 6, UDP),
    (0x28, 0, 0, 20),  # ldh [20]: flags and offset of a fragment
    (0x45, 4, 0, 0x1FFF),
    (0xB1, 0, 0, 14),  # ldxb 4*([14]&0xf): length of the IPv4 header
    (0x48, 0, 0, 16),  # ldh [x+16]: the port it is for
    (0x15, 0, 1, CLIENT_PORT),
    (0x06, 0, 0, 0xFFFF),  # ret: this frame
    (0x06, 0, 0, 0),
)
"""A program for bpf(4): datagrams to the client's port."""


class Client:
    """The DHCP side of one interface: gets a lease, keeps it, gives it back."""

    def __init__(self, interface: Interface, hostname: str = "") -> None:
        self.interface = interface
        mac = interface.mac
        if len(mac) != 6:
            raise InterfaceError(
                f"{interface.name}: DHCP",
                "the interface has no Ethernet address",
                "use a virt or shmif interface",
            )
        self._client = DhcpClient(mac, hostname)

    @property
    def lease(self) -> Lease | None:
        return self._client.lease

    def run(self, timeout: float) -> Lease:
        """Get a lease and set up the interface: address, default gateway, MTU.

        Raises RumphyperError when no server has given one in time; the
        interface is then as it was before.
        """
        interface, client = self.interface, self._client
        was_up = interface.is_up
        interface.up()
        try:
            with Bpf(interface.kernel, interface.name, TO_CLIENT) as bpf:
                lease = self._converse(bpf, timeout)
            interface.add_address(lease.address)
        except BaseException:
            if not was_up:
                interface.down()
            raise
        if lease.mtu and lease.mtu < interface.mtu:
            interface.mtu = lease.mtu
        for gateway in lease.gateways[:1]:
            if gateway in lease.address.network:
                interface.kernel.set_gateway(gateway)
        assert client.lease is lease
        return lease

    def _converse(self, bpf: Bpf, timeout: float) -> Lease:
        client, end, wait = self._client, time.monotonic() + timeout, FIRST_WAIT
        while time.monotonic() < end:
            bpf.send(self._frame(client.message()))
            again = min(end, time.monotonic() + wait)
            wait = min(2 * wait, LONGEST_WAIT)
            while time.monotonic() < again:
                frames = bpf.recv(again - time.monotonic())
                if any(client.input(self._payload(frame)) for frame in frames):
                    wait = FIRST_WAIT
                    break
            if client.lease is not None:
                return client.lease
        raise RumphyperError(
            f"{self.interface.name}: DHCP",
            f"no server has given an address within {timeout:g} seconds",
            "is there a DHCP server at the other end of its link?",
        )

    def _frame(
        self, payload: bytes, source: IPv4Address = ANY, target: IPv4Address = EVERYBODY
    ) -> bytes:
        datagram = Udp(CLIENT_PORT, SERVER_PORT, payload).build(source, target)
        packet = IPv4(source, target, UDP, datagram).build()
        return Ethernet(BROADCAST, self._client.mac, IPV4, packet).build()

    def _payload(self, frame: bytes) -> bytes:
        try:
            packet = IPv4.parse(Ethernet.parse(frame).payload)
            return Udp.parse(packet.payload, packet.source, packet.destination).payload
        except ParseError:
            return b""

    def release(self) -> None:
        """Tell the server that the address is free, and remove it.

        The message goes to the broadcast address of Ethernet: the server may
        have gone from the neighbours, and there is no second try.
        """
        lease, interface = self._client.lease, self.interface
        if lease is None:
            return
        frame = self._frame(self._client.release(), lease.address.ip, lease.server)
        self._client.lease = None
        with interface.kernel.guard:
            if interface.is_up:
                with Bpf(interface.kernel, interface.name) as bpf:
                    bpf.send(frame)
            if lease.address in interface.addresses:
                interface.remove_address(lease.address)
