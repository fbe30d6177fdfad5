"""A port's settings, as Linux sees them at the other end of net_tap."""

from __future__ import annotations

import ctypes
import socket
from pathlib import Path

import pytest

from rumphyper.dpdk.eal import Options, start
from rumphyper.dpdk.port import Port, ports
from rumphyper.errors import HostError, LinkstrError
from rumphyper.host.netif import Netif
from tests.dpdk.support import alone, alone_in_namespace, frame, gather, open_dpdk
from tests.link.tap_support import packet_socket, until

TAP = "net_tap0,iface=dtap0"


@alone_in_namespace
def test_mac_mtu_link_and_modes() -> None:
    with open_dpdk(TAP) as link, Netif() as netif:
        port = link.port
        assert port.name == "net_tap0"
        assert port.info.driver == "net_tap"
        assert "MULTI_SEGS" in port.info.tx_offloads
        port.mac = bytes.fromhex("b2a000000077")
        assert port.mac == netif.mac("dtap0") == bytes.fromhex("b2a000000077")
        port.mtu = 1400
        assert (port.mtu, netif.mtu("dtap0")) == (1400, 1400)
        with pytest.raises(HostError, match=r"DPDK port 0 \(net_tap\)"):
            port.mtu = 1 << 15  # more than its mbufs hold
        port.all_multicast = True
        assert port.all_multicast
        for on in (False, True):
            port.promiscuous = on
            assert port.promiscuous is on
        port.set_link(False)
        assert until(lambda: not port.link().up)
        assert not netif.is_up("dtap0")
        port.set_link(True)
        assert until(lambda: port.link().up)


@alone_in_namespace
def test_counters_and_their_reset() -> None:
    with open_dpdk(TAP) as link, packet_socket("dtap0") as there:
        there.send(frame(bytes(86)))
        assert gather(link, 1) == [frame(bytes(86))]
        assert link.send([frame(bytes(86))] * 3) == 3
        stats = link.stats()
        assert (stats["opackets"], stats["obytes"]) == (3, 300)
        assert link.port.xstats()["tx_q0_packets"] == 3
        link.port.reset_stats()
        assert link.port.stats()["opackets"] == 0


@alone
def test_an_mtu_that_is_asked_for() -> None:
    with pytest.raises(LinkstrError, match=r"mtu=9000, and net_tap has 46 to 15\d\d"):
        open_dpdk(TAP, mtu=9000)
    with open_dpdk("net_ring0", mtu=9000) as link:
        assert (link.mtu, link.port.mtu, link.tx_pool.room) == (9000, 9000, 9022)
        long = [frame(bytes([number]) * 9000) for number in range(100)]
        assert link.send(long) == 100
        assert gather(link, 100) == long


@alone_in_namespace
def test_frames_come_from_all_queues() -> None:
    """Linux chooses a queue of a multi-queue TAP by the addresses in a frame."""
    with open_dpdk(TAP, rx_queues=4, tx_queues=4) as link:
        assert len(link.rx) == len(link.tx) == 4
        with Netif() as netif:
            netif.add_address("dtap0", "10.0.0.1/24")
        Path("/proc/sys/net/ipv4/neigh/dtap0/mcast_solicit").write_text("0")
        sent = set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for number in range(200):
                end.sendto(number.to_bytes(2, "big") * 20, ("10.0.0.255", number + 1))
                sent.add(number.to_bytes(2, "big") * 20)
        came: set[bytes] = set()
        while len(came) < 200:
            frames = link.recv(timeout=2)
            assert frames
            came |= {one[42:] for one in frames if one[42:] in sent}
        queues = link.port.xstats()
        assert sum(queues[f"rx_q{number}_packets"] > 0 for number in range(4)) > 1


@alone
def test_ports_that_eal_has_made() -> None:
    """By its own arguments; they are opened by number."""
    running = start(Options(arguments=["--vdev=net_ring7", "--vdev=net_null7"]))
    assert ports(running) == [0, 1]
    assert [Port(running, number).name for number in (0, 1)] == [
        "net_ring7",
        "net_null7",
    ]
    with open_dpdk("0") as link, open_dpdk("1") as other:
        assert link.send([frame(b"x")]) == 1
        assert link.recv(timeout=1) == [frame(b"x")]
        assert len(other.recv(10)) == 10
    assert ports(running) == []
    with pytest.raises(HostError, match="there are none"):
        open_dpdk("0")


@alone_in_namespace
def test_frames_without_an_mbuf_are_dropped_and_counted() -> None:
    """Somebody keeps what has been received; once it is back frames come."""
    with open_dpdk(TAP, ring=64) as link, packet_socket("dtap0") as there:
        (queue,) = link.rx
        kept: list[int] = []
        for _ in range(60):
            for _ in range(50):
                there.send(frame(bytes(50)))
            while count := queue.receive(256):
                kept += queue.mbufs.array[:count]
                queue.held = 0
            if link.stats()["rx_nombuf"]:
                break
        assert link.counters.dropped > 0
        assert link.rx_pool.available == 0
        array = (ctypes.c_uint64 * len(kept))(*kept)
        link.port.eal.lib.rte_pktmbuf_free_bulk(array, len(kept))
        there.send(frame(bytes(51)))  # behind what has waited meanwhile
        assert until(lambda: frame(bytes(51)) in link.recv(256, timeout=0.1))
