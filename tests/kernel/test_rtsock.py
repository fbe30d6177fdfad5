"""Routing messages and bus files that break their format."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from rumphyper.errors import CorruptError, HostError
from rumphyper.kernel import netaddr, rtsock
from rumphyper.kernel.busfile import check_bus_file
from rumphyper.kernel.netaddr import LinkAddress


def message() -> bytes:
    return rtsock.route_message(
        rtsock.RTM_GET,
        rtsock.RTF_UP,
        1,
        {
            rtsock.RTA_DST: netaddr.pack(IPv4Address("10.0.0.0")),
            rtsock.RTA_GATEWAY: netaddr.pack_link(b"\2\0\0\0\0\1", 3),
            rtsock.RTA_NETMASK: netaddr.pack_mask(IPv4Address(0), 20),
        },
        index=3,
    )


def test_a_message_can_be_read_back() -> None:
    (entry,) = rtsock.parse_messages(message())
    assert isinstance(entry, rtsock.RouteEntry)
    assert entry.index == 3
    assert netaddr.parse(entry.addresses["dst"]) == IPv4Address("10.0.0.0")
    assert netaddr.parse_mask(entry.addresses["netmask"], netaddr.AF_INET) == 20
    gateway = netaddr.parse(entry.addresses["gateway"])
    assert gateway == LinkAddress(3, "", b"\2\0\0\0\0\1")


def test_octets_of_any_kind_give_corrupt_error_or_messages() -> None:
    dice = random.Random(3)
    whole = message() * 3
    corrupt = 0
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        del data[dice.randrange(len(data) + 1) :]
        try:
            for entry in rtsock.parse_messages(bytes(data)):
                for address in entry.addresses.values():
                    netaddr.parse(address)
        except CorruptError:
            corrupt += 1
    assert corrupt > 100


@pytest.mark.parametrize("version", [4, 6])
def test_masks_of_every_length(version: int) -> None:
    any_address = IPv4Address(0) if version == 4 else IPv6Address(0)
    family = netaddr.AF_INET if version == 4 else netaddr.AF_INET6
    for length in range(any_address.max_prefixlen + 1):
        packed = netaddr.pack_mask(any_address, length)
        assert netaddr.parse_mask(packed, family) == length
        # The kernel cuts a mask behind its last octet that is not 0.
        assert netaddr.parse_mask(packed.rstrip(b"\0"), family) == length


def test_link_local_addresses_lose_and_get_their_scope() -> None:
    inside = netaddr.embed_scope(IPv6Address("fe80::1"), 7)
    assert inside == IPv6Address("fe80:7::1")
    assert netaddr.parse(netaddr.pack(inside)) == IPv6Address("fe80::1")
    assert netaddr.embed_scope(IPv6Address("fd00::1"), 7) == IPv6Address("fd00::1")


def bus(
    magic: int = 0xCA11D054, version: int = 3, first: int = 0, last: int = 0
) -> bytes:
    header = struct.pack("=IIQII", magic, version, 0, first, last)
    return header.ljust(1 << 20, b"\0")


def test_bus_files(tmp_path: Path) -> None:
    good = tmp_path / "good"
    check_bus_file(str(good))  # will be created
    assert not good.exists()
    for content in (b"", bytes(1 << 20), bus(), bus(version=0)):
        good.write_bytes(content)
        check_bus_file(str(good))


@pytest.mark.parametrize(
    "content",
    [b"x", bytes(1 << 21), bus(magic=1), bus(version=9), bus(last=1 << 20)],
    ids=["short", "long", "magic", "version", "last"],
)
def test_what_is_no_bus(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(CorruptError, match="bad"):
        check_bus_file(str(path))
    assert path.read_bytes() == content


def test_paths_that_cannot_be_a_bus(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="folder"):
        check_bus_file(str(tmp_path / "no" / "bus"))
    with pytest.raises(HostError, match="directory"):
        check_bus_file(str(tmp_path))
