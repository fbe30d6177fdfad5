"""Frames through the mini kernel: from the wire to the stack and back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rumphyper.kernel.mini import ContextError, MiniKernel, MiniKernelError
from rumphyper.kernel.mini.network import QUEUE
from rumphyper.net import AddressError
from tests.kernel.machine import (
    ADDRESSES,
    Machine,
    booted,
    deliver,
    machine,
    new_resources,
    resources,
)
from tests.kernel.wire import wire

scapy = pytest.importorskip("scapy.all", reason="scapy is not installed")

KERNEL = "b2:a0:00:00:00:01"
NEAR = "b2:a0:00:00:00:02"


def frame(*layers: Any, destination: str = KERNEL) -> bytes:
    packet = scapy.Ether(src=NEAR, dst=destination)
    for layer in layers:
        packet /= layer
    return bytes(packet)


def ask(host: Machine, octets: bytes) -> Any:
    """Send a frame; the answer as scapy reads it."""
    host.near.send([octets])
    answers = host.near.recv(timeout=5)
    assert len(answers) == 1
    return scapy.Ether(answers[0])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def arp(target: str) -> bytes:
    question = scapy.ARP(op=1, hwsrc=NEAR, psrc="10.0.0.1", pdst=target)
    return frame(question, destination="ff:ff:ff:ff:ff:ff")


def ping(payload: bytes = b"mini", destination: str = KERNEL) -> bytes:
    layers = scapy.IP(src="10.0.0.1", dst="10.0.0.2") / scapy.ICMP(id=7, seq=9)
    return frame(layers / payload, destination=destination)


def test_it_answers_arp() -> None:
    with booted() as (_, host):
        answer = ask(host, arp("10.0.0.2"))[scapy.ARP]
        assert (answer.op, answer.hwsrc, answer.psrc) == (2, KERNEL, "10.0.0.2")
        host.near.send([arp("10.0.0.3")])
        assert host.near.recv(timeout=0.05) == []


@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_it_answers_ping(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    with booted() as (_, host):
        answer = ask(host, ping(payload))
        assert answer.src == KERNEL
        assert answer[scapy.ICMP].type == 0
        assert (answer[scapy.ICMP].id, answer[scapy.ICMP].seq) == (7, 9)
        assert bytes(answer[scapy.ICMP].payload)[:size] == payload


def test_it_answers_ipv6() -> None:
    target = "2001:db8::2"
    with booted() as (_, host):
        ask_who = (
            scapy.IPv6(src="2001:db8::1", dst="ff02::1:ff00:2")
            / scapy.ICMPv6ND_NS(tgt=target)
            / scapy.ICMPv6NDOptSrcLLAddr(lladdr=NEAR)
        )
        answer = ask(host, frame(ask_who, destination="33:33:ff:00:00:02"))
        assert answer[scapy.ICMPv6ND_NA].tgt == target
        assert answer[scapy.ICMPv6NDOptDstLLAddr].lladdr == KERNEL
        echo = scapy.ICMPv6EchoRequest(id=3, seq=4, data=b"six")
        answer = ask(host, frame(scapy.IPv6(src="2001:db8::1", dst=target) / echo))
        assert answer[scapy.ICMPv6EchoReply].data == b"six"
        assert answer[scapy.ICMPv6EchoReply].seq == 4


def test_it_answers_udp_echo() -> None:
    question = scapy.IP(src="10.0.0.1", dst="10.0.0.2") / scapy.UDP(sport=99, dport=7)
    with booted() as (_, host):
        answer = ask(host, frame(question / b"again"))
        assert (answer[scapy.UDP].sport, answer[scapy.UDP].dport) == (7, 99)
        assert bytes(answer[scapy.UDP].payload)[:5] == b"again"


def test_it_counts_and_ignores() -> None:
    with booted() as (kernel, host):
        interface = kernel.interfaces()[0]
        foreign = ping(destination="b2:a0:00:00:00:77")
        host.near.send([foreign] * 3)
        until(lambda: interface.counters().ignored == 3)
        octets = ping()
        assert ask(host, octets)
        until(lambda: interface.counters().sent == 1)
        counters = interface.counters()
        assert (counters.received, counters.received_bytes) == (1, len(octets))
        assert (counters.sent, counters.sent_bytes) == (1, len(octets))
        assert counters.dropped == 0
    assert interface.counters() == counters  # also when its memory is freed


def test_a_frame_goes_out_in_two_pieces() -> None:
    with booted() as (_, host):
        assert ask(host, ping())
    (sent,) = host.calls("rumpcomp_virt_send")
    assert sent[-1] == "2"


def test_a_burst_is_answered_in_order() -> None:
    layers = scapy.IP(src="10.0.0.1", dst="10.0.0.2")
    questions = [frame(layers / scapy.ICMP(id=1, seq=seq)) for seq in range(QUEUE)]
    with booted() as (kernel, host):
        host.near.send(questions)
        answers: list[bytes] = []
        while len(answers) < len(questions):
            more = host.near.recv(timeout=5)
            assert more
            answers += more
        numbers = [scapy.Ether(octets)[scapy.ICMP].seq for octets in answers]
        assert numbers == list(range(len(questions)))
        until(lambda: kernel.statistics().packets == 0)


def softc_of(kernel: MiniKernel) -> int:
    return kernel.interfaces()[0].softc


def visit(host: Machine, function: Callable[[], None]) -> None:
    """Run ``function`` on this thread as a component's host thread would."""
    call = host.hypervisor.function
    call("rumpuser_component_kthread")()
    call("rumpuser_component_schedule")(None)
    try:
        function()
    finally:
        call("rumpuser_component_unschedule")()
        call("rumpuser_component_kthread_release")()


@pytest.mark.parametrize("cuts", [(), (14,), (1, 3, 7, 20), (6, 12, 14, 34, 42)])
def test_frames_may_come_in_pieces(cuts: tuple[int, ...]) -> None:
    octets = ping(b"in pieces")
    bounds = [0, *cuts, len(octets)]
    pieces = [octets[a:b] for a, b in itertools.pairwise(bounds)]
    with booted() as (kernel, host):
        softc = softc_of(kernel)
        visit(host, lambda: deliver(softc, *pieces))
        answer = scapy.Ether(host.near.recv(timeout=5)[0])
        assert bytes(answer[scapy.ICMP].payload).startswith(b"in pieces")


@pytest.mark.parametrize(
    ("pieces", "what"),
    [
        ((b"x" * 2000, b"x" * 49), "frame of 2049 octets: does not fit"),
        ((None,), "nowhere"),
        ((b"x",) * 65, "a frame of 65 pieces"),
        ((), "a frame of 0 pieces"),
    ],
)
def test_what_is_no_frame_is_reported(pieces: tuple[bytes, ...], what: str) -> None:
    with machine() as host:
        kernel = MiniKernel(host.hypervisor).boot()
        kernel.create_interface("virt0", "wire", ADDRESSES)
        softc = softc_of(kernel)
        visit(host, lambda: deliver(softc, *pieces))
        with pytest.raises(ContextError, match=what):
            kernel.shutdown()
        assert host.memory.held == {}


def test_short_frames_are_ignored() -> None:
    with booted() as (kernel, host):
        softc = softc_of(kernel)
        for size in (0, 1, 13):
            visit(host, partial(deliver, softc, b"\xff" * size))
        assert kernel.interfaces()[0].counters().ignored == 3


def test_a_full_queue_drops() -> None:
    """More frames than the queue takes while the network thread cannot run."""
    with booted() as (kernel, host):
        softc, interface = softc_of(kernel), kernel.interfaces()[0]

        def flood() -> None:  # with the virtual CPU, so nobody else runs
            for _ in range(QUEUE + 5):
                deliver(softc, ping())

        visit(host, flood)
        until(lambda: interface.counters().sent == QUEUE)
        counters = interface.counters()
        assert (counters.received, counters.dropped) == (QUEUE, 5)
        until(lambda: kernel.statistics().packets == 0)
        assert kernel.statistics().exhausted == 0


def test_interfaces_come_and_go() -> None:
    with machine() as host, MiniKernel(host.hypervisor) as kernel:
        virtif: Any = host.hypervisor.families["virtif"]
        held = dict(host.memory.held)
        before = resources()
        for number in range(5):
            far, near = wire()
            virtif.links["again"] = far
            with near:
                kernel.create_interface(f"virt{number}", "again", ADDRESSES)
                near.send([ping()])
                assert near.recv(timeout=5)
                assert [i.name for i in kernel.interfaces()] == [f"virt{number}"]
                kernel.destroy_interface(f"virt{number}")
            assert far.closed
        after = dict(host.memory.held)
        assert new_resources(before) == set()
        assert len(after) <= len(held) + 1  # one slab of packets more
        assert host.problems == []


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("eth0", "wire"), MiniKernelError, "virt interfaces only"),
        (("virt", "wire"), MiniKernelError, "virt interfaces only"),
        (("virt01", "wire"), MiniKernelError, "virt interfaces only"),
        (("virt1", ""), MiniKernelError, "linkstr ''"),
        (("virt1", "wi\0re"), MiniKernelError, "null character"),
        (("virt1", "wire", ["10.0.0.300"]), MiniKernelError, "10.0.0.300"),
        (("virt1", "nothing:x"), MiniKernelError, "rumpcomp_virt_create"),
        (("virt1", "7"), MiniKernelError, "ENXIO"),
        (("virt0", "wire"), MiniKernelError, "exists already"),
    ],
)
def test_interfaces_that_cannot_be(
    arguments: Any, error: type[Exception], text: str
) -> None:
    with machine() as host, MiniKernel(host.hypervisor) as kernel:
        kernel.create_interface("virt0", "wire", ADDRESSES)
        held, before = dict(host.memory.held), resources()
        with pytest.raises(error, match=text):
            kernel.create_interface(*arguments)
        assert host.memory.held == held
        assert new_resources(before) == set()


def test_an_address_that_no_station_has_closes_the_link_again() -> None:
    with machine() as host, MiniKernel(host.hypervisor) as kernel:
        with pytest.raises(AddressError, match=r"224\.0\.0\.1"):
            kernel.create_interface("virt0", "wire", ["224.0.0.1/4"])
        assert host.trace.counts()["rumpcomp_virt_destroy"] == 1
        assert kernel.interfaces() == []


def test_frames_for_an_interface_that_is_gone() -> None:
    with booted() as (kernel, host):
        softc = softc_of(kernel)
        kernel.destroy_interface("virt0")
        visit(host, lambda: deliver(softc, ping()))
        visit(host, lambda: deliver(0, ping()))


def test_frames_after_the_end() -> None:
    """A late thread of the host calls the symbol of a kernel that is down."""
    with booted() as (kernel, _):
        softc = softc_of(kernel)
    deliver(softc, ping())
