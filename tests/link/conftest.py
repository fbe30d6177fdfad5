"""Fixtures of the tests of the shmif link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import Bus
from tests.link.shmif_support import open_bus


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a bus is to be, which is not there yet."""
    return tmp_path / "bus"


@pytest.fixture
def link(path: Path) -> Iterator[ShmifLink]:
    """A link that attached while the lock was free."""
    with open_bus(path) as link:
        yield link


@pytest.fixture
def bus(link: ShmifLink) -> Bus:
    """The words of the bus, to look at and to break."""
    return link._bus
