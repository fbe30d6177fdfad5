"""Tests that test_harness.py lets fail in a guest, one in each way."""

from __future__ import annotations

import time

import pytest

pytestmark = pytest.mark.vm("plain", timeout=10)


def test_passes() -> None:
    print("captured in the guest")


def test_fails() -> None:
    observed = {"left": 1}
    assert observed == {"left": 2}


def test_skips() -> None:
    pytest.skip("no unobtainium in this guest")


@pytest.fixture
def broken() -> None:
    raise OSError("this fixture breaks")


def test_has_a_broken_fixture(broken: None) -> None:
    pass


@pytest.mark.xfail(strict=True)
def test_fails_as_expected() -> None:
    raise AssertionError


def test_panics() -> None:
    with open("/proc/sysrq-trigger", "w") as file:
        file.write("c")
    time.sleep(60)


def test_comes_after_a_panic() -> None:
    pass


def test_hangs() -> None:
    while True:
        time.sleep(1)


def test_comes_after_a_hang() -> None:
    pass
