"""Links whose queue is full: frames are dropped, or their senders wait."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import Buffer

from rumphyper.errors import LinkEndedError
from rumphyper.link import Link, open_link
from rumphyper.net.ethernet import Ethernet
from tests.bridge.kit import ALL, bridged, frames
from tests.link.tap_support import gather, until


class Narrow(Link):
    """A wire that takes few frames at a time: for a queue that is full."""

    def __init__(self, wire: Link) -> None:
        super().__init__(f"narrow:{wire.linkstr}", wire.mac, wire.mtu)
        self.wire = wire
        self.room = 0

    def send(self, frames: Sequence[Buffer]) -> int:
        if self.room < 0:
            raise LinkEndedError(self.linkstr, "cut through")
        taken = self.wire.send(frames[: self.room]) if self.room else 0
        self.room -= taken
        return taken

    def recv(self, limit: int = 64, timeout: float | None = None) -> list[bytes]:
        return self.wire.recv(limit, timeout)

    def fileno(self) -> int:
        return self.wire.fileno()

    def _wake(self) -> None:
        self.wire.close()

    def _release(self) -> None:
        pass


def narrow(linkstr: str) -> Link:
    link = open_link(linkstr)
    return Narrow(link) if linkstr.endswith("/b") else link


def test_a_full_link_drops_and_counts(tmp_path: Path) -> None:
    buses = [f"shmif:{tmp_path}/{name}" for name in "ab"]
    with bridged(*buses, opener=narrow, loop_check=0) as (bridge, _):
        end: Any = bridge.ports[1].link
        end.room = 30
        with open_link(buses[0]) as left, open_link(buses[1]) as right:
            sent = frames(100)
            left.send(sent)
            assert until(lambda: bridge.ports[1].losses.full == 70)
            assert gather(right, 99, 0.05) == sent[:30]


def test_a_full_link_makes_its_senders_wait_and_nobody_else(tmp_path: Path) -> None:
    buses = [f"shmif:{tmp_path}/{name}" for name in "abcd"]
    with bridged(*buses, opener=narrow, full="wait", loop_check=0) as (bridge, _):
        end: Any = bridge.ports[1].link
        links = [open_link(bus) for bus in buses]
        hello = Ethernet(ALL, b"\2\0\0\0\0\4", 0x88B5, b"hello".ljust(46)).build()
        end.room = 1
        links[3].send([hello])
        for link in links[:3]:
            assert gather(link, 1) == [hello]
        sent = frames(2000, size=40)
        links[0].send(sent)
        assert until(lambda: bridge.ports[0].owed > 0)
        answer = Ethernet(
            hello[6:12], b"\2\0\0\0\0\3", 0x88B5, b"past".ljust(46)
        ).build()
        links[2].send([answer])  # from c to d: b is not asked
        past = [f for f in gather(links[3], 999, 0.3) if b"past" in f]
        assert past == [answer]
        for _ in range(20):
            end.room = 100
            assert until(lambda: end.room == 0)
        assert gather(links[1], 9999, 0.1) == sent
        assert bridge.ports[1].losses.full == 0
        assert 1000 < bridge.ports[1].waited <= 2001
        assert until(lambda: bridge.ports[0].owed == 0)
        links[0].send(sent[:10])
        assert until(lambda: bridge.ports[0].owed == 1)
        end.room = -1  # and now it dies, with frames waiting for it
        assert until(lambda: bridge.ports[0].owed == 0)
        assert bridge.ports[1].losses.dead == 10
        for link in links:
            link.close()
