"""What the tests of the shmif link share."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from rumphyper.link import open_link
from rumphyper.link.shmif import ShmifLink

ROOT = Path(__file__).parents[2]
BLOB = bytes(range(256)) * 16
FRAME = bytes.fromhex("ffffffffffff b2a000000001 88b5") + bytes(range(46))


def open_bus(path: Path, **options: object) -> ShmifLink:
    """Open ``shmif:PATH``."""
    link = open_link(f"shmif:{path}", **options)
    assert isinstance(link, ShmifLink)
    return link


def frame_of(number: int) -> bytes:
    """The frame with this number: every size from 14 to 1,514 comes round."""
    size = 14 + number * 7919 % 1501
    at = number * 31 % 2048
    return number.to_bytes(8, "big") + BLOB[at : at + size - 8]


def spawn(code: str, *args: object) -> subprocess.Popen[str]:
    """Run Python code in a process of its own, with pipes to it."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def expect(process: subprocess.Popen[str], line: str) -> None:
    """The process's next line is this one."""
    assert process.stdout is not None
    assert process.stdout.readline() == line + "\n"


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Send the process a line."""
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)


def until(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    """Wait until a condition holds; false when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def descriptors() -> int:
    """How many descriptors this process has, those of garbage left out."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def mappings(path: Path) -> list[str]:
    """The permissions of this process's mappings of a file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[1] for line in lines if line.endswith(str(path))]


def receive(link: ShmifLink, count: int) -> list[bytes]:
    """The next ``count`` frames."""
    got: list[bytes] = []
    while len(got) < count:
        more = link.recv(limit=count - len(got), timeout=5)
        assert more, f"only {len(got)} of {count} frames"
        got += more
    return got
