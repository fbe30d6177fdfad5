"""What the tests of recordings share: asking, recording, writing by hand."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_int, c_int64, c_long, c_size_t, c_uint64
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls.replay import Recorder
from tests.hypercalls.support import Setup

HEADER = {"format": "rumphyper recording", "version": 1, "rumpuser": 17}


def ask(setup: Setup) -> list[Any]:
    """Ask for everything that is recorded; the answers."""
    found: list[Any] = []
    for name in (b"_RUMPUSER_HOSTNAME", b"RUMP_NCPU", b"TEST_VALUE", b"_NONSENSE"):
        buffer = ctypes.create_string_buffer(80)
        found += [setup.call("getparam", name, buffer, 80), buffer.value]
    for clock in (0, 1, 1):
        sec, nsec = c_int64(), c_long()
        found += [setup.call("clock_gettime", clock, byref(sec), byref(nsec))]
        found += [(sec.value, nsec.value)]
    for _ in range(2):
        random, done = ctypes.create_string_buffer(16), c_size_t()
        found += [setup.call("getrandom", random, 16, 0, byref(done)), random.raw]
    for path in (b"/", b"/no/such/file"):
        size, kind = c_uint64(), c_int()
        found += [setup.call("getfileinfo", path, byref(size), byref(kind))]
        found += [(size.value, kind.value)]
    return found


def record(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the answers of `ask`, in an environment that has TEST_VALUE."""
    setup, recorder = Setup(), Recorder(path)
    recorder.attach(setup.hv)
    with monkeypatch.context() as patch:
        patch.setenv("TEST_VALUE", "odd \udc80 value")
        found = ask(setup)
    recorder.end()
    setup.hv.close()
    assert setup.reports == []
    assert recorder.as_dict() == {"file": str(path), "answers": 11}
    return found


def write(path: Path, *lines: object) -> None:
    """Write a file with a line for each object."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def answer(**change: object) -> dict[str, object]:
    """A good line for rumpuser_getparam, changed."""
    good = {
        "call": "rumpuser_getparam",
        "asked": {"name": "X", "buflen": 4},
        "result": 0,
        "given": {"value": "abc"},
    }
    return {**good, **change}
