"""Opening and closing of netmap ports, what goes wrong, and control of switches."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading

import pytest

from rumphyper.errors import CorruptError, HostError, LinkClosedError, LinkError
from rumphyper.link import open_link, vale
from tests.vm.netmap_support import (
    broadcast,
    exchange,
    mark_for_guest,
    mixed,
    opened,
    patient,
    run,
    veth,
)

pytestmark = mark_for_guest()


# -- opening and closing  -------------------------------------------------------


@patient(240)
def test_two_hundred_opens_and_closes_leave_no_port_stuck() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with veth(), opened("netmap:keep{1"):
        for number in range(200):
            linkstr = ("vale0:a/x", "netmap:p{1/x", "netmap:veth0/x")[number % 3]
            with opened(linkstr) as link:
                if link.tx and number % 3 == 1:
                    link.send([broadcast(b"x" * 50)])
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(vale.ports()) == []


def test_a_port_is_free_at_once_though_views_are_still_held() -> None:
    with opened("vale0:b") as b:
        a = opened("vale0:a/x")
        b.send(mixed(3))
        views = a.recv_views(timeout=5)
        assert len(views) == 3
        a.close()
        with opened("vale0:a/x"):
            pass


def test_closing_wakes_a_receiver() -> None:
    with opened("vale0:a") as link:
        threading.Timer(0.2, link.close).start()
        with pytest.raises(LinkClosedError):
            link.recv(timeout=20)


def test_a_pipe_whose_far_end_closes_fills_up_and_goes_on_when_it_is_back() -> None:
    frames = mixed(3000)
    with opened("netmap:p{1") as a:
        with opened("netmap:p}1") as b:
            assert exchange(a, b, frames[:10]) == frames[:10]
        taken = a.send(frames)
        assert 0 < taken < 1024
        assert a.send(frames) == 0
        with opened("netmap:p}1") as b:
            got: list[bytes] = []
            while len(got) < taken:
                some = b.recv(timeout=5)
                assert some
                got += some
            assert got == frames[:taken]
            assert exchange(a, b, frames[:10]) == frames[:10]


# -- what goes wrong  -----------------------------------------------------------


def test_errors_name_the_cause_and_the_remedy() -> None:
    with pytest.raises(HostError, match="no interface of that name"):
        open_link("netmap:nosuch0")
    with opened("vale0:a/x"), pytest.raises(HostError, match="busy"):
        open_link("vale0:a/x")
    with pytest.raises(HostError, match="region that is not"):
        open_link("vale0:a@4242")
    with (
        veth(up=False),
        pytest.raises(HostError, match=r"is down.*ip link set veth0 up"),
    ):
        open_link("netmap:veth0")
    # None of them has left anything behind.
    assert list(vale.ports()) == []


def test_a_region_that_is_exhausted_names_the_parameter() -> None:
    def open_many(stack: contextlib.ExitStack, memory: int) -> None:
        for number in range(250):
            stack.enter_context(opened(f"vale0:p{number}@{memory}"))

    with contextlib.ExitStack() as stack:
        first = stack.enter_context(opened("vale0:first"))
        with pytest.raises(HostError, match=r"exhausted.*parameters/priv_") as caught:
            open_many(stack, first.port.region.number)
        assert caught.value.errno == errno.ENOMEM
    with opened("vale0:p0/x"):
        pass
    with mmap.mmap(-1, 1 << 20) as small, pytest.raises(HostError, match="huge pages"):
        opened("vale0:a", memory=small)


def test_a_ring_that_the_kernel_has_reset_is_reported() -> None:
    with opened("vale0:a") as a:
        ring = a.tx[0]
        at = ring.slots_at + 16 * ring.cur
        a.port.memory[at + 4 : at + 6] = b"\xff\xff"
        ring.memory[ring.slots_at - 256 + 20 : ring.slots_at - 256 + 28] = b"\xff" * 8
        with pytest.raises(CorruptError, match="left at 0 and 0"):
            a.send(mixed(1))
        with pytest.raises((CorruptError, LinkError)):
            a.recv(timeout=1)


# -- control  -------------------------------------------------------------------


def test_vale_ports_are_created_attached_listed_and_removed() -> None:
    sizes = vale.create("v0", sizes=vale.Sizes(512, 256, 1, 1))
    try:
        assert (sizes.tx_slots, sizes.rx_slots) == (512, 256)
        pools = vale.pools("v0")
        assert pools.buffers.object_size == 2048
        assert pools.buffers.offset > pools.rings.offset
        assert vale.info("v0").tx_slots == 512
        index = vale.attach("vale3:v0")
        try:
            (port,) = list(vale.ports())
            assert (port.name, port.port) == ("vale3:v0", index)
            assert vale.find("vale3:v0") == port
            for call in (vale.info, vale.pools):
                for asked in ("v0", "vale3:v0"):
                    with pytest.raises(HostError, match="forget its name there"):
                        call(asked)
            with pytest.raises(HostError, match="at no switch"):
                vale.find("vale3:other")
            with pytest.raises(HostError, match="in use"):
                vale.remove("v0")
        finally:
            assert vale.detach("vale3:v0") == index
        assert list(vale.ports()) == []
    finally:
        vale.remove("v0")
    for wrong, name in (
        (vale.detach, "vale3:v0"),
        (vale.remove, "v0"),
        (vale.info, "nosuch0"),
        (vale.attach, "vale3:nosuch0"),
    ):
        with pytest.raises(HostError):
            wrong(name)


def test_an_interface_joins_a_switch_with_the_hosts_stack() -> None:
    frames = mixed(300)
    with veth():
        vale.attach("vale3:veth0", host=True)
        try:
            assert {port.name for port in vale.ports()} == {
                "vale3:veth0",
                "vale3:veth0^",
            }
            assert vale.find("vale3:veth0").switch == 0
            with opened("netmap:veth1") as wire, opened("vale3:x") as port:
                assert exchange(wire, port, frames, pace=32) == frames
                assert exchange(port, wire, frames, pace=32) == frames
        finally:
            vale.detach("vale3:veth0")
            with contextlib.suppress(HostError):
                vale.detach("vale3:veth0^")
        assert list(vale.ports()) == []


def test_the_verb_vale_does_the_same() -> None:
    assert "v1" in run("vale", "-n", "v1", "-C", "512,256").stdout
    try:
        assert "object_size 2048" in run("vale", "-G", "v1").stdout
        assert '"tx_slots": 512' in run("vale", "-g", "v1", "--json").stdout
        assert run("vale", "-a", "vale4:v1").returncode == 0
        assert run("vale").stdout == "vale4:v1 bridge_idx 0 port_idx 0\n"
        assert run("vale", "-d", "vale4:v1").returncode == 0
        assert run("vale").stdout == ""
    finally:
        assert run("vale", "-r", "v1").returncode == 0
    failed = run("vale", "-r", "v1")
    assert failed.returncode == 2
    assert "v1" in failed.stderr
