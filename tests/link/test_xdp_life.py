"""The XDP link: its program, its descriptors, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from rumphyper.errors import (
    HostError,
    LinkEndedError,
    LinkError,
)
from rumphyper.link.xdp import open_xdp
from tests.link.tap_support import (
    arrivals,
    frame,
    gather,
    ip,
    open_fds,
    packet_socket,
    until,
)
from tests.link.veth_support import host, veth
from tests.link.wire_cases import (
    close_wakes_a_reader,
    kept_views_do_not_stop_the_close,
)
from tests.link.xdp_support import both, open_near, program
from tests.namespace import isolated

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may load an XDP program"
)


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
def test_close_wakes_a_reader_and_leaves_nothing() -> None:
    veth()
    close_wakes_a_reader(lambda: open_near(entries=64), turns=5)


@isolated
def test_views_that_are_kept_do_not_stop_the_close() -> None:
    veth()
    with packet_socket("far") as there:
        kept_views_do_not_stop_the_close(open_near(), there)


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
