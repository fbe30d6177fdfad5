"""The XDP link: what goes out, what comes in, how it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from array import array
from ipaddress import IPv4Interface
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
from rumphyper.host.syscalls import number as syscall_number
from rumphyper.link import open_link, xdp_abi
from rumphyper.link.xdp import XdpLink, open_xdp
from rumphyper.link.xdp_abi import COUNTS, SOL_XDP, STATISTICS
from rumphyper.net.stack import Stack
from tests.judges import tool
from tests.link.tap_support import (
    MOST,
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
from tests.link.veth_support import host, veth
from tests.namespace import in_namespace, isolated
from tests.seccomp import refuse

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may load an XDP program"
)
both = pytest.mark.parametrize("mode", ["native", "generic"])


def open_near(mode: str = "auto", **options: Any) -> XdpLink:
    link = open_xdp("near", mode=mode, **options)  # type: ignore[arg-type]
    assert mode in (link.mode, "auto")
    return link


def program(interface: str) -> int:
    """The number of the XDP program on an interface, as the kernel tells; or 0."""
    said = subprocess.check_output(
        [tool("ip"), "-d", "-j", "link", "show", interface], text=True
    )
    found = json.loads(said)[0].get("xdp", {}).get("prog", {"id": 0})
    return int(found["id"])


@both
@isolated
def test_frames_reach_the_wire_octet_for_octet(mode: str) -> None:
    veth()
    with open_near(mode, entries=64) as link, packet_socket("far") as there:
        sent = 0
        for wanted in (1, 2, 17, 63, 64, 65, 600):
            frames = some_frames(min(wanted, MOST), seed=wanted)
            assert link.send(frames) == len(frames)
            assert arrivals(there, len(frames)) == frames
            sent += len(frames)
        mixed: list[Buffer] = [bytearray(frames[0]), memoryview(frames[1]), frames[2]]
        assert link.send(mixed) == 3
        assert arrivals(there, 3) == frames[:3]
        assert link.send([]) == 0
        assert link.counters.sent == sent + 3
        for count in (1, 40, 64, 100):
            assert 0 < (done := link.generate(frames[3], count)) <= count
            assert arrivals(there, done) == [frames[3]] * done
        other = frame(b"another")
        assert until(lambda: link.generate(other, 1) == 1)
        assert arrivals(there, 1) == [other]
        assert link.send(frames[:3]) == 3
        assert arrivals(there, 3) == frames[:3]
        assert link.recv(timeout=0) == []


@both
@isolated
def test_frames_of_the_wire_arrive_octet_for_octet(mode: str) -> None:
    veth()
    with open_near(mode, entries=256) as link, packet_socket("far") as there:
        octets = total = 0
        for turn, wanted in enumerate((1, 3, 40, 200, 5, 250, 64, 220)):
            frames = some_frames(min(wanted, MOST), seed=wanted)
            for one in frames:
                there.send(one)
            if turn % 2:
                assert gather(link, len(frames)) == frames
            else:
                found: list[bytes] = []
                while len(found) < len(frames):
                    views = link.recv_views(33, timeout=5)
                    assert 1 <= len(views) <= 33
                    assert all(memoryview(view).readonly for view in views)
                    found += map(bytes, views)
                assert found == frames
            octets += sum(map(len, frames))
            total += len(frames)
        assert link.recv(timeout=0) == []
        assert link.recv(timeout=0.01) == []
        for _ in range(70):
            there.send(frame(b"counted"))
        left = 70
        while left:
            left -= (count := link.count(50, timeout=5))
            assert count
        assert link.counters.received == total + 70
        assert link.counters.received_bytes == octets + 70 * 21
        assert link.counters.dropped == 0
        assert link.queues[0].receiver.in_order
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="at least 1"):
                link.recv(wrong)


@isolated
def test_any_buffer_can_be_sent() -> None:
    veth()
    with open_near() as link, packet_socket("far") as there:
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


@isolated
def test_twenty_thousand_frames_each_way_between_two_links() -> None:
    veth()
    with open_near(entries=512) as one, open_xdp("far", entries=512) as two:
        frames = some_frames(20_000, seed=9)
        for sender, receiver in ((one, two), (two, one)):
            sent = arrived = 0
            while arrived < len(frames):
                if sent - arrived < 128:
                    sent += sender.send(frames[sent : sent + 100])
                for got in receiver.recv_views(100, timeout=5):
                    assert got == frames[arrived]
                    arrived += 1
            assert sent == arrived == receiver.counters.received
            assert sender.counters.sent_bytes == receiver.counters.received_bytes


@both
@isolated
def test_the_host_behind_the_wire_pings_a_station(mode: str) -> None:
    """It gets no other answer: the host's own stack sees nothing of it."""
    with host("near", "eth0", ["10.9.0.1/24"]) as there:
        ip("address", "add", "10.9.0.2/24", "dev", "near")
        with open_near(mode) as link:
            stack = Stack(link.mac, [IPv4Interface("10.9.0.2/24")], [])

            def serve() -> None:
                with contextlib.suppress(LinkClosedError):
                    while True:
                        for octets in link.recv():
                            link.send(stack.input(octets))

            server = threading.Thread(target=serve)
            server.start()
            ping = ("ping", "-c3", "-i0.01", "-W5", "-s1400", "10.9.0.2")
            assert "3 received" in there.run(*ping)
            found = there.run("ip", "neighbour", "show", "10.9.0.2")
            assert link.mac.hex(":") in found
            link.close()
            server.join(10)
            assert stack.answered["icmp"] == 3


@isolated
def test_another_namespace() -> None:
    with (
        host("near", "eth0", []) as there,
        open_near() as link,
        open_xdp("eth0", netns=there.pid) as far,
    ):
        assert "xdp" in there.run("ip", "link", "show", "eth0")
        for one, two in ((link, far), (far, link)):
            assert one.send([frame(b"across")] * 3) == 3
            assert gather(two, 3) == [frame(b"across")] * 3


@isolated
def test_several_queues_and_those_that_are_left_to_the_host() -> None:
    """veth's queues: what goes out by one comes in by the same."""
    veth(queues=3)
    with (
        open_near(queue=1, queues=2) as link,
        packet_socket("near") as beside,
        contextlib.ExitStack() as opened,
    ):
        ends = [
            opened.enter_context(open_xdp("far", queue=queue, receive=False))
            for queue in range(3)
        ]
        for queue in (1, 2, 1):
            assert ends[queue].send([frame(bytes([queue]))] * 50) == 50
            assert select.select([link.fileno()], [], [], 5)[0]
            assert gather(link, 50) == [frame(bytes([queue]))] * 50
        ends[0].send([frame(b"to the host")])
        assert arrivals(beside, 1) == [frame(b"to the host")]
        assert link.recv(timeout=0.02) == []
        for queue in (1, 2):
            ends[queue].send([frame(bytes([queue]))] * 30)
        both = gather(link, 60)
        assert sorted(both) == [frame(b"\1")] * 30 + [frame(b"\2")] * 30
        assert link.send([frame(b"out")]) == 1
        assert link.counters.sent == 1


@both
@isolated
def test_the_program_goes_with_the_link(mode: str) -> None:
    veth()
    before = open_fds()
    assert program("near") == 0
    for _ in range(5):
        with open_near(mode, entries=64):
            assert program("near") > 0
        assert program("near") == 0
    assert open_fds() == before


@isolated
def test_the_program_goes_with_a_process_that_is_killed() -> None:
    veth()
    code = (
        "import rumphyper, time; link = rumphyper.open_link('xdp:near');"
        "print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        assert program("near") > 0
        child.send_signal(signal.SIGKILL)
    assert until(lambda: program("near") == 0)
    open_near().close()


@isolated
def test_the_descriptor_is_readable_when_a_frame_is_there() -> None:
    veth()
    with open_near() as link, packet_socket("far") as there:
        fd = link.fileno()
        assert select.select([fd], [], [], 0)[0] == []
        for one in (frame(b"x"), frame(b"y")):
            there.send(one)
        assert select.select([fd], [], [], 5)[0] == [fd]
        assert link.recv(1) == [frame(b"x")]
        assert select.select([fd], [], [], 5)[0] == [fd]
        assert link.recv_views(timeout=5) == [frame(b"y")]
        assert select.select([fd], [], [], 0)[0] == []


@both
@isolated
def test_what_is_lost_is_counted_and_the_link_goes_on(mode: str) -> None:
    veth()
    with open_near(mode, entries=64) as link, packet_socket("far") as there:
        (queue,) = link.queues

        def seen() -> int:
            """What the kernel has dealt with: veth itself holds 256 frames only."""
            octets = queue.end.getsockopt(SOL_XDP, STATISTICS, COUNTS.size)
            lost = COUNTS.unpack(octets)[0]
            return link.counters.received + queue.receiver.rx.available() + int(lost)

        for turn in range(3):
            for number in range(300):
                there.send(frame(number.to_bytes(4, "big")))
                if number % 50 == 49:
                    assert until(lambda: seen() == 300 * turn + number + 1)  # noqa: B023
            found = gather(link, 300, timeout=0.1)
            assert found[:64] == [frame(n.to_bytes(4, "big")) for n in range(64)]
            assert link.counters.dropped == 300 * (turn + 1) - link.counters.received


@isolated
def test_close_wakes_a_reader_and_leaves_nothing() -> None:
    veth()
    open_near(entries=64).close()
    before = open_fds()
    raised: list[BaseException] = []

    def read(link: XdpLink) -> None:
        try:
            link.recv()
        except BaseException as error:
            raised.append(error)

    for _ in range(5):
        link = open_near(entries=64)
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


@isolated
def test_views_that_are_kept_do_not_stop_the_close() -> None:
    veth()
    with open_near() as link, packet_socket("far") as there:
        there.send(frame(b"kept"))
        views = link.recv_views(timeout=5)
        octets = bytes(views[0])
    assert octets == frame(b"kept")


@isolated
def test_frames_that_do_not_fit() -> None:
    veth()
    with open_near() as link:
        assert (link.mtu, link.max_frame) == (1500, 1518)
        for bad in (b"x" * 13, frame(b"x" * 1505)):
            with pytest.raises(FrameError, match="frame 2 of the batch"):
                link.send([frame(b""), frame(b""), bad])
        with pytest.raises(FrameError, match="frame 0 of the batch"):
            link.generate(b"x", 1)
        assert link.counters.sent == 0
    for name in ("near", "far"):
        ip("link", "set", name, "mtu", "9000")
    with open_near("generic") as link, packet_socket("far") as there:
        assert link.mtu == 3822  # what a page holds
        biggest = frame(b"z" * 3822)
        assert link.send([biggest] * 3) == 3
        assert arrivals(there, 3) == [biggest] * 3
        for one in (biggest, frame(b"z" * 8000), frame(b"a")):
            there.send(one)
        assert gather(link, 2) == [biggest, frame(b"a")]


@isolated
def test_an_interface_that_goes_down_or_away() -> None:
    veth()
    with open_near() as link, packet_socket("far") as there:
        ip("link", "set", "near", "down")
        with pytest.raises(LinkError, match=r"the interface is down .*near up"):
            link.send([frame(b"x")] * 3)
        with pytest.raises(LinkError, match="the interface is down"):
            link.generate(frame(b"x"), 3)
        assert link.counters.sent == 0
        ip("link", "set", "near", "up")
        assert link.send([frame(b"y")]) == 1  # and nothing of the others
        assert arrivals(there, 1) == [frame(b"y")]
        there.send(frame(b"back"))
        assert link.recv(timeout=5) == [frame(b"back")]
        threading.Timer(0.05, ip, ["link", "delete", "near"]).start()
        with pytest.raises(LinkEndedError, match="was deleted"):
            link.recv()
        with pytest.raises(LinkEndedError, match="was deleted"):
            link.send([frame(b"x")])


@isolated
def test_what_cannot_be_opened_says_why() -> None:
    veth()
    ip("link", "add", "low", "type", "bridge")
    before = open_fds()
    cases: list[tuple[str, dict[str, object], type[RumphyperError], str]] = [
        ("nosuch", {}, HostError, "no such interface .*ip link"),
        ("low", {}, HostError, "is down .*ip link set low up.*up=True"),
        ("a b", {}, LinkstrError, "white space"),
        ("near", {"queue": 7}, HostError, "queue 7 of xdp:near: there is no such"),
        ("near", {"queues": 2}, HostError, "queue 1 of xdp:near: there is no such"),
        ("near", {"queues": 0}, LinkstrError, "queues=0"),
        ("near", {"entries": 100}, LinkstrError, "power of two"),
        ("near", {"mode": "warp"}, LinkstrError, "auto, native or generic"),
        ("near", {"zero_copy": True}, UnsupportedError, "no zero copy .*leave"),
        ("near", {"colour": 1}, LinkstrError, "docs/xdp.md"),
    ]
    for name, options, kind, text in cases:
        with pytest.raises(kind, match=text):
            open_link(f"xdp:{name}", **options)
    ip("link", "set", "low", "up")
    with pytest.raises(UnsupportedError, match="attaches no native XDP"):
        open_link("xdp:low", mode="native")
    with open_link("xdp:low") as link:
        assert isinstance(link, XdpLink)
        assert link.mode == "generic"
    assert program("near") == program("low") == 0
    with open_near(zero_copy=False) as link:
        assert not link.zero_copy
        with pytest.raises(HostError, match="another AF_XDP socket has it"):
            open_near()
        assert link.send([frame(b"still there")]) == 1
    assert open_fds() == before


@isolated
def test_a_program_that_is_there_already() -> None:
    veth(queues=2)
    with open_near():
        here = program("near")
        with pytest.raises(HostError, match="has an XDP program already"):
            open_near(queue=1)
        assert program("near") == here
        with open_near(queue=1, receive=False) as sends:
            assert sends.send([frame(b"x")]) == 1
            with pytest.raises(LinkError, match="only sends"):
                sends.recv(timeout=0)


def test_without_the_right_to_load_a_program_it_sends_only() -> None:
    """As in a user namespace, whose root may do all else."""

    def body() -> None:
        veth()
        before = open_fds()
        with pytest.raises(HostError, match=r"CAP_BPF.*run as root"):
            open_near()
        assert open_fds() == before
        with open_near(receive=False) as link, packet_socket("far") as there:
            assert link.mode == ""
            assert link.send([frame(b"x")] * 40) == 40
            assert arrivals(there, 40) == [frame(b"x")] * 40

    in_namespace(body, user=True)


@isolated
def test_without_any_right_it_names_the_capability() -> None:
    veth()
    os.setuid(65534)
    with pytest.raises(HostError, match="CAP_NET_RAW"):
        open_near()


@isolated
def test_a_kernel_without_bpf() -> None:
    veth()
    refuse(syscall_number("bpf"), errno.ENOSYS)
    with pytest.raises(UnsupportedError, match=r"no bpf\(2\).*CONFIG_BPF_SYSCALL"):
        open_near()


def test_a_kernel_without_af_xdp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family of sockets that no kernel has, as AF_XDP is to some."""
    monkeypatch.setattr(xdp_abi, "AF_XDP", 255)

    @isolated
    def body() -> None:
        veth()
        before = open_fds()
        with pytest.raises(UnsupportedError, match=r"CONFIG_XDP_SOCKETS, or packet:"):
            open_near()
        assert open_fds() == before

    body()
