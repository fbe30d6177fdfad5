"""Files that are no bus, or a broken one."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

import pytest

from rumphyper.errors import CorruptError, HostError
from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import DATA_SIZE, SIZE, Bus
from tests.link.shmif_refuse import FRAME, refuse
from tests.link.shmif_support import open_bus, spawn


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("size", [1, 32, 4096, SIZE - 1, SIZE + 1])
def test_a_file_of_another_size_is_left_alone(
    path: Path, size: int, readonly: bool
) -> None:
    path.write_bytes(b"\x5a" * size)
    text = f"size is {size} octets, a shmif bus has 1048576"
    refuse(path, CorruptError, text, readonly=readonly)
    assert path.read_bytes() == b"\x5a" * size


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"\x7fELF" + bytes(28), "magic is 0x464c457f, a shmif bus has 0xca11d054"),
        (bytes.fromhex("ca11d054") + bytes(28), "other byte order"),
        (bytes.fromhex("54d011ca02000000") + bytes(24), "version is 0x2"),
        (bytes.fromhex("54d011ca04000000") + bytes(24), "version is 0x4"),
    ],
)
def test_a_foreign_file_is_left_alone(
    path: Path, head: bytes, text: str, readonly: bool
) -> None:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(SIZE)
    refuse(path, CorruptError, text, readonly=readonly)
    assert path.read_bytes() == head + bytes(SIZE - 32)
    assert path.stat().st_blocks * 512 < SIZE


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({4: DATA_SIZE + 1}, "first is 0x100000*fffe1"),
        ({5: DATA_SIZE}, "offset is 0x0*fffe0"),
        ({5: 0xFFFFFFFF}, "offset is 0xffffffff"),
        ({8: 0xFFFFFFFF}, "length of the packet at offset 0x0 is 0xffffffff"),
        ({6: 7}, "lock is 0x7, it is 0 or 1"),
    ],
)
@pytest.mark.parametrize("readonly", [True, False])
def test_a_broken_bus_is_an_error_that_names_the_field(
    path: Path, words: dict[int, int], text: str, readonly: bool
) -> None:
    text = text.replace("0x100000*fffe1", hex(DATA_SIZE + 1))
    text = text.replace("0x0*fffe0", hex(DATA_SIZE))
    memory = bytearray(SIZE)
    bus = Bus(memory)
    bus.initialise()
    for word, value in words.items():
        bus.words[word] = value
    bus.release()
    path.write_bytes(memory)
    refuse(path, CorruptError, text, readonly=readonly, from_start=True)
    assert path.read_bytes()[:24] == memory[:24]


def test_a_bus_that_breaks_in_use_is_an_error_time_and_again(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        one.send([FRAME] * 10)
        with path.open("r+b") as file:
            file.seek(32 + 24 + 5 * 84)
            file.write(b"\xff\xff\xff\xff")
        assert two.recv(timeout=0) == [FRAME] * 5
        for _ in range(3):
            with pytest.raises(CorruptError, match="length of the packet at offset"):
                two.recv(timeout=0)
        with path.open("r+b") as file:
            file.seek(20)
            file.write(b"\xff\xff\xff\x7f")
        for link in (one, two):
            with pytest.raises(CorruptError, match="offset is 0x7fffffff"):
                link.send([FRAME])
        with path.open("r+b") as file:
            file.write(bytes(4))
        with pytest.raises(CorruptError, match="magic is 0x0"):
            one.recv(timeout=0)


def test_the_generation_may_jump_ahead_but_not_back(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        for _ in range(30):
            one.send([bytes(1500)] * 60)
            two.recv(limit=100)
        with path.open("r+b") as file:
            file.seek(8)
            file.write((2**63).to_bytes(8, sys.byteorder))
        assert two.recv(limit=5, timeout=0) == [bytes(1500)] * 5
        assert two.counters.dropped == 1
        with path.open("r+b") as file:
            file.seek(8)
            file.write((1).to_bytes(8, sys.byteorder))
        with pytest.raises(CorruptError, match="generation is 0x1, it was 0x7ffffff"):
            receive_all(two)


def receive_all(link: ShmifLink) -> None:
    while link.recv(timeout=0):
        pass


@pytest.mark.parametrize("readonly", [True, False])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, readonly: bool) -> None:
    refuse(tmp_path, CorruptError, "this is a directory", readonly=readonly)
    refuse(Path("/dev/null"), CorruptError, "this is a device", readonly=readonly)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    refuse(fifo, CorruptError, "this is a FIFO", readonly=readonly)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refuse(loop, HostError, os.strerror(errno.ELOOP), readonly=readonly)


TRUNCATED = """
    import os, sys
    from rumphyper.errors import CorruptError
    from rumphyper.link import open_link
    path, size, act = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    link = open_link("shmif:" + path, readonly=act == "watch")
    other = open_link("shmif:" + path)
    loop = 50 if act == "loop" else 1
    for _ in range(loop):
        (other if act == "watch" else link).send([bytes(60)])
    os.truncate(path, size)
    for _ in range(2):
        try:
            if act in ("send", "loop"):
                link.send([bytes(60)])
                link.send([bytes(60)] * 2)
            else:
                link.recv(timeout=0)
        except CorruptError as error:
            print(error, flush=True)
    link.close()
    other.close()
    print("closed")
"""


@pytest.mark.parametrize("act", ["send", "loop", "recv", "watch"])
@pytest.mark.parametrize("size", [0, 10, 4096, SIZE - 4096, SIZE - 1])
def test_a_file_cut_off_in_use_is_an_error_not_a_signal(
    path: Path, act: str, size: int
) -> None:
    open_bus(path).close()
    process = spawn(TRUNCATED, path, size, act)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = out.splitlines()
    assert lines[-1] == "closed"
    # What sending does when it tells others of it makes the file 8 octets.
    assert len(lines) == 3
    for line in lines[:2]:
        assert re.match(rf"{path}: size is \d+ octets, the file was cut off", line)
