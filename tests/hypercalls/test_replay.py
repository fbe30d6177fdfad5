"""Recording and replaying answers, on hypervisors without a kernel."""

from __future__ import annotations

import ctypes
import time
from ctypes import byref, c_int, c_int64, c_long, c_size_t, c_uint64
from pathlib import Path

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.faults import parse_fault
from rumphyper.hypercalls.replay import Recorder, Replay
from tests.hypercalls.recordings import HEADER, answer, ask, record, write
from tests.hypercalls.support import Setup


def replayed(path: Path, strict: bool = False) -> tuple[Setup, Replay]:
    setup, replay = Setup(), Replay(path, strict)
    replay.attach(setup.hv)
    return setup, replay


def test_answers_are_the_recorded_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.jsonl"
    before = record(path, monkeypatch)
    assert b"odd \x80 value" in before
    setup, replay = replayed(path, strict=True)
    assert ask(setup) == before
    assert (replay.replayed, replay.departures) == (11, 0)
    assert setup.reports == []
    assert ask(Setup()) != before


def test_what_is_recorded_is_what_the_kernel_got(tmp_path: Path) -> None:
    """Behind faults, in the order in which things are attached."""
    path = tmp_path / "run.jsonl"
    setup = Setup()
    for one in (parse_fault("getparam:nth=2,errno=EPERM"), Recorder(path)):
        one.attach(setup.hv)
    found = ask(setup)
    setup.hv.close()
    assert found[2] == Errno.EPERM
    with path.open("a") as file:  # what the error about a cut off file advises
        file.write('{"end": 11}\n')
    again, _ = replayed(path)
    recorder = Recorder(tmp_path / "again.jsonl")
    recorder.attach(again.hv)
    assert ask(again) == found
    recorder.detach()
    assert path.read_text() == (tmp_path / "again.jsonl").read_text()


@pytest.mark.parametrize("strict", [False, True])
def test_departures(
    strict: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is told, with what was expected; then the real answer, or none."""
    path = tmp_path / "run.jsonl"
    record(path, monkeypatch)
    setup, replay = replayed(path, strict)
    buffer = ctypes.create_string_buffer(8)
    for name in (b"RUMP_NCPU", b"OTHER", b"OTHER"):
        result = setup.call("getparam", name, buffer, 8)
        assert result == (Errno.EINVAL if strict else Errno.ENOENT)
    assert replay.departures == 3
    (report,) = setup.reports
    assert str(path) in report
    assert "getparam(name='RUMP_NCPU', buflen=8)" in report
    assert "next is rumpuser_getparam(name='_RUMPUSER_HOSTNAME', buflen=80)" in report
    assert ("fails" in report) == strict


def test_a_question_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.jsonl"
    record(path, monkeypatch)
    setup, replay = replayed(path)
    size, kind = c_uint64(), c_int()
    for _ in range(3):
        assert setup.call("getfileinfo", b"/", byref(size), byref(kind)) == 0
    assert (replay.replayed, replay.departures) == (1, 2)
    (report,) = setup.reports
    assert "getfileinfo(name='/', size=True, type=True) gets the real" in report
    assert "next is rumpuser_getfileinfo(name='/no/such/file'" in report
    for _ in range(2):
        setup.call("getfileinfo", b"/no/such/file", byref(size), byref(kind))
    assert replay._expected("rumpuser_getfileinfo").startswith("is no further call")


def test_random_octets_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the recorded ones, the same in every replay; other questions depart."""
    path = tmp_path / "run.jsonl"
    record(path, monkeypatch)
    runs = []
    for _ in range(2):
        setup, replay = replayed(path, strict=True)
        buffer, done = ctypes.create_string_buffer(16), c_size_t()
        drawn = []
        for _ in range(6):
            assert setup.call("getrandom", buffer, 16, 0, byref(done)) == 0
            assert done.value == 16
            drawn.append(buffer.raw)
        assert (replay.replayed, replay.continued, replay.departures) == (2, 4, 0)
        assert setup.call("getrandom", buffer, 15, 0, byref(done)) == Errno.EIO
        assert replay.departures == 1
        runs.append(drawn)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 6


def test_a_clock_that_was_never_read_is_the_hosts(tmp_path: Path) -> None:
    """A run that was recorded on a faster host may have ended before."""
    path = tmp_path / "run.jsonl"
    line = answer(
        call="rumpuser_clock_gettime", asked={"clock": 0}, given={"sec": 1, "nsec": 0}
    )
    write(path, HEADER, line, {"end": 1})
    setup, replay = replayed(path, strict=True)
    sec, nsec = c_int64(), c_long()
    began = time.monotonic()
    assert setup.call("clock_gettime", 1, byref(sec), byref(nsec)) == 0
    assert began - 1 < sec.value + nsec.value / 1e9 < began + 60
    assert (replay.continued, replay.departures) == (1, 0)


def test_clocks_go_on(tmp_path: Path) -> None:
    """Behind the last recorded time they run; sleeps end by their time."""
    path = tmp_path / "run.jsonl"
    times = [(0, 1_000_000_000), (1, 5_000_000), (1, 5_000_001)]
    lines = [
        {"call": "rumpuser_clock_gettime", "asked": {"clock": clock}, "result": 0,
         "given": {"sec": sec, "nsec": 7}}
        for clock, sec in times
    ]  # fmt: skip
    write(path, HEADER, *lines, {"end": 3})
    setup, replay = replayed(path, strict=True)

    def read(clock: int) -> float:
        sec, nsec = c_int64(), c_long()
        assert setup.call("clock_gettime", clock, byref(sec), byref(nsec)) == 0
        return sec.value + nsec.value / 1e9

    assert [int(read(clock)) for clock in (0, 1, 1)] == [sec for _, sec in times]
    began = time.monotonic()
    assert setup.call("clock_sleep", 1, 5_000_001, 200_000_000) == 0
    assert 0.1 <= time.monotonic() - began < 60  # not fifty days
    assert 5_000_001.2 <= read(1) < 5_000_060
    assert 1_000_000_000.2 <= read(0) < 1_000_000_060
    assert (replay.continued, replay.departures) == (2, 0)
    assert setup.reports == []


def test_sleeps_that_are_scaled_in_a_replay(tmp_path: Path) -> None:
    """A fault in front of it takes the replayed clock for the host's."""
    path = tmp_path / "run.jsonl"
    given = {"sec": 5_000_000, "nsec": 0}
    line = answer(call="rumpuser_clock_gettime", asked={"clock": 1}, given=given)
    write(path, HEADER, line, {"end": 1})
    setup, _ = replayed(path)
    parse_fault("clock:sleep=0.1").attach(setup.hv)
    sec, nsec = c_int64(), c_long()
    assert setup.call("clock_gettime", 1, byref(sec), byref(nsec)) == 0
    assert (sec.value, nsec.value) == (5_000_000, 0)
    began = time.monotonic()
    assert setup.call("clock_sleep", 1, 5_000_020, 0) == 0
    assert time.monotonic() - began < 15  # two seconds of twenty


def test_a_clock_that_was_never_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write(path, HEADER, {"end": 0})
    setup, replay = replayed(path)
    sec, nsec = c_int64(), c_long()
    assert setup.call("clock_gettime", 1, byref(sec), byref(nsec)) == 0
    assert abs(sec.value - time.monotonic()) < 60
    assert replay.departures == 1
