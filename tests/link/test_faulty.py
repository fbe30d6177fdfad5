"""Bad wires: what is done to frames, between two links that are good."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from rumphyper.errors import FrameError, LinkClosedError, LinkEndedError, LinkstrError
from rumphyper.link import Link, open_link
from rumphyper.link.faulty import GOOD, FaultyLink
from rumphyper.link.faulty_lane import HOLD, Rates
from rumphyper.link.pcapwrite import PcapWriter
from tests.kernel.wire import End, wire
from tests.link.test_faulty_lane import frames


@attrs.define
class Pair:
    """A bad link and the good end that it is joined to."""

    bad: FaultyLink
    good: End

    def arrivals(self, count: int) -> list[bytes]:
        """What the good end receives, until there are ``count`` or it is quiet."""
        found: list[bytes] = []
        while len(found) < count and (more := self.good.recv(timeout=1)):
            found += more
        return found


@pytest.fixture
def made() -> Iterator[list[Link]]:
    links: list[Link] = []
    yield links
    for link in links:
        link.close()


def pair(made: list[Link], inward: Rates = GOOD, outward: Rates = GOOD) -> Pair:
    one, two = wire()
    bad = FaultyLink(one, inward, outward)
    made += [bad, two]
    return Pair(bad, two)


def test_a_good_wire_changes_nothing(made: list[Link]) -> None:
    both = pair(made)
    assert both.bad.send(frames(100)) == 100
    assert both.arrivals(100) == frames(100)
    both.good.send(frames(100, 100))
    found: list[bytes] = []
    while len(found) < 100:
        found += both.bad.recv(7, timeout=1)
    assert found == frames(100, 100)
    assert both.bad.counters.as_dict() == {
        **{"sent": 100, "sent_bytes": 6000, "received": 100, "received_bytes": 6000},
        "dropped": 0,
    }
    assert (both.bad.mac, both.bad.mtu) == (both.bad.link.mac, both.bad.link.mtu)
    assert both.bad.max_frame == both.bad.link.max_frame
    assert both.bad.frame_fd() is None


def test_directions_are_apart(made: list[Link]) -> None:
    both = pair(made, outward=Rates(drop=1))
    assert both.bad.send(frames(5)) == 5
    both.good.send(frames(5))
    assert both.bad.recv(timeout=1) == frames(5)
    assert both.good.recv(timeout=0) == []
    assert (both.bad.sent.dropped, both.bad.received.dropped) == (5, 0)
    assert both.bad.counters.dropped == 5


def test_what_is_dropped_is_waited_over(made: list[Link]) -> None:
    both = pair(made, inward=Rates(drop=1))
    both.good.send(frames(5))
    began = time.monotonic()
    assert both.bad.recv(timeout=0.05) == []
    assert 0.05 <= time.monotonic() - began < 5
    assert both.bad.received.dropped == 5
    assert both.bad.recv(timeout=0) == []


def test_doubled_frames_respect_the_limit(made: list[Link]) -> None:
    both = pair(made, inward=Rates(duplicate=1))
    both.good.send(frames(3))
    found = [both.bad.recv(4, timeout=1), both.bad.recv(4, timeout=0)]
    assert [len(batch) for batch in found] == [4, 2]
    one, two, three = frames(3)
    assert found[0] + found[1] == [one, one, two, two, three, three]


@pytest.mark.parametrize("rates", [Rates(delay=1, by=0.05), Rates(reorder=1)])
def test_late_frames_come(made: list[Link], rates: Rates) -> None:
    """Both ways, also when nothing comes behind them."""
    least = 0.05 if rates.delay else HOLD
    both = pair(made, rates, rates)
    began = time.monotonic()
    both.good.send(frames(1))
    assert both.bad.recv(timeout=0) == []
    assert both.bad.recv(timeout=5) == frames(1)
    assert time.monotonic() - began >= least
    began = time.monotonic()
    both.bad.send(frames(1))
    assert both.arrivals(1) == frames(1)
    assert time.monotonic() - began >= least


def test_readiness_of_the_descriptor(made: list[Link], tmp_path: Path) -> None:
    """It is readable for what has arrived, what is left over and what is due."""
    bus = f"shmif:{tmp_path / 'bus'}"
    settings = "duplicate=1,delay=1,by=300ms,way=in"
    made += [open_link(f"faulty:{settings}:{bus}"), open_link(bus)]
    bad, good = made
    poll = select.poll()
    poll.register(bad.fileno(), select.POLLIN)
    assert bad.recv(1, timeout=0) == []
    assert poll.poll(0) == []
    good.send(frames(1))
    assert poll.poll(5000)
    assert bad.recv(1, timeout=0) == []  # it is late
    assert poll.poll(0) == []
    assert poll.poll(5000)
    assert bad.recv(1, timeout=0) == frames(1)
    assert poll.poll(0)
    assert bad.recv(1, timeout=0) == frames(1)
    assert poll.poll(0) == []


def test_late_frames_go_out_on_close(made: list[Link]) -> None:
    both = pair(made, outward=Rates(delay=1, by=3600))
    both.bad.send(frames(3))
    assert both.good.recv(timeout=0) == []
    both.bad.close()
    both.bad.close()
    assert both.good.recv(timeout=1) == frames(3)
    assert both.bad.link.closed


def test_close_wakes_a_receiver(made: list[Link]) -> None:
    both = pair(made, inward=Rates(delay=1, by=3600))
    both.good.send(frames(1))
    raised: list[BaseException] = []

    def receive() -> None:
        try:
            both.bad.recv()
        except LinkClosedError as error:
            raised.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.05)
    both.bad.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(raised) == 1
    with pytest.raises(LinkClosedError):
        both.bad.send(frames(1))
    with pytest.raises(LinkClosedError):
        both.bad.recv(timeout=0)


def test_frames_that_cannot_be_sent(made: list[Link]) -> None:
    """They are refused before the dice are thrown."""
    both = pair(made, outward=Rates(drop=1))
    with pytest.raises(FrameError):
        both.bad.send([*frames(2), bytes(1600)])
    assert both.bad.sent.frames == 0


class Narrow(End):
    """A wire's end that takes two frames at a time, when it may."""

    may = 0

    def send(self, batch) -> int:  # type: ignore[no-untyped-def]
        taken = batch[: min(2, self.may)]
        self.may -= len(taken)
        return super().send(taken)


def test_a_queue_that_is_full(made: list[Link]) -> None:
    """What was taken arrives; until then nothing more is taken."""
    one, two = Narrow("narrow", bytes(6)), End("far", bytes(6))
    one.peer, two.peer = two, one
    one.may = 2
    bad = FaultyLink(one)
    made += [bad, two]
    assert bad.send(frames(4)) == 4
    assert bad.send(frames(1)) == 0
    assert two.recv(timeout=1) == frames(2)
    one.may = 10
    assert two.recv(timeout=5) == frames(2, 2)
    end = time.monotonic() + 5
    while bad.send(frames(1)) == 0:
        assert time.monotonic() < end
    assert bad.counters.sent == 5


def test_the_end_of_a_file(made: list[Link], tmp_path: Path) -> None:
    """What is late comes before the end, at once."""
    path = tmp_path / "x.pcap"
    with PcapWriter(str(path)) as writer:
        writer.send(frames(3))
    link = open_link(f"faulty:delay=100%,by=1h:pcap:{path}")
    made.append(link)
    assert link.recv(timeout=10) == frames(3)
    with pytest.raises(LinkEndedError):
        link.recv(timeout=10)


def test_linkstrs(made: list[Link], tmp_path: Path) -> None:
    """Settings, wires before wires, and options for the link behind."""
    path = tmp_path / "bus"
    text = f"faulty:drop=2%,seed=3,way=in:faulty:corrupt=1,way=out:shmif:{path}"
    link = open_link(text, mtu=900)
    made.append(link)
    assert isinstance(link, FaultyLink)
    assert isinstance(link.link, FaultyLink)
    assert link.linkstr == text
    assert link.mtu == 900
    bus = open_link(f"shmif:{path}")
    made.append(bus)
    link.send(frames(4))
    assert link.link.sent.corrupted == 4
    assert link.received.frames == link.sent.dropped == 0


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("drop=1%", "no linkstr behind it"),
        ("drop=1%:", "no linkstr behind it"),
        ("drop=2:tap:x", "drop=2: a probability is"),
        ("drip=1%:tap:x", "'drip=1%' is no setting"),
        ("drop=1%,drop=2%:tap:x", "given twice"),
        ("way=up:tap:x", "in, out or both"),
        ("by=-1s:tap:x", "not negative"),
        ("seed=x:tap:x", "not a number"),
        ("drop=1%:nosuch:x", "unknown scheme"),
    ],
)
def test_linkstrs_that_cannot_be(rest: str, words: str) -> None:
    with pytest.raises(LinkstrError, match=words.replace("(", r"\(")):
        open_link(f"faulty:{rest}")


def test_an_option_that_the_link_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(LinkstrError, match="nonsense"):
        open_link(f"faulty:drop=1%:shmif:{tmp_path}/bus", nonsense=1)
