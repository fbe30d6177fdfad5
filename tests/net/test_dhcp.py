"""The DHCP client against messages that scapy builds and reads."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from rumphyper.net.dhcp import DhcpClient

pytest.importorskip("scapy", reason="scapy (pip install scapy) is missing")
from scapy.layers.dhcp import BOOTP, DHCP

MAC = bytes.fromhex("b2a000000001")
SERVER = "10.0.0.1"


def options(message: Any) -> dict[str, Any]:
    return {item[0]: item[1] for item in message[DHCP].options if len(item) == 2}


def answer(message: bytes, kind: str, *extra: tuple[Any, ...], **fields: Any) -> bytes:
    asked = BOOTP(message)
    fields = {"yiaddr": "10.0.0.77", **fields}
    reply = BOOTP(op=2, xid=asked.xid, chaddr=asked.chaddr, **fields) / DHCP(
        options=[("message-type", kind), ("server_id", SERVER), *extra, "end"]
    )
    return bytes(reply)


DETAILS: tuple[tuple[Any, ...], ...] = (
    ("subnet_mask", "255.255.255.0"),
    ("router", "10.0.0.1"),
    ("name_server", "10.0.0.2", "10.0.0.3"),
    ("domain", b"example.org"),
    ("lease_time", 600),
    ("interface-mtu", 1400),
)


def test_the_whole_conversation() -> None:
    client = DhcpClient(MAC, "box", xid=0x12345678)
    discover = BOOTP(client.message())
    assert (discover.op, discover.xid, discover.chaddr[:6]) == (1, 0x12345678, MAC)
    assert options(discover)["message-type"] == 1
    assert options(discover)["hostname"] == b"box"
    assert len(client.message()) >= 300

    assert client.input(answer(client.message(), "offer", *DETAILS))
    request = options(BOOTP(client.message()))
    assert request["message-type"] == 3
    assert request["requested_addr"] == "10.0.0.77"
    assert request["server_id"] == SERVER

    assert client.input(answer(client.message(), "ack", *DETAILS))
    lease = client.lease
    assert lease is not None
    assert lease.address == IPv4Interface("10.0.0.77/24")
    assert lease.gateways == (IPv4Address("10.0.0.1"),)
    assert lease.name_servers == (IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3"))
    assert (lease.domain, lease.duration, lease.mtu) == ("example.org", 600, 1400)

    release = BOOTP(client.release())
    assert release.ciaddr == "10.0.0.77"
    assert options(release)["message-type"] == 7


def test_a_refusal_starts_again() -> None:
    client = DhcpClient(MAC)
    client.input(answer(client.message(), "offer"))
    assert client.input(answer(client.message(), "nak", yiaddr="0.0.0.0"))
    assert options(BOOTP(client.message()))["message-type"] == 1
    assert client.lease is None


def test_what_is_not_for_it_is_left_unread() -> None:
    client = DhcpClient(MAC, xid=5)
    other = DhcpClient(b"\x02" + MAC[1:], xid=5)
    assert not client.input(answer(DhcpClient(MAC, xid=6).message(), "offer"))
    assert not client.input(answer(other.message(), "offer"))
    assert not client.input(client.message())  # a request, not a reply
    assert not client.input(answer(client.message(), "ack"))  # nothing asked for
    assert not client.input(answer(client.message(), "offer", yiaddr="0.0.0.0"))
    client.input(answer(client.message(), "offer"))
    # Only the server that was chosen may agree, and only to what was asked.
    ack = answer(client.message(), "ack", yiaddr="10.0.0.78")
    assert not client.input(ack)
    assert client.lease is None


def test_octets_from_a_hostile_server_never_raise() -> None:
    dice = random.Random(2)
    agreed = 0
    for _ in range(2000):
        client = DhcpClient(MAC)
        for kind in ("offer", "ack"):
            message = bytearray(answer(client.message(), kind, *DETAILS))
            if dice.random() < 0.5:
                for _ in range(dice.randrange(1, 5)):
                    message[dice.randrange(len(message))] = dice.randrange(256)
            if dice.random() < 0.2:
                del message[dice.randrange(len(message)) :]
            client.input(bytes(message))
        agreed += client.lease is not None
    assert 0 < agreed < 2000
