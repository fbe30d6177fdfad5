"""The benchmark of DPDK: every case measures what it says."""

from __future__ import annotations

from benchmarks import dpdk as bench
from benchmarks.dpdk_start import flags
from rumphyper.errors import UnsupportedError
from tests.debian import missing
from tests.dpdk.support import alone_in_namespace
from tests.judges import tool


@alone_in_namespace
def test_each_case_yields_a_row() -> None:
    tool("gcc")
    try:
        flags()
    except UnsupportedError as error:
        missing(str(error))
    rows = list(bench.rows(runs=3))
    assert [row.case for row in rows] == list(bench.CASES)
    for row in rows:
        if row.skipped:  # what no package of a distribution has, nor every host
            netbsd = "librumpuser" in row.skipped and row.case.startswith("netbsd")
            single = "two processors" in row.skipped and row.case.startswith("testpmd")
            assert netbsd or single, row
            continue
        assert row.ratio is not None
        assert 0.05 < row.ratio < 20, row
