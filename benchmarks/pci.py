"""Registers of PCI devices: what the checks of `rumphyper.pci` cost.

``register read`` indexes a view of a BAR; the peer is a bare memoryview index. Both
are over anonymous memory instead of a device's, so that nothing is measured but
Python. ``config read`` reads 4 octets of configuration space, ``config read32`` one
register as a number; the peer is os.pread on the same descriptor. A regular file
stands for the device's: of all files it is the quickest to read, so that what is
ours weighs most.

``e1000 frames`` is in pci_e1000.py.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import timeit
from collections.abc import Callable, Iterator

from rumphyper.pci.bar import mapped
from rumphyper.pci.config import Config

from . import pci_e1000
from .harness import Row, interleave

REGISTER_PEER = "bare memoryview index"
CONFIG_PEER = "os.pread"
SIZE = 4096


def _nanoseconds(
    statement: str, names: dict[str, object], count: int
) -> Callable[[], float]:
    """A measurement of one run of a statement."""
    code = timeit.Timer(statement, globals=names)
    return lambda: code.timeit(count) / count * 1e9


def run(quick: bool) -> Iterator[Row]:
    """Yield the three cases in ns a read, then those of e1000e's frames."""
    runs = 15 if quick else 41
    bare = memoryview(mmap.mmap(-1, SIZE)).cast("I")
    with tempfile.TemporaryFile() as file:
        file.write(bytes(SIZE))
        file.flush()
        bar = mapped("BAR 0", 0, file.fileno(), SIZE, 0)
    names: dict[str, object] = {"ours": bar.view(32), "theirs": bare}
    count = 200_000 if quick else 500_000
    yield _row(
        "register read", "ours[48]", REGISTER_PEER, "theirs[48]", names, count, runs
    )
    with tempfile.TemporaryFile() as file:
        file.write(bytes(SIZE))
        file.flush()
        fd = file.fileno()
        config = Config(fd, 0, SIZE, "bench", writable=False)
        names = {"config": config, "pread": os.pread, "fd": fd}
        count = 10_000 if quick else 40_000
        for case, ours in (
            ("config read", "config.read(8, 4)"),
            ("config read32", "config.read32(8)"),
        ):
            theirs = "pread(fd, 4, 8)"
            yield _row(case, ours, CONFIG_PEER, theirs, names, count, runs)
    bar.close()
    yield from pci_e1000.rows(quick)


def _row(
    case: str,
    ours: str,
    peer: str,
    theirs: str,
    names: dict[str, object],
    count: int,
    runs: int,
) -> Row:
    return interleave(
        "pci",
        case,
        "ns/op",
        _nanoseconds(ours, names, count),
        peer,
        _nanoseconds(theirs, names, count),
        runs,
        more_is_better=False,
    )
