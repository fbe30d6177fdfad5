"""The TAP link: how it ends, and what it leaves behind."""

from __future__ import annotations

import threading
import time

import pytest

from rumphyper.errors import (
    LinkClosedError,
    LinkEndedError,
    LinkError,
)
from rumphyper.host.netif import Netif
from rumphyper.link.tap import TapLink
from tests.link.tap_support import (
    both,
    frame,
    interfaces,
    ip,
    open_fds,
    open_io,
    packet_socket,
)
from tests.namespace import isolated


@both
@isolated
def test_close_wakes_a_reader(io: str) -> None:
    raised: list[BaseException] = []

    def read(link: TapLink, timeout: float | None) -> None:
        try:
            link.recv(timeout=timeout)
        except BaseException as error:
            raised.append(error)

    for timeout in (None, 60.0):
        link = open_io("tap0", io)
        reader = threading.Thread(target=read, args=[link, timeout])
        reader.start()
        time.sleep(0.05)
        start = time.monotonic()
        link.close()
        assert "tap0" not in interfaces()  # gone when close returns
        reader.join(5)
        assert not reader.is_alive()
        assert time.monotonic() - start < 1
        assert isinstance(raised.pop(), LinkClosedError)
        link.close()
        for call in (link.recv, link.fileno, link.frame_fd):
            with pytest.raises(LinkClosedError):
                call()
        with pytest.raises(LinkClosedError):
            link.send([frame(b"")])


@both
@isolated
def test_close_amid_traffic_in_both_directions(io: str) -> None:
    for turn in range(10):
        link = open_io("tap0", io)
        outcomes: list[str] = []

        def work(
            way: str, link: TapLink = link, outcomes: list[str] = outcomes
        ) -> None:
            try:
                while True:
                    if way == "send":
                        link.send([frame(b"x" * 100)] * 30)
                    else:
                        link.recv_views(timeout=1)
            except LinkClosedError:
                outcomes.append(way)

        workers = [
            threading.Thread(target=work, args=[way]) for way in ("send", "recv")
        ]
        with packet_socket("tap0") as host:
            for worker in workers:
                worker.start()
            for _ in range(100 + turn * 20):
                host.send(frame(b"y"))
            link.close()
        for worker in workers:
            worker.join(5)
        assert sorted(outcomes) == ["recv", "send"]


@both
@isolated
def test_two_hundred_links_one_after_the_other_leave_nothing_behind(io: str) -> None:
    open_io("tap0", io).close()
    before = open_fds()
    threads = threading.active_count()
    for turn in range(200):
        with open_io("tap0", io) as link:
            assert link.name == "tap0"
            if turn % 10 == 0:
                link.send([frame(b"x")] * 20)
                link.recv(timeout=0)
    assert open_fds() == before
    assert threading.active_count() == threads
    assert interfaces() == ["lo"]


@both
@isolated
def test_a_device_that_is_deleted_ends_the_link(io: str) -> None:
    with open_io("tap0", io) as link:
        threading.Timer(0.05, ip, ["link", "delete", "tap0"]).start()
        with pytest.raises(LinkEndedError, match="deleted"):
            link.recv(timeout=10)
        for count in (1, 30):
            with pytest.raises(LinkEndedError, match="deleted"):
                link.send([frame(b"x")] * count)
        assert list(link) == []


@both
@isolated
def test_an_interface_that_is_down_refuses_frames_and_takes_them_later(io: str) -> None:
    with open_io("tap0", io, up=False) as link, Netif() as netif:
        assert not netif.is_up("tap0")
        for count in (1, 30):
            with pytest.raises(LinkError, match=r"down .*up=True"):
                link.send([frame(b"x")] * count)
        assert link.counters.sent == 0
        netif.set_up("tap0")
        assert link.send([frame(b"x")] * 30) == 30
        assert link.counters.sent == 30
