"""The benchmark of the TAP link: every case measures what it says."""

from __future__ import annotations

import ctypes
import shutil

import pytest

from benchmarks import tap
from benchmarks.harness import compile_c
from rumphyper.host import thunks, uring
from tests.judges import tool
from tests.namespace import isolated


@isolated
def test_each_case_yields_a_row() -> None:
    if uring.refusal():
        pytest.skip(f"io_uring: {uring.refusal()}")
    if not thunks.supported():
        pytest.skip("no thunks on this processor")
    tool("gcc")
    peer = compile_c(tap.PEER, shared=True)
    try:
        library = ctypes.CDLL(str(peer))
        for io, direction, size in tap.cases():
            row = tap._case(library, io, direction, size, runs=3)
            assert row.case == f"{io} {direction} {size}"
            assert not row.skipped
            assert row.ratio is not None
            assert 0.05 < row.ratio < 20
            assert row.unit == "ns/frame"
    finally:
        shutil.rmtree(peer.parent)
