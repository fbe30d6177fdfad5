"""Capture files as links: pipes, growing files, descriptors, and their end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rumphyper.errors import (
    CorruptError,
    LinkClosedError,
    LinkEndedError,
)
from rumphyper.link import Link, open_link
from rumphyper.link.pcapread import PcapReader
from tests.link.pcap_support import (
    CLASSIC,
    FRAMES,
    record,
    write,
)


def readable(link: Link) -> bool:
    epoll = select.epoll()  # as asyncio does; refuses regular files themselves
    try:
        epoll.register(link.fileno(), select.EPOLLIN)
        return bool(epoll.poll(0))
    finally:
        epoll.close()


def test_a_file_is_readable_to_its_end(tmp_path: Path) -> None:
    with open_link(f"pcap:{write(tmp_path / 'x.pcap')}") as link:
        for frame in FRAMES:
            assert readable(link)
            assert link.recv(limit=1, timeout=0) == [frame]
        assert readable(link)  # recv does not wait: it raises
        with pytest.raises(LinkEndedError):
            link.recv()


def test_a_pipe_is_readable_when_a_frame_is_there(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    link = open_link(f"pcap:{fifo}")  # opening does not wait for the writer
    assert not readable(link)
    assert link.recv(timeout=0.01) == []
    with open(fifo, "wb", buffering=0) as writer:
        writer.write(CLASSIC)
        assert link.recv(timeout=0.01) == []
        assert not readable(link)
        writer.write(record(b"a" * 60) + record(b"b" * 60) + record(b"c" * 60)[:30])
        assert readable(link)
        assert link.recv(limit=1, timeout=0) == [b"a" * 60]
        assert readable(link)  # the second frame is not in the pipe any more
        assert link.recv(timeout=0) == [b"b" * 60]
        assert not readable(link)
        writer.write(record(b"c" * 60)[30:])
        assert link.recv() == [b"c" * 60]
    assert readable(link)
    with pytest.raises(LinkEndedError):
        link.recv()
    link.close()


def test_standard_input(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap")
    code = (
        "from rumphyper import open_link\n"
        "print([len(frame) for frame in open_link('pcap:-')])"
    )
    command = [sys.executable, "-c", code]
    wanted = f"{[len(frame) for frame in FRAMES]}\n"
    data = path.read_bytes()
    through_pipe = subprocess.run(
        command, input=data, capture_output=True, timeout=30, check=True
    )
    assert through_pipe.stdout.decode() == wanted
    with path.open("rb") as file:
        from_file = subprocess.run(
            command, stdin=file, capture_output=True, timeout=30, check=True
        )
    assert from_file.stdout.decode() == wanted


def test_following(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(b"")
    with PcapReader(str(path), follow=True) as link, path.open("ab", 0) as writer:
        assert link.recv(timeout=0.01) == []
        assert not readable(link)
        writer.write(CLASSIC[:10])
        assert link.recv(timeout=0.01) == []
        writer.write(CLASSIC[10:] + record(b"a" * 60)[:20])
        assert link.recv(timeout=0.01) == []
        writer.write(record(b"a" * 60)[20:])
        assert readable(link)
        assert link.recv() == [b"a" * 60]
        assert not readable(link)
        before = time.monotonic()
        timer = threading.Timer(0.1, writer.write, (record(b"b" * 60),))
        timer.start()
        assert link.recv(timeout=30) == [b"b" * 60]
        assert time.monotonic() - before < 0.9  # told, not looked again
        timer.join()
        writer.write(record(b"c" * 60) + b"half")
        path.unlink()
        assert link.recv() == [b"c" * 60]
        with pytest.raises(CorruptError, match="record header at offset"):
            link.recv()


def test_following_to_the_removal(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap")
    with PcapReader(str(path), follow=True) as link:
        assert link.recv() == FRAMES
        assert link.recv(timeout=0) == []
        path.unlink()
        with pytest.raises(LinkEndedError):
            link.recv(timeout=5)


def test_a_followed_file_that_shrinks(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap")
    with PcapReader(str(path), follow=True) as link:
        assert link.recv() == FRAMES
        os.truncate(path, 100)
        with pytest.raises(CorruptError, match="its size is 100, it was read up to"):
            link.recv(timeout=5)


@pytest.mark.parametrize("kind", ["fifo", "follow"])
def test_close_wakes_a_blocked_receiver(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(CLASSIC)
    link = PcapReader(str(path), follow=kind == "follow")
    caught: list[BaseException] = []

    def receive() -> None:
        try:
            link.recv()
        except LinkClosedError as error:
            caught.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.05)
    before = len(os.listdir("/proc/self/fd"))
    link.close()
    link.close()
    thread.join(5)
    assert len(caught) == 1
    assert len(os.listdir("/proc/self/fd")) < before


def test_nothing_leaks_when_opening_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"foreign file")
    before = len(os.listdir("/proc/self/fd"))
    for follow in (False, True):
        with pytest.raises(CorruptError):
            PcapReader(str(path), follow=follow)
    assert len(os.listdir("/proc/self/fd")) == before
