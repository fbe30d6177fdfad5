"""The file of recorded hypercalls: what is written, and what is refused."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import HostError, RecordingError
from rumphyper.hypercalls.replay import CODECS, Recorder, Replay, read_recording
from tests.hypercalls.recordings import HEADER, answer, ask, record, write
from tests.hypercalls.support import Setup


def test_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One JSON object a line, for its owner only, complete after each answer."""
    path = tmp_path / "run.jsonl"
    record(path, monkeypatch)
    lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert lines[0] == HEADER
    assert lines[-1] == {"end": 11}
    assert {line["call"] for line in lines[1:-1]} == set(CODECS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    setup, recorder = Setup(), Recorder(path)
    recorder.attach(setup.hv)
    ask(setup)
    assert len(path.read_text().splitlines()) == 12
    recorder.detach()
    ask(setup)
    recorder.detach()
    assert len(read_recording(path)) == 11


def test_a_file_that_cannot_be_written_is_let_go() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    setup, before = Setup(), os.listdir("/proc/self/fd")
    with pytest.raises(HostError, match="No space left"):
        Recorder("/dev/full").attach(setup.hv)
    assert os.listdir("/proc/self/fd") == before


def clock(**given: object) -> dict[str, object]:
    asked = {"clock": 0}
    return answer(call="rumpuser_clock_gettime", asked=asked, given=given)


def octets(text: object, buflen: object = 2) -> dict[str, object]:
    asked = {"buflen": buflen, "flags": 0}
    return answer(call="rumpuser_getrandom", asked=asked, given={"octets": text})


def info(wanted: object, **given: object) -> dict[str, object]:
    asked = {"name": "/", "size": wanted, "type": False}
    return answer(call="rumpuser_getfileinfo", asked=asked, given=given)


BAD = {
    "a call that is not recorded": answer(call="rumpuser_malloc"),
    "a call that is no string": answer(call=["x"]),
    "more keys": answer(more=1),
    "no result": {k: v for k, v in answer().items() if k != "result"},
    "an unknown errno": answer(result=4711),
    "a boolean result": answer(result=False),
    "failed and gave": answer(result=2),
    "a value without room": answer(given={"value": "abcd"}),
    "a value with NUL": answer(given={"value": "a\0"}),
    "a value that is no string": answer(given={"value": 3}),
    "a value that is no path": answer(given={"value": "\ud800"}),
    "no value": answer(given={}),
    "values that are a list": answer(given=[1]),
    "nested values": answer(asked={"name": {}, "buflen": 4}),
    "no room given": answer(asked={"name": "X"}),
    "nanoseconds": clock(sec=1, nsec=10**9),
    "negative seconds": clock(sec=-1, nsec=0),
    "seconds": clock(sec=1 << 62, nsec=0),
    "a float": clock(sec=1.5, nsec=0),
    "infinity": clock(sec=float("inf"), nsec=0),
    "too many octets": octets("aabbcc"),
    "no octets": octets("xx"),
    "odd octets": octets("abc"),
    "a size for nobody": info(False, size=3),
    "a size that is true": info(True, size=True),
    "no size": info(True),
    "a large size": info(True, size=1 << 64),
    "null": None,
    "a list": [1],
}


@pytest.mark.parametrize("name", BAD)
def test_lines_that_cannot_be(name: str, tmp_path: Path) -> None:
    """Each is refused, with its number and the file's name."""
    path = tmp_path / "run.jsonl"
    write(path, HEADER, answer(), BAD[name], {"end": 2})
    with pytest.raises(RecordingError, match=r"run\.jsonl: line 3: "):
        Replay(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut off behind 0 answers"),
        (b"\n", "line 1: not JSON"),
        (b"\xff\xfe\n", "line 1: "),
        (b"{}\n", "line 1: no recording of hypercalls"),
        (b'{"format": "rumphyper recording", "version": 2}\n', "'version' is 2"),
        (b"[" * 100000 + b"\n", "line 1: "),
        (b'{"a": ' + b"9" * 100000 + b"}\n", "more than 64 bits"),
        (b"x" * ((1 << 20) + 1), "longer than 1048576 octets"),
    ],
)
def test_files_that_cannot_be(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=words):
        read_recording(path)


def test_files_that_are_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every octet: an error, or (without the last newline) none can tell."""
    path = tmp_path / "run.jsonl"
    record(path, monkeypatch)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordingError):
            read_recording(path)
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RecordingError, match=r'append the line \{"end": 11\}'):
        read_recording(path)
    path.write_bytes(whole + lines[1])
    with pytest.raises(RecordingError, match="behind the end"):
        read_recording(path)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    with pytest.raises(RecordingError, match="10 answers are before it"):
        read_recording(path)


@given(place=st.integers(0, 10**6), octet=st.integers(0, 255), cut=st.booleans())
def test_damaged_files(
    place: int, octet: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is damaged: read all the same, or an error of ours."""
    path = tmp_path_factory.mktemp("damaged") / "run.jsonl"
    lines = [HEADER, answer(), clock(sec=1, nsec=2), octets("aabb"), {"end": 3}]
    write(path, *lines)
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place] = octet
    path.write_bytes(data[:place] if cut else data)
    with contextlib.suppress(RecordingError):
        assert len(read_recording(path)) == 3


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(HostError, match=str(path)):
            Replay(path)
    setup = Setup()
    for path in (tmp_path, tmp_path / "none" / "file", tmp_path / "pipe"):
        with pytest.raises(HostError, match=str(path)):
            Recorder(path).attach(setup.hv)
    assert ask(setup)[0] == 0


def test_a_full_disk_ends_the_recording_only() -> None:
    """The kernel gets its answers, and people are told once."""
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full does not exist: no full disk to write to")
    setup = Setup()
    with pytest.raises(HostError, match="No space"):
        Recorder("/dev/full").attach(setup.hv)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    setup, recorder = Setup(), Recorder(tmp_path / "run.jsonl")
    recorder.attach(setup.hv)
    buffer = ctypes.create_string_buffer(80)
    assert setup.call("getparam", b"_RUMPUSER_NCPU", buffer, 80) == 0
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, recorder._fd)
    os.close(full)
    for _ in range(3):
        assert setup.call("getparam", b"_RUMPUSER_NCPU", buffer, 80) == 0
    recorder.detach()
    (report,) = setup.reports
    assert "recording ends" in report
    assert "No space" in report
    with pytest.raises(RecordingError, match="cut off behind 1 answers"):
        read_recording(recorder.path)
