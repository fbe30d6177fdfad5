"""What the kernel keeps beside a frame, put right by the packet link."""

from __future__ import annotations

import os
import select
import subprocess
import time

import pytest

from rumphyper.link import open_link
from rumphyper.link.packet import open_packet
from rumphyper.link.packet_abi import PACKET_VNET_HDR, SOL_PACKET
from rumphyper.net.vnet import HEADER
from tests.judges import tool
from tests.link.packet_support import both, open_near, tagged
from tests.link.tap_support import (
    HOSTS,
    OURS,
    frame,
    gather,
    packet_socket,
)
from tests.link.veth_support import cross, host, tcp_arrives, veth
from tests.namespace import isolated


@both
@isolated
def test_a_vlan_tag_stays_where_it_was(io: str) -> None:
    """The kernel takes tags off on the way in."""
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        frames = [frame(b"x"), tagged(b"yy"), tagged(b"z" * 1490, 0xE00A, 0x88A8)]
        frames.append(tagged(b"u" * 1500))
        frames.append(frame(b"w" * 1500))
        for one in frames:
            there.send(one)
        assert gather(link, 5) == frames
        assert link.send(frames) == 5  # of full length with a tag, too
        assert link.counters.sent == 5


@both
@isolated
def test_joined_segments_and_missing_checksums_are_put_right(io: str) -> None:
    """The kernel's TCP, through two packet links and Python in the middle."""
    address, six = "10.9.0.2/24", "fd00:9::2/64"
    with (
        host("one", "eth0", ["10.9.0.1/24", "fd00:9::1/64"]) as left,
        host("two", "eth0", [address, six]) as right,
        open_packet("one", io=io) as near,  # type: ignore[arg-type]
        open_packet("two") as far,
    ):
        carriers = cross(near, far)
        assert "bytes from" in left.run("ping", "-c1", "-W5", address[:-3])
        tcp_arrives(left, right, address[:-3])
        tcp_arrives(right, left, "fd00:9::1", 500_000)
        assert near.counters.dropped == far.counters.dropped == 0
        assert near.counters.received_bytes > 4_000_000
        near.close()
        far.close()
        for carrier in carriers:
            carrier.join(10)
            assert not carrier.is_alive()


@both
@pytest.mark.parametrize("views", [False, True])
@isolated
def test_no_more_frames_than_asked_for_when_one_was_several(
    io: str, views: bool
) -> None:
    scapy = pytest.importorskip("scapy.all")
    ether = scapy.Ether(dst=HOSTS.hex(":"), src=OURS.hex(":"))
    head = ether / scapy.IP(src="10.0.0.1", dst="10.0.0.2") / scapy.TCP(flags="A")
    octets = bytes(head / (bytes(range(250)) * 40))
    header = HEADER.pack(1, 1, 54, 1000, 34, 16)  # ten segments in one
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        fd = link.fileno()
        there.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        few = [frame(bytes([number])) for number in range(3)]
        for one in (bytes(10) + few[0], header + octets, bytes(10) + few[1]):
            there.send(one)
        assert select.select([fd], [], [], 5)[0] == [fd]
        time.sleep(0.05)
        found: list[bytes] = []
        while len(found) < 12:
            assert select.select([fd], [], [], 5)[0] == [fd]
            some = link.recv_views(3, 5) if views else link.recv(3, timeout=5)
            assert 1 <= len(some) <= 3
            found += map(bytes, some)
        assert (found[0], found[11]) == (few[0], few[1])
        assert b"".join(one[54:] for one in found[1:11]) == octets[54:]
        assert link.counters.received == 12
        assert link.recv(timeout=0) == []
        assert select.select([fd], [], [], 0)[0] == []
        there.send(bytes(10) + few[2])
        assert link.recv(timeout=5) == [few[2]]


@both
@isolated
def test_tshark_finds_every_checksum_right(io: str) -> None:
    """Of the kernel's TCP, that leaves them out and cuts nothing on such a wire."""
    path = f"/dev/shm/rumphyper-packet-{os.getpid()}.pcap"
    with (
        host("one", "eth0", ["10.9.0.1/24"]) as left,
        host("two", "eth0", ["10.9.0.2/24"]) as right,
        open_packet("one", io=io) as near,  # type: ignore[arg-type]
        open_packet("two") as far,
    ):
        try:
            with open_link(f"pcap:{path}", mode="w") as capture:
                carriers = cross(near, far, capture)
                tcp_arrives(left, right, "10.9.0.2", 300_000)
                near.close()
                far.close()
                for carrier in carriers:
                    carrier.join(10)
            command = [tool("tshark"), "-n", "-r", path, "-Y", "tcp", "-T", "fields"]
            for check in ("ip", "tcp"):
                command += ["-o", f"{check}.check_checksum:TRUE"]
                command += ["-e", f"{check}.checksum.status"]
            command += ["-e", "frame.len"]
            said = subprocess.check_output(command, text=True, timeout=50)
            rows = [line.split() for line in said.splitlines()]
            assert len(rows) > 210
            assert {tuple(row[:2]) for row in rows} == {("1", "1")}
            assert max(int(row[2]) for row in rows) == 1514
        finally:
            os.unlink(path)
