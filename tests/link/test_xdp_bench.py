"""The benchmark of the XDP link: every case measures what it says."""

from __future__ import annotations

import ctypes
import os
import shutil

import pytest

from benchmarks import xdp
from benchmarks.harness import compile_c
from tests.judges import tool
from tests.namespace import isolated


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may load an XDP program")
@isolated
def test_each_case_yields_a_row() -> None:
    tool("gcc")
    tool("ip")
    peer = compile_c(xdp.PEER, shared=True)
    try:
        library = ctypes.CDLL(str(peer))
        xdp.declare(library)
        for case in xdp.CASES:
            row = xdp.measure(library, case, runs=3)
            assert (row.case, row.skipped) == (case, "")
            assert row.ratio is not None
            assert 0.001 < row.ratio < 20
            assert row.unit == "ns/frame"
    finally:
        shutil.rmtree(peer.parent)
