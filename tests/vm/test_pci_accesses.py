"""How often, and how widely, registers are accessed: QEMU counts.

Runs on the host, with a guest whose QEMU logs each access to emulated registers.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from tests.vm.accesses import DMA_SOURCE, LIVENESS, MARKER, QUEUE, STATUS
from tests.vm.guest import Guest
from tests.vm.kinds import KINDS

LINE = re.compile(
    r"memory_region_ops_(read|write) .* addr 0x([0-9a-f]+) value 0x([0-9a-f]+) "
    r"size (\d) name '([^']+)'"
)
MASKS = {
    "edu-mmio": 0xFFFFF,
    "virtio-pci-common-virtio-net": 0xFFF,
    "e1000e-io": 0x1F,
}
"""The regions that count, and which bits of an address are the offset."""

Access = tuple[str, int, int]
"""Read or write, offset, octets."""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[list[Access]]:
    """The accesses of each step, which follows its marker."""
    log = tmp_path_factory.mktemp("trace") / "log"
    kind = KINDS["pci"]
    trace = ("-trace", "memory_region_ops_*", "-D", str(log))
    kind = attrs.evolve(kind, devices=(*kind.devices, *trace))
    guest = Guest(kind, ["python", "-m", "tests.vm.accesses"])
    try:
        assert guest.wait(120) == 0, guest.tail()
    finally:
        guest.close()
    return _steps(log)


def _steps(log: Path) -> list[list[Access]]:
    found: list[list[Access]] = []
    with log.open() as lines:
        for line in lines:
            match = LINE.match(line)
            if match is None or match[5] not in MASKS:
                continue
            value = int(match[3], 16)
            if match[1] == "write" and value == MARKER + len(found):
                found.append([])
            elif found:
                offset = int(match[2], 16) & MASKS[match[5]]
                found[-1].append((match[1], offset, int(match[4])))
    return found


EACH_WIDTH = [
    (what, offset, size)
    for offset, size in ((LIVENESS, 4), (DMA_SOURCE, 8), (QUEUE, 2), (STATUS, 1))
    for what in ("write", "read")
]


def test_views_make_one_access_of_their_width(steps: list[list[Access]]) -> None:
    assert steps[0] == EACH_WIDTH


def test_reads_and_writes_make_one_access(steps: list[list[Access]]) -> None:
    assert steps[1] == EACH_WIDTH


def test_ports_are_accessed_once(steps: list[list[Access]]) -> None:
    assert steps[2] == [("write", 0, 4), ("read", 0, 4), ("read", 4, 4)]


def test_a_slice_is_more_than_one_access(steps: list[list[Access]]) -> None:
    """Why a view's elements must be taken one by one."""
    assert len(steps[3]) > 1
    assert len(steps) == 5
