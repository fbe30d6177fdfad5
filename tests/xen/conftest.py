"""A xenstored for each test, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.xen import Xenstore
from tests.xen.xenstored import Xenstored


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Xenstored]:
    daemon = Xenstored(str(tmp_path / "socket"))
    yield daemon
    daemon.client.close()
    daemon.listener.close()
    daemon.thread.join(10)


@pytest.fixture
def store(daemon: Xenstored, tmp_path: Path) -> Iterator[Xenstore]:
    with Xenstore(str(tmp_path / "socket"), timeout=10) as store:
        store.write("x", "1")  # it is served
        yield store
