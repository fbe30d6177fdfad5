"""The benchmarks of the bridge and the generator: each case measures what it says."""

from __future__ import annotations

import pytest

from benchmarks import bridge, gen
from rumphyper.host import uring
from tests.judges import tool
from tests.namespace import isolated


@isolated
def test_each_case_yields_a_row() -> None:
    pytest.importorskip("scapy.all")
    if uring.refusal():
        pytest.skip(f"io_uring: {uring.refusal()}")
    tool("gcc")
    rows = [bridge._case(case, 3) for case in bridge.CASES]
    rows += [gen._case(case, 3) for case in gen.CASES]
    assert [row.case for row in rows] == [*bridge.CASES, *gen.CASES]
    for row in rows:
        assert not row.skipped
        assert row.unit == "ns/frame"
        assert row.ratio is not None
        assert row.ratio > 0.05
