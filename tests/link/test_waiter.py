"""Waiting that another thread ends."""

from __future__ import annotations

import os
import threading
import time

import pytest

from rumphyper.link.waiter import Waiter


@pytest.fixture(params=["eventfd", "pipe"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pipe":
        monkeypatch.delattr(os, "eventfd")


@pytest.mark.usefixtures("way")
def test_a_waiter_wakes_by_its_descriptor_by_time_and_by_hand() -> None:
    before = len(os.listdir("/proc/self/fd"))
    reader, writer = os.pipe()
    waiter = Waiter(reader)
    assert not waiter.wait(0)
    start = time.monotonic()
    assert not waiter.wait(0.02)
    assert time.monotonic() - start >= 0.019
    os.write(writer, b"x")
    assert waiter.wait(None)
    os.read(reader, 1)
    alarm = threading.Timer(0.02, waiter.wake)
    alarm.start()
    assert waiter.wait(10)
    alarm.join()
    waiter.wake()
    assert waiter.wait(None)  # now and from now on
    waiter.close()
    waiter.close()
    os.close(reader)
    os.close(writer)
    assert len(os.listdir("/proc/self/fd")) == before
