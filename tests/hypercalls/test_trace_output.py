"""What a trace prints: text in time, summary, Chrome trace events, JSON lines."""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import UnsupportedError
from rumphyper.host.thunks import supported
from rumphyper.hypercalls.trace import Record, Total, Trace
from rumphyper.hypercalls.tracechrome import Chrome
from rumphyper.hypercalls.tracejournal import Journal
from rumphyper.hypercalls.tracesink import Json, Text
from rumphyper.hypercalls.tracesummary import summary
from tests.hypercalls.support import Setup
from tests.hypercalls.tracing import ERRTRANS

needs_thunks = pytest.mark.skipif(not supported(), reason="no thunks here")


def made(seq: int, name: str = "rumpuser_curlwp", **changes: Any) -> Record:
    """A record."""
    values: dict[str, Any] = {
        "seq": seq, "thread": 10, "thread_name": "one", "name": name,
        "arguments": (), "result": "NULL", "errno": 0,
        "start": seq * 1000, "duration": 250, **changes,
    }  # fmt: skip
    return Record(**values)


@needs_thunks
def test_text_comes_while_the_kernel_runs(native: Setup) -> None:
    """Within a second, without anybody asking; also of calls that C answers."""
    stream = io.StringIO()
    native.hv.trace = Trace(stream, keep=0)
    for number in (3, 4):
        native.call("component_errtrans", -number)
        native.call("curlwp")
        deadline = time.monotonic() + 1
        while stream.getvalue().count("\n") < 2 * (number - 2):
            assert time.monotonic() < deadline
            time.sleep(0.005)
    lines = [re.sub(r"^.*\] | <.*", "", one) for one in stream.getvalue().splitlines()]
    assert lines == [
        f"{ERRTRANS}(-3) = 3 ESRCH", "rumpuser_curlwp() = NULL",
        f"{ERRTRANS}(-4) = 4 EINTR", "rumpuser_curlwp() = NULL",
    ]  # fmt: skip


@needs_thunks
def test_summary_of_calls(native: Setup) -> None:
    """A line for each name, by time; the columns add up."""
    native.hv.trace = trace = Trace(keep=0)
    native.call("clock_sleep", 20_000, 0, 0)
    for number in range(3):
        native.call("syncfd", number, 0, 0, 0)
    native.call("curlwp")
    lines = trace.summary().splitlines()
    assert lines[0].split() == [
        "%", "time", "seconds", "usecs/call", "calls", "errors", "hypercall"
    ]  # fmt: skip
    assert set(lines[1]) == set(lines[-2]) == {"-", " "}
    rows = [line.split() for line in (*lines[2:-2], lines[-1])]
    assert rows[0][-1] == "rumpuser_clock_sleep"
    assert float(rows[0][0]) > 90
    assert 0.02 <= float(rows[0][1]) < 1
    assert 20_000 <= float(rows[0][2]) < 1e6
    by_name = {row[-1]: row[3:-1] for row in rows}
    assert by_name == {
        "rumpuser_clock_sleep": ["1"], "rumpuser_syncfd": ["3", "2"],
        "rumpuser_curlwp": ["1"], "total": ["5", "2"],
    }  # fmt: skip
    assert sum(float(row[0]) for row in rows[:-1]) == pytest.approx(100, abs=0.02)
    by_calls = [line.split()[-1] for line in trace.summary("calls").splitlines()[2:-2]]
    assert by_calls[0] == "rumpuser_syncfd"


def test_summary_in_every_order() -> None:
    totals = {"b": Total(5, 0, 10), "a": Total(1, 1, 30), "c": Total(3, 2, 20)}

    def names(sort: str) -> str:
        lines = summary(totals, sort=sort).splitlines()
        return "".join(line.split()[-1] for line in lines[2:-2])

    orders = {"time": "acb", "calls": "bca", "errors": "cab", "name": "abc"}
    assert {sort: names(sort) for sort in orders} == orders
    assert summary(totals, lost=7).endswith("total\n+++ 7 records lost +++\n")
    assert re.search(r"^  0.00 +0.000000 +0.000 +0 +total$", summary({}), re.M)
    with pytest.raises(UnsupportedError, match="known: time"):
        summary(totals, sort="colour")


@needs_thunks
def test_chrome_events_of_calls(native: Setup, tmp_path: Path) -> None:
    """A complete event for each record, with its time, thread and arguments."""
    native.hv.trace = trace = Trace()
    native.call("clock_sleep", 3000, 1, 2)
    thread = threading.Thread(target=native.call, args=("curlwp",), name="other")
    thread.start()
    thread.join()
    native.call("curlwpop", 2, 0x1000)
    print_to = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int)
    print_to(native.hv.symbol("rumpuser_dprintf"))(b"%d\n", 5)
    native.hv.trace = None
    path, stream = tmp_path / "trace.json", io.StringIO()
    trace.chrome(path)
    trace.chrome(stream)
    assert path.read_text() == stream.getvalue()
    whole = json.loads(path.read_text())
    assert whole["displayTimeUnit"] == "ns"
    assert whole["otherData"] == {"lost": 0}
    events = whole["traceEvents"]
    metadata = [event for event in events if event["ph"] == "M"]
    names = {(event["name"], event["args"]["name"]) for event in metadata}
    assert names == {
        ("process_name", "rump kernel"),
        ("thread_name", "MainThread"),
        ("thread_name", "other"),
    }
    calls = [event for event in events if event["ph"] == "X"]
    assert len(calls) == len(events) - len(metadata) == len(trace.records)
    for event, record in zip(calls, trace.records, strict=True):
        assert event["pid"] == os.getpid()
        assert event["tid"] == record.thread
        assert event["name"] == record.name
        assert event["ts"] == pytest.approx(record.start / 1000)
        assert event["dur"] == pytest.approx(record.duration / 1000)
    sleep, curlwp, curlwpop, dprintf = calls
    assert sleep["dur"] >= 3000
    assert sleep["cat"] == "clock"
    assert sleep["args"] == {
        "enum_rumpclock": "3000", "sec": "1", "nsec": "2", "result": "0"
    }  # fmt: skip
    assert curlwp["tid"] != sleep["tid"]
    assert curlwpop["args"]["l"] == "0x1000"
    assert list(dprintf["args"].values()) == ['"%d\\n"', "5"]


def test_chrome_as_records_come() -> None:
    """Written bit by bit; a thread that gets a name is told again."""
    stream = io.StringIO()
    chrome = Chrome(stream)
    chrome.write([made(1), made(2)])
    chrome.lose(4)
    chrome.write([made(3, thread_name="two"), made(4, thread=11)])
    chrome.close()
    whole = json.loads(stream.getvalue())
    assert whole["otherData"] == {"lost": 4}
    assert [event["ph"] for event in whole["traceEvents"]] == list("MMXXMXMX")
    empty = io.StringIO()
    Chrome(empty).close()
    assert len(json.loads(empty.getvalue())["traceEvents"]) == 1


def test_json_lines() -> None:
    """One object a record; where records are missing, how many."""
    stream = io.StringIO()
    sink = Json(stream)
    records = [made(1), made(2, "rumpuser_open", arguments=('"a"', "0", "[3]"))]
    sink.write(records[:1])
    sink.lose(2)
    sink.write(records[1:])
    one, lost, two = map(json.loads, stream.getvalue().splitlines())
    assert one == {**records[0].as_dict(), "arguments": []}
    assert lost == {"lost": 2}
    assert two["arguments"] == ['"a"', "0", "[3]"]


def test_a_journal_brings_records_into_order() -> None:
    """By the end of calls; what may still be overtaken stays behind."""
    stream = io.StringIO()
    journal = Journal(3, [Text(stream)])
    for seq in (5, 7):
        journal.add(made(0, start=seq * 1000))
    journal.enter([made(0, start=4000), made(0, start=6000)], 0, 0, until=6250)
    assert [(r.seq, r.start) for r in journal.kept] == [
        (1, 4000), (2, 5000), (3, 6000)
    ]  # fmt: skip
    journal.add(made(0, start=8000))
    journal.enter([made(0, start=6500)], 10, 4, until=None)
    assert [(r.seq, r.start) for r in journal.kept] == [
        (14, 6500), (15, 7000), (16, 8000)
    ]  # fmt: skip
    journal.enter([made(0, start=9000)], 0, 5, until=None)
    lines = [line.split()[0] for line in stream.getvalue().splitlines()]
    assert lines == [
        "0.000004", "0.000005", "0.000006", "+++",
        "0.000006", "0.000007", "0.000008", "+++", "0.000009",
    ]  # fmt: skip
    assert "+++ 4 records lost +++\n" in stream.getvalue()
    assert "+++ 1 records lost +++\n" in stream.getvalue()
