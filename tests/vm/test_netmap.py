"""netmap links against a real netmap module: frames cross byte by byte.

The module is the file that RUMPHYPER_NETMAP_MODULE names, built for the guest's
Debian kernel.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

import pytest

from rumphyper.errors import HostError, LinkError
from rumphyper.link import open_link
from rumphyper.link.netmap_forward import Forwarder, forward
from tests.hypercalls.support import run_python
from tests.vm.netmap_support import (
    broadcast,
    exchange,
    huge_pages,
    mark_for_guest,
    mixed,
    numbers_of,
    opened,
    patient,
    veth,
)

pytestmark = mark_for_guest()

COUNT = 20_000


# -- byte-identical exchanges  --------------------------------------------------


def test_frames_of_mixed_sizes_cross_a_vale_switch_byte_by_byte() -> None:
    frames = mixed(COUNT)
    with opened("vale0:a") as a, opened("vale0:b") as b:
        assert exchange(a, b, frames) == frames
        assert a.counters.sent == b.counters.received == COUNT
        assert exchange(b, a, frames[:500]) == frames[:500]


def test_frames_of_mixed_sizes_cross_a_pipe_byte_by_byte() -> None:
    frames = mixed(COUNT)
    with opened("netmap:p{7") as a, opened("netmap:p}7") as b:
        assert a.port.region is b.port.region
        assert exchange(a, b, frames) == frames
        assert exchange(b, a, frames[:500]) == frames[:500]


@patient(120)
def test_frames_of_mixed_sizes_cross_an_emulated_veth_byte_by_byte() -> None:
    frames = mixed(COUNT)
    with veth(), opened("netmap:veth0") as a, opened("netmap:veth1") as b:
        assert a.port.region is b.port.region
        assert exchange(a, b, frames, pace=64) == frames


@patient(120)
def test_host_rings_carry_to_and_from_the_hosts_stack() -> None:
    frames = mixed(COUNT, most=1400)
    with (
        veth(),
        # Without a NIC ring of it the kernel does not divert the host's frames.
        opened("netmap:veth0") as nic,
        opened("netmap:veth0^") as host,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300) as watcher,
    ):
        assert nic.mac != host.mac
        watcher.bind(("veth0", 0x0003))
        watcher.settimeout(5)
        got = []
        for frame in frames[:2000]:  # to the stack, which shows it to the socket
            assert host.send([frame]) == 1
            got.append(watcher.recv(4096))
        assert got == frames[:2000]
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("veth0", 0))
            arrived: list[bytes] = []
            for at in range(0, COUNT, 100):
                for frame in frames[at : at + 100]:
                    sender.send(frame)
                while len(arrived) < at + 100:
                    some = host.recv(200, timeout=5)
                    assert some
                    arrived += some
        assert arrived == frames


def test_frames_longer_than_a_buffer_cross_a_switch_and_a_pipe() -> None:
    frames = [broadcast(bytes([n]) * (size - 14)) for n, size in enumerate(
        (60, 2048, 2049, 4097, 9000, 14, 9000)
    )]  # fmt: skip
    for near, far in (("vale0:a", "vale0:b"), ("netmap:p{1", "netmap:p}1")):
        with opened(near, mtu=9000) as a, opened(far, mtu=9000) as b:
            assert exchange(a, b, frames) == frames
            a.send(frames)
            lent: list[bytes] = []
            while len(lent) < len(frames):
                lent += [bytes(view) for view in b.recv_views(timeout=5)]
            assert lent == frames


def test_virtio_net_headers_are_put_on_and_taken_off() -> None:
    frames = mixed(300)
    for size in (10, 12):
        with (
            opened("vale0:a", vnet_header=size) as a,
            opened("vale0:b", vnet_header=size) as b,
            opened("vale0:c") as plain,
        ):
            assert exchange(a, b, frames) == frames
            got: list[bytes] = []
            while len(got) < len(frames):  # the switch takes the headers off
                some = plain.recv(timeout=5)
                assert some
                got += some
            assert got == frames
    with opened("vale0:a", vnet_header=12), pytest.raises(HostError):
        open_link("vale0:a")


def test_external_memory_and_a_region_that_two_ports_share() -> None:
    frames = mixed(2000)
    with huge_pages(16 << 20) as memory:
        with opened("vale0:a", memory=memory) as a:
            number = a.port.region.number
            assert a.port.memory is memory
            with opened(f"vale0:b@{number}") as b:
                assert b.port.memory is memory
                assert exchange(a, b, frames) == frames
        with opened("vale0:a") as other:
            assert other.port.memory is not memory


def test_extra_buffers_are_there_and_taken_back() -> None:
    for _ in range(3):
        with opened("netmap:p{1", extra_buffers=40) as link:
            face = link.port.face
            extra = face.extra_buffers()
            assert len(set(extra)) == 40
            assert not set(extra) & set(numbers_of(link))
            before = face.exchange(link.tx[0], extra[0])
            face.set_extra_buffers([before, *extra[1:]])


def test_csb_mode_moves_frames_without_a_call() -> None:
    frames = mixed(5000)
    with opened("vale0:a", csb=True) as a, opened("vale0:b", csb=True) as b:
        assert exchange(a, b, frames, pace=64) == frames
        started = time.monotonic()
        assert b.recv(timeout=0.2) == []
        assert time.monotonic() - started >= 0.19
        threading.Timer(0.2, a.send, [frames[:3]]).start()
        got = b.recv(timeout=10)
        assert got == frames[: len(got)]
        assert got


def test_monitors_see_what_a_port_sends_and_receives() -> None:
    frames = mixed(400)
    with opened("netmap:p{1") as a, opened("netmap:p}1") as b:
        for flags in ("t", "rt", "zrt"):
            with opened(f"netmap:p{{1/{flags}") as monitor:
                assert exchange(a, b, frames[:100]) == frames[:100]
                seen: list[bytes] = []
                while len(seen) < 100:
                    some = monitor.recv(timeout=5)
                    assert some
                    seen += some
                assert seen == frames[:100]
                with pytest.raises(LinkError, match="only receives"):
                    monitor.send(frames[:1])


# -- forwarding  ----------------------------------------------------------------


def test_forwarding_moves_buffers_and_doubles_none() -> None:
    frames = mixed(COUNT)
    with (
        opened("netmap:p{1") as a,
        opened("netmap:p}1") as b,
        opened("netmap:p{2") as c,
        opened("netmap:p}2") as d,
    ):
        forwarder = Forwarder(b, c)
        got: list[bytes] = []
        sent = 0
        while len(got) < COUNT:
            sent += a.send(frames[sent : sent + 300])
            forwarder.move()
            got += d.recv(2048, timeout=0)
        assert got == frames
        assert forward(b, c) == 0
        # Both ends of a pipe have the same buffers.
        numbers = numbers_of(a) + numbers_of(d)
        assert len(set(numbers)) == len(numbers)


def test_forwarding_serves_all_rings_of_both_links() -> None:
    there = bytes.fromhex("02000000000b")  # known to the switch: by ring, not to all
    frames = [there + frame[6:] for frame in mixed(2000)]
    with (
        opened("vale0:a", rings=2, slots=64) as a,
        opened("vale0:b", rings=2) as b,
        opened(f"vale1:c@{b.port.region.number}", rings=2, slots=64) as c,
        opened("vale1:d") as d,
    ):
        assert len(a.tx) == len(b.rx) == len(c.tx) == 2
        assert b.send([b"\xff" * 6 + there + bytes(48)]) == 1
        assert len(a.recv(timeout=5)) == 1
        forwarder = Forwarder(b, c)
        got: list[bytes] = []
        used: set[str] = set()
        for at in range(0, len(frames), 100):
            batch = frames[at : at + 100]
            assert a.send(batch) == 100  # more than one ring takes
            moved = 0
            while moved < 100:
                moved += forwarder.move()
            while len(got) < at + 100:
                some = d.recv(1024, timeout=5)
                assert some
                got += some
            used |= {ring.name for ring in (*a.tx, *b.rx, *c.tx) if ring.cur}
        assert len(used) == 6
        assert sorted(got) == sorted(frames)
        numbers = numbers_of(b) + numbers_of(c)
        assert len(set(numbers)) == len(numbers)


def test_forwarding_between_regions_is_refused() -> None:
    with (
        opened("netmap:p{1") as a,
        huge_pages(16 << 20) as memory,
        opened("vale5:x", memory=memory) as b,
        pytest.raises(LinkError, match="different memory regions"),
    ):
        forward(a, b)


# -- the page  ---------------------------------------------------------------------


def test_the_example_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/netmap.md").read_text()
    example = re.search(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert example is not None
    done = run_python(example[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "19\n", "")
