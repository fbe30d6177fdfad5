"""Faults on purpose, bad wires, recording and replay, with the mini kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.faults import Attachment, Fault, parse_fault
from rumphyper.hypercalls.replay import Recorder, Replay
from rumphyper.kernel.mini import MiniKernel, MiniKernelError
from rumphyper.link.faulty import FaultyLink
from rumphyper.link.faulty_lane import Rates
from tests.kernel.machine import (
    ADDRESSES,
    Machine,
    machine,
    needs_thunks,
    new_resources,
    resources,
)
from tests.kernel.test_mini_boot import ARP_REQUEST
from tests.kernel.test_mini_faults import up_and_down

PAUSE, QUIET = 0.03, 1.0
"""Seconds without a frame after which none is expected any more."""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with machine() as host:
        up_and_down(host)  # what is made once for the process
    before = resources()
    yield
    assert new_resources(before) == set()


def ask(host: Machine, requests: int) -> int:
    """Send ARP requests one by one; how many answers come."""
    answers = 0
    for _ in range(requests):
        host.near.send([ARP_REQUEST])
        answers += len(host.near.recv(timeout=PAUSE))
    while more := host.near.recv(timeout=QUIET):
        answers += len(more)
    return answers


@pytest.mark.parametrize("nth", range(1, 9))
def test_an_allocation_fails(nth: int) -> None:
    """The boot fails with an error that names it, and nothing is left."""
    fault = parse_fault(f"malloc:nth={nth}")
    with machine() as host:
        fault.attach(host.hypervisor)
        with pytest.raises(MiniKernelError, match="rumpuser_malloc") as caught:
            up_and_down(host)
        assert caught.value.netbsd_errno == 12
        assert (fault.calls, fault.injected) == (nth, 1)
        assert host.memory.held == {}
        assert host.problems == []


@needs_thunks
def test_frames_that_are_sent_get_lost() -> None:
    fault = parse_fault("virt_send:drop=30%,seed=5")
    with machine() as host, MiniKernel(host.hypervisor) as kernel:
        kernel.create_interface("virt0", "wire", ADDRESSES)
        fault.attach(host.hypervisor)
        answers = ask(host, 40)
        assert (fault.calls, fault.injected) == (40, 40 - answers)
        assert 2 < fault.injected < 25
        assert host.problems == []


def test_frames_get_lost_both_ways() -> None:
    """A bad wire in front of the kernel's link."""
    with machine() as host:
        virtif = host.hypervisor.families["virtif"]
        assert isinstance(virtif, Virtif)
        far = virtif.links["wire"]
        assert not isinstance(far, str)
        bad = FaultyLink(far, Rates(drop=0.2, seed=1), Rates(drop=0.2, duplicate=0.2))
        virtif.links["wire"] = bad
        with MiniKernel(host.hypervisor) as kernel:
            kernel.create_interface("virt0", "wire", ADDRESSES)
            answers = ask(host, 60)
        came, went = bad.received, bad.sent
        assert came.frames == 60
        assert went.frames == 60 - came.dropped
        assert answers == went.frames - went.dropped + went.duplicated
        assert min(came.dropped, went.dropped, went.duplicated) > 0
        assert host.problems == []


@needs_thunks
def test_a_fast_clock() -> None:
    with machine() as host:
        parse_fault("clock:rate=100").attach(host.hypervisor)
        with MiniKernel(host.hypervisor) as kernel:
            kernel.create_interface("virt0", "wire", ADDRESSES)
            assert ask(host, 3) == 3
            began = kernel.statistics().uptime
            time.sleep(0.1)
            assert kernel.statistics().uptime - began >= 10


def octets(*attachments: Attachment) -> bytes:
    """Random octets of a kernel that is booted with ``attachments``."""
    with machine() as host:
        for one in attachments:
            one.attach(host.hypervisor)
        with MiniKernel(host.hypervisor) as kernel, kernel._entered() as system:
            found = system.random(64)
        for one in attachments:
            one.end()
        assert host.problems == []
        return found


@needs_thunks
def test_random_octets_are_the_same_in_two_runs() -> None:
    def seeded(seed: int) -> Fault:
        return parse_fault(f"getrandom:seed={seed}")

    assert octets(seeded(7)) == octets(seeded(7))
    assert octets(seeded(7)) != octets(seeded(8))
    assert octets() != octets()


@needs_thunks
def test_record_and_replay(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    before = octets(Recorder(path))
    replay = Replay(path, strict=True)
    assert octets(replay) == before
    assert replay.departures == 0
    assert replay.replayed > 3
