"""The packet link: what goes out, what comes in, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading
import time
from array import array
from typing import Any

import pytest
from typing_extensions import Buffer

from rumphyper.errors import (
    FrameError,
    HostError,
    LinkClosedError,
    LinkEndedError,
    LinkError,
    LinkstrError,
    RumphyperError,
    UnsupportedError,
)
from rumphyper.host.netif import Netif
from rumphyper.link import open_link
from rumphyper.link.packet import PacketLink, open_packet
from rumphyper.link.packet_abi import PACKET_VNET_HDR, SOL_PACKET
from rumphyper.net.stack import Stack
from rumphyper.net.vnet import HEADER
from tests.judges import tool
from tests.link.tap_support import (
    HOSTS,
    MOST,
    OURS,
    arrivals,
    frame,
    gather,
    ip,
    odd_buffers,
    open_fds,
    packet_socket,
    some_frames,
    until,
)
from tests.link.veth_support import cross, host, tcp_arrives, veth
from tests.namespace import isolated

both = pytest.mark.parametrize("io", ["mmsg", "ring"])


def tagged(payload: bytes, tci: int = 7, tpid: int = 0x8100) -> bytes:
    """A frame with a VLAN tag."""
    octets = frame(payload)
    tag = tpid.to_bytes(2, "big") + tci.to_bytes(2, "big")
    return octets[:12] + tag + octets[12:]


def open_near(io: str, **options: Any) -> PacketLink:
    return open_packet("near", io=io, **options)  # type: ignore[arg-type]


@both
@isolated
def test_frames_reach_the_wire_octet_for_octet(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        sent = 0
        for wanted in (1, 2, 17, 127, 128, 129, 600):
            count = min(wanted, MOST)
            frames = some_frames(count, seed=count)
            assert link.send(frames) == count
            assert arrivals(there, count) == frames
            sent += count
        mixed: list[Buffer] = [bytearray(frames[0]), memoryview(frames[1]), frames[2]]
        assert link.send(mixed) == 3
        assert arrivals(there, 3) == frames[:3]
        assert link.send([]) == 0
        assert link.counters.sent == sent + 3
        # What is sent is not received, neither by us nor from the host's side.
        assert link.recv(timeout=0.05) == []


@both
@isolated
def test_frames_of_the_wire_arrive_octet_for_octet(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        octets = 0
        for turn, count in enumerate((1, 3, 40, 300, 5, 700)):
            frames = some_frames(min(count, MOST), seed=count)
            frames[-1] = tagged(b"v" * 60, tci=0x6FFF)
            for one in frames:
                there.send(one)
            if turn % 2:
                assert gather(link, len(frames)) == frames
            else:
                found: list[bytes] = []
                while len(found) < len(frames):
                    views = link.recv_views(33, timeout=5)
                    assert 1 <= len(views) <= 33
                    found += map(bytes, views)
                    assert all(memoryview(view).readonly for view in views)
                assert found == frames
            octets += sum(map(len, frames))
        assert link.recv(timeout=0) == []
        assert link.counters.received_bytes == octets
        assert link.counters.dropped == 0
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="at least 1"):
                link.recv(wrong)


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
def test_a_frame_that_does_not_fit_stops_the_batch(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        assert (link.mtu, link.max_frame) == (1500, 1518)
        good = frame(b"g")
        for bad in (b"x" * 13, frame(b"x" * 1501), tagged(b"x" * 1501)):
            with pytest.raises(FrameError, match="frame 2 of the batch"):
                link.send([good, good, bad])
        ip("link", "set", "near", "mtu", "1000")
        with pytest.raises(FrameError, match="MTU now allows"):
            link.send([frame(b"x" * 1400)])
        assert link.send([good]) == 1
        assert arrivals(there, 1) == [good]


@isolated
def test_any_buffer_can_be_sent() -> None:
    veth()
    with open_near("mmsg") as link, packet_socket("far") as there:
        for sizes in ([50] * 20, [50 + 2 * n for n in range(20)], [300] * 20):
            plain = [frame(bytes([n]) * size) for n, size in enumerate(sizes)]
            odd = odd_buffers(plain)
            batches: list[list[Buffer]] = [[one] for one in odd]
            batches += [odd, [*odd, *plain[6:]], [memoryview(one) for one in plain]]
            batches.append([*plain[:2], array("H", plain[2]), *plain[3:]])
            for batch in batches:
                wanted = [bytes(memoryview(one).tobytes()) for one in batch]
                assert link.send(batch) == len(batch)
                assert arrivals(there, len(batch)) == wanted
        before = link.counters.sent
        for bad in (array("H", [0] * 800), array("H", [0] * 6), b""):
            with pytest.raises(FrameError, match="frame 1 of the batch"):
                link.send([plain[0], bad])
        with pytest.raises(TypeError):
            link.send([plain[0], 3])  # type: ignore[list-item]
        assert link.counters.sent == before


@both
@isolated
def test_only_what_comes_in_unless_asked_otherwise(io: str) -> None:
    veth()
    with open_near(io) as link, open_near(io, outgoing=True) as all_of_it:
        link.send([frame(b"of a link")])
        assert gather(all_of_it, 1) == [frame(b"of a link")]
        assert link.recv(timeout=0.05) == []


@isolated
def test_promiscuity_lasts_as_long_as_the_link() -> None:
    veth()

    def promiscuity() -> int:
        said = subprocess.check_output(
            [tool("ip"), "-d", "-j", "link", "show", "near"], text=True
        )
        return int(json.loads(said)[0]["promiscuity"])

    with open_near("mmsg", promiscuous=False):
        assert promiscuity() == 0
    with open_near("mmsg"):
        assert promiscuity() == 1
    assert promiscuity() == 0


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


@both
@isolated
def test_the_host_behind_the_wire_pings_a_station(io: str) -> None:
    from ipaddress import IPv4Interface

    with host("near", "eth0", ["10.9.0.1/24"]) as there, open_near(io) as link:
        stack = Stack(link.mac, [IPv4Interface("10.9.0.2/24")], [])

        def serve() -> None:
            with contextlib.suppress(LinkClosedError):
                while True:
                    for octets in link.recv():
                        link.send(list(stack.input(octets)))

        server = threading.Thread(target=serve)
        server.start()
        said = there.run("ping", "-c3", "-i0.01", "-W5", "-s1400", "10.9.0.2")
        assert "3 received" in said
        link.close()
        server.join(10)
        assert stack.answered["icmp"] == 3


@both
@isolated
def test_the_descriptor_is_readable_when_a_frame_is_there(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        fd = link.fileno()
        assert select.select([fd], [], [], 0)[0] == []
        for one in (frame(b"x"), frame(b"y")):
            there.send(one)
        assert select.select([fd], [], [], 5)[0] == [fd]
        found = link.recv(1, timeout=5)
        assert found == [frame(b"x")]
        assert select.select([fd], [], [], 5)[0] == [fd]
        assert link.recv(timeout=5) == [frame(b"y")]
        assert select.select([fd], [], [], 0)[0] == []


@both
@isolated
def test_what_is_lost_is_counted(io: str) -> None:
    veth()
    small = 1 << 12 if io == "mmsg" else 1 << 19
    count = 3000
    with open_near(io, buffer=small) as link, packet_socket("far") as there:
        for number in range(count):
            there.send(frame(number.to_bytes(4, "big") * 300))
            if number % 100 == 99:
                time.sleep(0.002)  # the kernel's own backlog holds a thousand
        time.sleep(0.05)
        found = gather(link, count, timeout=0.2)
        assert 0 < len(found) < count
        assert link.counters.received == len(found)
        assert until(lambda: link.recv(timeout=0) == [])
        assert link.counters.dropped == count - len(found)


@both
@isolated
def test_close_wakes_a_reader_and_leaves_nothing(io: str) -> None:
    veth()
    open_near(io).close()
    before = open_fds()
    raised: list[BaseException] = []

    def read(link: PacketLink) -> None:
        try:
            link.recv()
        except BaseException as error:
            raised.append(error)

    for _ in range(20):
        link = open_near(io)
        reader = threading.Thread(target=read, args=[link])
        reader.start()
        time.sleep(0.01)
        link.close()
        reader.join(5)
        assert not reader.is_alive()
        assert isinstance(raised.pop(), LinkClosedError)
        link.close()
        for call in (link.recv, link.fileno, lambda link=link: link.send([])):
            with pytest.raises(LinkClosedError):
                call()
    assert open_fds() == before


@both
@isolated
def test_views_that_are_kept_do_not_stop_the_close(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        there.send(frame(b"kept"))
        views = link.recv_views(timeout=5)
        octets = bytes(views[0])
    assert octets == frame(b"kept")


@both
@isolated
def test_an_interface_that_goes_down_and_comes_back(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        threading.Timer(0.05, ip, ["link", "set", "near", "down"]).start()
        with pytest.raises(LinkError, match=r"the interface is down .*near up"):
            link.recv(timeout=5)
        assert link.recv(timeout=0.02) == []
        with pytest.raises(LinkError, match="the interface is down"):
            link.send([frame(b"x")])
        ip("link", "set", "near", "up")
        there.send(frame(b"back"))
        assert link.recv(timeout=5) == [frame(b"back")]
        assert link.send([frame(b"x")]) == 1


@both
@isolated
def test_an_interface_that_is_deleted_ends_the_link(io: str) -> None:
    veth()
    with open_near(io) as link:
        threading.Timer(0.05, ip, ["link", "delete", "near"]).start()
        with pytest.raises(LinkError):  # it goes down first
            link.recv(timeout=5)
        with pytest.raises(LinkEndedError, match="was deleted"):
            link.send([frame(b"x")])


@isolated
def test_what_cannot_be_opened_says_why() -> None:
    veth()
    ip("link", "set", "near", "down")
    ip("tuntap", "add", "ip0", "mode", "tun")
    ip("link", "set", "ip0", "up")
    before = open_fds()
    cases: list[tuple[str, dict[str, object], type[RumphyperError], str]] = [
        ("nosuch", {}, HostError, "no such interface .*ip link"),
        ("near", {}, HostError, "is down .*ip link set near up.*up=True"),
        ("a b", {}, LinkstrError, "white space"),
        ("x" * 16, {}, LinkstrError, "16 octets"),
        ("ip0", {}, UnsupportedError, "not Ethernet's"),
        ("far", {"io": "carrier pigeon"}, LinkstrError, "mmsg or ring"),
        ("far", {"buffer": 1}, LinkstrError, "4 KiB to 1 GiB"),
        ("far", {"mac": "01:00:00:00:00:01"}, LinkstrError, "one station"),
        ("far", {"colour": 1}, LinkstrError, "docs/packet.md"),
        ("far", {"netns": "no such one"}, HostError, "network namespace"),
    ]
    for name, options, kind, text in cases:
        with pytest.raises(kind, match=text):
            open_link(f"packet:{name}", **options)
    assert open_fds() == before
    with open_link("packet:near", up=True) as link, Netif() as netif:
        assert netif.is_up("near")
        assert link.mac[0] & 3 == 2  # local, of one station
    with open_link("packet:lo", up=True):
        pass


@isolated
def test_without_the_right_it_names_the_capability() -> None:
    veth()
    if os.geteuid() == 0:
        os.setuid(65534)
    else:
        pytest.skip("needs root, whose rights it drops")
    with pytest.raises(HostError, match="CAP_NET_RAW") as caught:
        open_link("packet:near")
    assert "unshare" in str(caught.value)


@isolated
def test_another_namespace() -> None:
    with (
        host("near", "eth0", []) as there,
        open_near("mmsg") as link,
        open_link("packet:eth0", netns=there.pid) as far,
    ):
        far.send([frame(b"from there")])
        assert link.recv(timeout=5) == [frame(b"from there")]


@both
@isolated
def test_many_threads_of_one_link(io: str) -> None:
    """One sends while two receive, and nothing is lost or doubled."""
    veth()
    total = 5000
    found: list[bytes] = []
    with open_near(io) as link, open_packet("far") as there:

        def take() -> None:
            with contextlib.suppress(LinkClosedError):
                while True:
                    found.extend(link.recv(timeout=5))

        takers = [threading.Thread(target=take) for _ in range(2)]
        for taker in takers:
            taker.start()
        sent = [frame(number.to_bytes(4, "big")) for number in range(total)]
        for start in range(0, total, 50):
            assert there.send(sent[start : start + 50]) == 50
            assert until(lambda: start - len(found) < 500)  # noqa: B023
        assert until(lambda: len(found) == total)
        link.close()
        for taker in takers:
            taker.join(5)
        assert sorted(found) == sorted(sent)
