"""DPDK's drivers for Linux's interfaces: net_tap, net_af_packet.

The other end is the kernel's own: its stack behind the TAP, a packet socket behind
the veth.
"""

from __future__ import annotations

import random
import socket
import time

from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.kernel.mini import MiniKernel
from tests.dpdk.support import alone_in_namespace, check_pools, gather, open_dpdk
from tests.judges import tool
from tests.kernel.machine import needs_thunks
from tests.link.tap_support import arrivals, frame, ip, packet_socket, until
from tests.link.veth_support import cross, host, tcp_arrives, veth
from tests.real.echo_request import ping_patiently

TAP = "net_tap0,iface=dtap0"


def some_frames(count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [frame(chance.randbytes(chance.randint(46, 1500))) for _ in range(count)]


@alone_in_namespace
def test_net_tap_sends_to_the_host_and_receives_from_it() -> None:
    with open_dpdk(TAP) as link, packet_socket("dtap0") as there:
        assert link.mac != link.port.mac
        for count in (1, 64, 300):
            frames = some_frames(count, seed=count)
            assert link.send(frames) == count
            assert arrivals(there, count) == frames
            for one in frames:
                there.send(one)
            assert gather(link, count) == frames
        assert link.tx_pool.available == link.tx_pool.count


@alone_in_namespace
def test_a_receiver_sleeps_until_the_tap_has_a_frame() -> None:
    """By the driver's interrupt: no processor time is spent on waiting."""
    with open_dpdk(TAP) as link, packet_socket("dtap0") as there:
        link.recv(timeout=0.1)  # what the interface says when it comes up
        start = time.process_time()
        assert link.recv(timeout=0.5) == []
        assert time.process_time() - start < 0.25
        there.send(frame(bytes(50)))
        assert link.recv(timeout=5) == [frame(bytes(50))]
        link.stop()
        link.start()
        with packet_socket("dtap0") as anew:
            anew.send(frame(bytes(51)))
        assert gather(link, 1) == [frame(bytes(51))]


@needs_thunks
@alone_in_namespace
def test_a_kernel_on_net_tap_answers_linux() -> None:
    with Hypervisor(python_families()) as hypervisor, MiniKernel(hypervisor) as kernel:
        kernel.create_interface("virt0", f"dpdk:{TAP}", ["10.0.0.2/24"])
        ip("address", "add", "10.0.0.1/24", "dev", "dtap0")
        ip("link", "set", "dtap0", "up")
        assert ping_patiently(socket.socket, "10.0.0.2", 20) == 20
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.settimeout(5)
            end.connect(("10.0.0.2", 7))
            for size in (0, 1, 100, 1472):
                end.send(bytes(size))
                assert end.recv(2000) == bytes(size)
        assert hypervisor.reporter.problems == {}
        kernel.destroy_interface("virt0")
    assert until(lambda: "dtap0" not in [name for _, name in socket.if_nameindex()])


@alone_in_namespace
def test_net_af_packet_on_a_veth() -> None:
    veth("near", "far")
    with open_dpdk("net_af_packet0,iface=near") as link, packet_socket("far") as there:
        for count in (1, 64, 300):
            frames = some_frames(count, seed=count)
            rest = frames
            while rest:
                rest = rest[link.send(rest) :]
            assert arrivals(there, count) == frames
            for one in frames:
                there.send(one)
            assert gather(link, count) == frames
        check_pools(link)


@alone_in_namespace
def test_tcp_between_two_hosts_through_two_ports() -> None:
    """Frames of two hosts' own stacks are carried from one port to the other."""
    tool("ethtool")
    with (
        host("near0", "far0", ["10.1.0.1/24"]) as one,
        host("near1", "far1", ["10.1.0.2/24"]) as two,
    ):
        for there, name in ((one, "far0"), (two, "far1")):
            # What crosses packet sockets must be whole frames with checksums.
            there.run("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off")
        left = open_dpdk("net_af_packet0,iface=near0")
        right = open_dpdk("net_af_packet1,iface=near1")
        carriers = cross(left, right)
        try:
            tcp_arrives(one, two, "10.1.0.2")
        finally:
            left.close()
            right.close()
            for carrier in carriers:
                carrier.join()
