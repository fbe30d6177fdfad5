"""Links that are closed at a bad moment: by a signal's handler, during a send."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rumphyper.errors import LinkClosedError
from rumphyper.link import Link, open_link
from rumphyper.link.pcapwrite import PcapWriter

FRAME = bytes(60)
Alarm = Callable[[Callable[[], object]], None]


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    """Calls a function soon, in a signal's handler: in the middle of something."""
    before = signal.getsignal(signal.SIGALRM)

    def arm(call: Callable[[], object]) -> None:
        signal.signal(signal.SIGALRM, lambda *_: call())
        signal.setitimer(signal.ITIMER_REAL, 0.1)

    yield arm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 9
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def send_for_ever(link: Link) -> None:
    while True:
        link.send([FRAME])


@pytest.mark.parametrize(
    "linkstr", ["shmif:{}/bus", "pcap:{}/fifo", "faulty:drop=1%:shmif:{}/bus"]
)
@pytest.mark.parametrize("watched", [False, True])
def test_a_handler_closes_the_link_that_is_waited_for(
    linkstr: str, watched: bool, alarm: Alarm, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)
    before = descriptors()
    link = open_link(linkstr.format(tmp_path))
    if watched:
        link.fileno()
    held = descriptors()
    inside: list[set[str]] = []

    def close() -> None:
        link.close()
        link.close()
        inside.append(descriptors())

    alarm(close)
    with pytest.raises(LinkClosedError):
        link.recv(timeout=9)
    # The wait that was interrupted goes on with its descriptors: none of their
    # numbers may have become somebody else's.
    assert inside[0] >= held
    assert eventually(lambda: descriptors() == before)
    os.close(writer)


def test_a_handler_closes_the_pipe_that_is_written_to(alarm: Alarm) -> None:
    reader, writer = os.pipe()
    before = descriptors()
    link = PcapWriter(f"/proc/self/fd/{writer}")
    held = descriptors()
    inside: list[set[str]] = []

    def close() -> None:
        link.close()
        inside.append(descriptors())

    alarm(close)
    with pytest.raises(LinkClosedError):
        send_for_ever(link)
    assert inside[0] >= held
    assert eventually(lambda: descriptors() == before)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("mode", ["r", "w"])
def test_a_closed_capture_gives_no_descriptor(mode: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    other = os.open(tmp_path / "fifo", os.O_RDWR)
    link = open_link(f"pcap:{tmp_path}/fifo", mode=mode)
    link.close()
    with pytest.raises(LinkClosedError):
        link.fileno()
    if isinstance(link, PcapWriter):
        with pytest.raises(LinkClosedError):
            _ = link.pipe
    os.close(other)


def received(link: Link) -> int:
    count = 0
    while frames := link.recv(timeout=0.2):
        count += len(frames)
    return count


def test_frames_gathered_by_a_send_under_way_are_sent(tmp_path: Path) -> None:
    """Whoever closes does not wait for the sender, but what it has taken goes."""
    with open_link(f"shmif:{tmp_path}/bus") as other:
        for _ in range(5):
            link = open_link(f"shmif:{tmp_path}/bus")
            with link.tx_lock:  # as a send has it
                closer = threading.Thread(target=link.close)
                for _ in range(30):
                    link.send([FRAME])
                closer.start()
                with contextlib.suppress(LinkClosedError):
                    send_for_ever(link)
            closer.join(9)
            assert received(other) == link.counters.sent
