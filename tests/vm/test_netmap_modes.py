"""The less trodden ways of netmap links: busy, legacy, indirect, polled by threads."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import pytest

from rumphyper.errors import HostError, LinkClosedError, UnsupportedError
from rumphyper.host.libc import address
from rumphyper.link import netmap_port, netmap_region, vale
from rumphyper.ring.netmap_frames import point
from tests.vm.netmap_support import (
    broadcast,
    exchange,
    mark_for_guest,
    mixed,
    numbers_of,
    opened,
    patient,
    run,
    veth,
)

pytestmark = mark_for_guest()


# -- busy  ----------------------------------------------------------------------


@patient(120)
def test_a_busy_link_receives_all_and_keeps_its_timeout() -> None:
    frames = mixed(2000)
    for near, far in (("vale0:a", "vale0:b"), ("netmap:p{1", "netmap:p}1")):
        with opened(near, busy=True) as a, opened(far, busy=True) as b:
            assert exchange(a, b, frames) == frames
            assert exchange(b, a, frames[:500]) == frames[:500]
            started = time.monotonic()
            assert b.recv(timeout=0.2) == []
            assert 0.19 <= time.monotonic() - started < 5
            threading.Timer(0.2, a.send, [frames[:3]]).start()
            assert b.recv(timeout=20) == frames[:3]
    with veth(), opened("netmap:veth0") as a, opened("netmap:veth1", busy=True) as b:
        assert exchange(a, b, frames[:1000], pace=64) == frames[:1000]


def test_closing_ends_a_busy_receiver() -> None:
    with opened("vale0:a", busy=True) as link:
        threading.Timer(0.2, link.close).start()
        with pytest.raises(LinkClosedError):
            link.recv(timeout=20)


# -- legacy  --------------------------------------------------------------------


@pytest.fixture
def old_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that answers to NIOCREGIF only: this one still does to both."""

    def unknown(*_: object, **__: object) -> NoReturn:
        raise HostError("ioctl", "no such call", "", errno.ENOTTY)

    monkeypatch.setattr(netmap_port, "control", unknown)
    monkeypatch.setattr(netmap_region, "control", unknown)
    monkeypatch.setattr(vale, "control", unknown)


@pytest.mark.usefixtures("old_module")
@patient(120)
def test_an_old_module_is_asked_by_its_own_request() -> None:
    frames = mixed(2000)
    for near, far in (("vale0:a", "vale0:b"), ("netmap:p{7", "netmap:p}7")):
        with opened(near) as a, opened(far, slots=256) as b:
            assert exchange(a, b, frames, pace=64) == frames
            assert exchange(b, a, frames[:500], pace=64) == frames[:500]
    with opened("vale0:a/x", extra_buffers=10, slots=512) as link:
        assert link.tx[0].slots == 512
        extra = link.port.face.extra_buffers()
        assert len(set(extra)) == 10
        assert not set(extra) & set(numbers_of(link))
        with pytest.raises(HostError, match="busy"):
            opened("vale0:a")
    with veth(), opened("netmap:veth0-0") as a, opened("netmap:veth1*") as b:
        assert (len(a.tx), len(a.rx), len(b.rx)) == (1, 1, 2)
        assert exchange(a, b, frames[:500], pace=64) == frames[:500]


@pytest.mark.usefixtures("old_module")
def test_what_an_old_module_has_no_way_to_say_is_refused() -> None:
    with pytest.raises(HostError, match="up to 15 octets"):
        opened("vale0:much_too_long")
    with pytest.raises(HostError, match="numbers below 4095 for pipes"):
        opened("netmap:p{seven")
    with pytest.raises(HostError, match="no interface of that name"):
        opened("netmap:nosuch0")
    with pytest.raises(UnsupportedError, match="older than API 14"):
        opened("vale0:a", vnet_header=12)
    with pytest.raises(HostError, match="older than API 14"):
        list(vale.ports())
    with opened("vale0:a/x"):  # none of them has left anything behind
        pass


# -- indirect  ------------------------------------------------------------------


def test_indirect_slots_send_octets_from_outside_of_the_region() -> None:
    frames = [broadcast(bytes([n]) * n) for n in range(1, 200)]
    heap = bytearray(b"".join(frames))
    begin = address(heap)
    places = []
    for frame in frames:
        places.append((begin, len(frame)))
        begin += len(frame)
    with opened("vale0:a", slots=64) as a, opened("vale0:b") as b:
        ring = a.tx[0]
        before = numbers_of(a)
        got: list[bytes] = []
        sent = 0
        while sent < len(places):  # round the ring more than once
            count = point(ring, places[sent : sent + 40])
            assert count
            sent += count
            a.flush()
            while len(got) < sent:
                some = b.recv(timeout=5)
                assert some
                got += some
        assert got == frames
        assert numbers_of(a) == before
        more = mixed(200)  # the slots are good for copies again
        assert exchange(a, b, more, pace=40) == more


def test_an_indirect_slot_that_names_no_memory_harms_nobody() -> None:
    frames = mixed(20)
    with opened("vale0:a") as a, opened("vale0:b") as b:
        assert point(a.tx[0], [(0x10, 60)]) == 1
        a.flush()
        assert [frame for frame in b.recv(timeout=0.2) if frame in frames] == []
        assert exchange(a, b, frames) == frames


# -- polled  --------------------------------------------------------------------


@contextlib.contextmanager
def attached() -> Iterator[None]:
    """veth0 at switch vale3."""
    with veth():
        vale.attach("vale3:veth0")
        try:
            yield
        finally:
            vale.detach("vale3:veth0")


@pytest.mark.parametrize("cpus", [0, 1])
@patient(120)
def test_an_interface_at_a_switch_is_polled_by_a_thread_of_the_kernel(
    cpus: int,
) -> None:
    frames = mixed(300)
    with attached():
        vale.start_polling("vale3:veth0", cpu=0, cpus=cpus)
        try:
            with opened("netmap:veth1") as wire, opened("vale3:x") as port:
                assert exchange(wire, port, frames, pace=32) == frames
                assert exchange(port, wire, frames, pace=32) == frames
            with pytest.raises(HostError, match="in use"):
                vale.detach("vale3:veth0")
            with pytest.raises(HostError, match="poll it already"):
                vale.start_polling("vale3:veth0")
        finally:
            vale.stop_polling("vale3:veth0")
        with pytest.raises(HostError, match="no thread polls it"):
            vale.stop_polling("vale3:veth0")
        with opened("netmap:veth1") as wire, opened("vale3:x") as port:
            assert exchange(wire, port, frames, pace=32) == frames


def test_polling_that_cannot_be_is_refused() -> None:
    with attached():
        for cpu, cpus in ((0, 99), (1 << 20, 0), (-1, 1)):
            with pytest.raises(HostError, match="there are 0 to"):
                vale.start_polling("vale3:veth0", cpu=cpu, cpus=cpus)
        # As many threads as processors, and more than rings.
        with pytest.raises(HostError, match="refuses"):
            vale.start_polling("vale3:veth0", cpu=0, cpus=os.cpu_count() or 1)
    with opened("vale3:x"), pytest.raises(HostError, match="no interface that is att"):
        vale.start_polling("vale3:x")


@patient(120)
def test_the_verb_vale_starts_and_ends_polling() -> None:
    with attached():
        assert run("vale", "-p", "vale3:veth0", "-C", "0,1").returncode == 0
        assert run("vale", "-d", "vale3:veth0").returncode == 2
        assert run("vale", "-P", "vale3:veth0").returncode == 0
