"""A hypervisor for each test, and the libraries of a real rump kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rumphyper.kernel.libraries import Libraries
from tests.hypercalls.support import Setup


@pytest.fixture
def setup() -> Iterator[Setup]:
    """All of Python's families, started, with a kernel that has called init."""
    made = Setup()
    yield made
    made.hv.close()


@pytest.fixture(scope="session")
def stock_path() -> str:
    """The stock librumpuser, by path; skips where it is not found."""
    path = Libraries().rumpuser
    if path is None:
        pytest.skip("no librumpuser.so found: set RUMPHYPER_LIBRARY_PATH")
    return path
