"""Counters and totals, which may stay on."""

from __future__ import annotations

import threading

import pytest

from rumphyper.host.thunks import supported
from rumphyper.hypercalls.trace import Trace
from tests.hypercalls.support import Setup, run_python
from tests.hypercalls.tracing import ERRTRANS, many

pytestmark = pytest.mark.skipif(not supported(), reason="no thunks here")


def test_counters(native: Setup) -> None:
    """Every call is counted, whoever answers, also while a trace is set."""
    hv = native.hv
    assert hv.counts() == {}
    native.call("curlwp")
    hv.counting = True
    assert hv.counting
    many(native, 100_000)
    for _ in range(3):
        native.call("curlwp")
    trace = Trace()
    hv.trace = trace
    many(native, 10)
    hv.bind("component_errtrans", lambda number: 4)
    native.call("component_errtrans", 1)
    hv.trace = None
    native.call("curlwp")
    hv.counting = False
    native.call("curlwp")
    assert hv.counts() == {ERRTRANS: 100_011, "rumpuser_curlwp": 4}
    assert list(hv.counts()) == [ERRTRANS, "rumpuser_curlwp"]
    assert trace.counts() == {ERRTRANS: 11}


def test_counters_of_many_threads(native: Setup) -> None:
    """No call is missed."""
    native.hv.counting = True
    threads = [threading.Thread(target=many, args=(native, 50_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert native.hv.counts() == {ERRTRANS: 200_000}


def test_totals_only(native: Setup) -> None:
    """Without records nothing is written into a ring."""
    trace = Trace(keep=0)
    native.hv.trace = trace
    many(native, 10_000)
    native.call("curlwp")
    native.call("clock_sleep", 3000, 0, 0)
    assert trace.records == []
    totals = trace.totals()
    assert {name: total.calls for name, total in totals.items()} == {
        ERRTRANS: 10_000, "rumpuser_curlwp": 1, "rumpuser_clock_sleep": 1,
    }  # fmt: skip
    assert totals["rumpuser_clock_sleep"].nanoseconds >= 3_000_000
    assert trace.lost == 0


def test_without_thunks() -> None:
    """The same records and counts by Python alone."""
    done = run_python(
        "from tests.hypercalls.support import Setup\n"
        "from tests.hypercalls.tracing import bind\n"
        "from rumphyper.hypercalls.trace import Trace\n"
        "trace = Trace()\n"
        "setup = Setup(trace=trace)\n"
        "bind(setup.hv)\n"
        "setup.hv.counting = True\n"
        "setup.call('component_errtrans', -3)\n"
        "setup.call('curlwp')\n"
        "print([r.name for r in trace.records], trace.records[1].result)\n"
        "setup.hv.trace = None\n"
        "setup.call('component_errtrans', -3)\n"
        "print(trace.counts() == dict.fromkeys(trace.counts(), 1))\n"
        "print(setup.hv.counts())\n",
        RUMPHYPER_THUNKS="0",
    )
    assert done.stderr == ""
    names = ["rumpuser_init", ERRTRANS, "rumpuser_curlwp"]
    counts = {ERRTRANS: 2, "rumpuser_curlwp": 1}
    assert done.stdout.splitlines() == [f"{names} 3 ESRCH", "True", str(counts)]
