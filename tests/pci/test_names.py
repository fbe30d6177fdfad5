"""pci/ids without lspci: files that are missing, packed or odd."""

from __future__ import annotations

import gzip
from pathlib import Path

from rumphyper.pci.ids import Names

IDS = """\
# a comment
1234  Example Corporation
\t0001  First
\t\t1af4 1100  A subsystem of it
\t0002  Second
8086  Intel Corporation
\t0001  Another first
C 02  Network controller
\t00  Ethernet controller
\t01  Token ring
C 0c  Serial bus controller
\t03  USB controller
\t\t30  XHCI
"""


def check(names: Names) -> None:
    assert names.vendor(0x1234) == "Example Corporation"
    assert names.vendor(0x4321) == ""
    assert names.device(0x1234, 2) == "Second"
    assert names.device(0x1234, 0x1AF4) == ""
    assert names.device(0x8086, 1) == "Another first"
    assert names.device(0x8086, 2) == ""
    assert names.device(0x4321, 1) == ""
    assert names.kind(0x020000) == "Ethernet controller"
    assert names.kind(0x02FF00) == "Network controller"
    assert names.kind(0x0C0330) == "USB controller"


def test_the_first_file_that_is_there(tmp_path: Path) -> None:
    plain, packed = tmp_path / "pci.ids", tmp_path / "pci.ids.gz"
    plain.write_text(IDS)
    packed.write_bytes(gzip.compress(IDS.encode()))
    check(Names([tmp_path / "none", plain]))
    check(Names([packed]))


def test_a_host_without_names(tmp_path: Path) -> None:
    broken = tmp_path / "pci.ids.gz"
    broken.write_bytes(b"not packed")
    names = Names([tmp_path / "none", broken])
    assert (names.vendor(0x8086), names.device(0x8086, 1)) == ("", "")
    assert names.kind(0x020000) == "network controller"
    assert names.kind(0x770000) == "unknown class"
