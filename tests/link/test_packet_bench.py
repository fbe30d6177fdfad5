"""The benchmark of the packet link: every case measures what it says."""

from __future__ import annotations

import ctypes
import shutil

from benchmarks import packet
from benchmarks.harness import compile_c
from tests.judges import tool
from tests.namespace import isolated


@isolated
def test_each_case_yields_a_row() -> None:
    tool("gcc")
    tool("ip")
    peer = compile_c(packet.PEER, shared=True)
    try:
        library = ctypes.CDLL(str(peer))
        for io, way, size in packet.CASES:
            row = packet.measure(library, io, way, size, runs=3)
            assert (row.case, row.skipped) == (f"{io} {way} {size}", "")
            assert row.ratio is not None
            assert 0.01 < row.ratio < 20
            assert row.unit == "ns/frame"
    finally:
        shutil.rmtree(peer.parent)
