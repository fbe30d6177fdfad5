"""Links in an event loop: every kind gives its batches, and ends as it should."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from rumphyper.errors import FrameError, LinkClosedError
from rumphyper.link import Link, aio, open_link
from tests.link.aio_cases import Feed, batches_until_closed, left_cancelled_and_closed
from tests.link.tap_support import frame, ip, packet_socket
from tests.link.veth_support import veth
from tests.namespace import isolated

Ends = tuple[Link, Feed]


@contextmanager
def shmif(_: str) -> Iterator[Ends]:
    path = f"shmif:/dev/shm/rumphyper-aio-{os.getpid()}"
    try:
        with open_link(path) as link, open_link(path) as far:
            yield link, far.send
    finally:
        os.unlink(path.partition(":")[2])


@contextmanager
def faulty(_: str) -> Iterator[Ends]:
    path = f"shmif:/dev/shm/rumphyper-aio-{os.getpid()}"
    try:
        with open_link(f"faulty:delay=1,by=5ms:{path}") as link, open_link(path) as far:
            yield link, far.send
    finally:
        os.unlink(path.partition(":")[2])


@contextmanager
def tap(_: str) -> Iterator[Ends]:
    with open_link("tap:tap0") as link, packet_socket("tap0") as far:
        yield link, lambda frames: len([far.send(one) for one in frames])


@contextmanager
def packet(_: str) -> Iterator[Ends]:
    veth()
    with open_link("packet:near") as link, packet_socket("far") as far:
        yield link, lambda frames: len([far.send(one) for one in frames])


@contextmanager
def xdp(_: str) -> Iterator[Ends]:
    if os.geteuid():
        pytest.skip("loading an XDP program needs root")
    veth()
    with open_link("xdp:near") as link, packet_socket("far") as far:
        yield link, lambda frames: len([far.send(one) for one in frames])


KINDS = {kind.__name__: kind for kind in (shmif, faulty, tap, packet, xdp)}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@isolated
def test_batches_arrive_until_the_link_is_closed(kind: str) -> None:
    with KINDS[kind](kind) as (link, feed):
        batches_until_closed(link, feed)


@every_kind
@isolated
def test_it_can_be_left_cancelled_and_closed_by_a_thread(kind: str) -> None:
    with KINDS[kind](kind) as (link, feed):
        left_cancelled_and_closed(link, feed)


@isolated
def test_other_tasks_get_their_turn_when_frames_never_run_out() -> None:
    async def main(link: Link, feed: Feed) -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        batches = 0
        feed([frame(b"x")])
        async for batch in link:
            feed(batch)
            batches += 1
            if batches == 500:
                break
        task.cancel()
        assert turns > 400

    with shmif("") as (link, feed):
        asyncio.run(asyncio.wait_for(main(link, feed), 20))


@isolated
def test_a_link_that_its_own_task_closes_is_free_at_once() -> None:
    """A TAP would be busy if the loop still had its descriptor."""

    async def main() -> None:
        for _ in range(5):
            link = open_link("tap:tap0")
            reader = asyncio.ensure_future(aio.recv(link))
            await asyncio.sleep(0.01)
            link.close()
            open_link("tap:tap0").close()
            with pytest.raises(LinkClosedError):
                await reader

    asyncio.run(main())


@isolated
def test_sending_waits_for_room_and_says_what_does_not_fit() -> None:
    class Narrow:
        """Takes at most three frames, and nothing every other time."""

        def __init__(self) -> None:
            self.sent: list[bytes] = []
            self.turn = 0

        def send(self, frames: list[bytes]) -> int:
            self.turn += 1
            taken = frames[: 3 * (self.turn % 2)]
            self.sent += taken
            return len(taken)

    narrow = Narrow()
    frames = [frame(bytes([number])) for number in range(20)]
    asyncio.run(aio.send(narrow, frames))  # type: ignore[arg-type]
    assert narrow.sent == frames
    with open_link("tap:tap0") as link, pytest.raises(FrameError):
        asyncio.run(aio.send(link, [b"short"]))


def test_a_capture_file_ends_the_loop(tmp_path: Path) -> None:
    path = f"pcap:{tmp_path / 'some.pcap'}"
    frames = [frame(number.to_bytes(4, "big")) for number in range(200)]
    with open_link(path, mode="w") as link:
        link.send(frames)

    async def main() -> list[bytes]:
        with open_link(path) as link:
            return [one async for batch in link for one in batch]

    assert asyncio.run(main()) == frames


def test_the_page_says_what_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "asyncio.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert "/tmp/bus" in example
    bus = f"{tmp_path}/bus"
    done = subprocess.run(
        [sys.executable, "-c", example.replace("/tmp/bus", bus)],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == "3 frames\n"


@isolated
def test_the_example_answers_on_two_links_and_reports() -> None:
    ip("link", "set", "lo", "up")
    path = f"/dev/shm/rumphyper-aio-{os.getpid()}"
    words = [f"shmif:{path}=10.0.0.2/24", "tap:tap0=10.1.0.2/24"]
    service = subprocess.Popen(
        [sys.executable, "examples/async_service.py", "0", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    with service:
        try:
            assert service.stdout is not None
            port = int(service.stdout.readline().split()[1])
            ip("address", "add", "10.1.0.1/24", "dev", "tap0")
            linux = ["ping", "-c2", "-i0.01", "-W5", "10.1.0.2"]
            ours = [sys.executable, "-m", "rumphyper", "ping", f"shmif:{path}"]
            for command in (linux, [*ours, "10.0.0.2", "-c3", "-i0.01"]):
                done = subprocess.run(command, check=False, timeout=30)
                assert done.returncode == 0, done
            with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                said = json.load(answer)
            assert said["tap:tap0"]["answered"]["icmp"] == 2
            assert said[f"shmif:{path}"]["answered"]["icmp"] == 3
            assert said["tap:tap0"]["sent"] >= 3
        finally:
            service.terminate()
            os.unlink(path)
