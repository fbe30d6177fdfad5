"""A hypervisor for each test, and the libraries of a real rump kernel."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.host.thunks import supported
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.providers import LIBC
from tests.hypercalls.blocks import BLOCK, Blocks
from tests.hypercalls.support import Setup, shared_object
from tests.hypercalls.tracing import bind
from tests.hypercalls.virtifs import JUDGE


@pytest.fixture
def setup() -> Iterator[Setup]:
    """All of Python's families, started, with a kernel that has called init."""
    made = Setup()
    yield made
    made.hv.close()


@pytest.fixture(params=["python", "libc"])
def locking(request: pytest.FixtureRequest) -> Iterator[Setup]:
    """As `setup`, once with Python's locks and once with libc's."""
    replace = LIBC if request.param == "libc" else {}
    if replace and not supported():
        pytest.skip("libc's locks need thunks, which this architecture has not")
    made = Setup(python={"replace": replace})
    yield made
    made.hv.close()


@pytest.fixture
def blocks(setup: Setup) -> Blocks:
    return Blocks(setup)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file of eight blocks, each of its own octet."""
    path = tmp_path / "disk"
    path.write_bytes(b"".join(bytes([65 + n]) * BLOCK for n in range(8)))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def native() -> Iterator[Setup]:
    """A hypervisor with some calls that C answers."""
    setup = Setup()
    bind(setup.hv)
    yield setup
    setup.hv.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A library with the upcall, as librumpnet_virtif has it."""
    return shared_object(tmp_path_factory.mktemp("virtif"), JUDGE)


@pytest.fixture(scope="session")
def stock_path() -> str:
    """The stock librumpuser, by path; skips where it is not found."""
    path = Libraries().rumpuser
    if path is None:
        pytest.skip("no librumpuser.so found: set RUMPHYPER_LIBRARY_PATH")
    return path
