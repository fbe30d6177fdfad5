"""Bulk traffic between NetBSD and Linux arrives as it was sent."""

from __future__ import annotations

import pytest

from tests.judges import tool
from tests.real.netbsd_session import require_tap, run
from tests.real.rump import require_rump, share

pytestmark = [pytest.mark.rump, pytest.mark.usefixtures("mode")]

GOOD = {
    "tcp 4": [True, True],
    "tcp 6": [True, True],
    "udp 4": [],
    "udp 6": [],
    "left": [],
}


@pytest.fixture(autouse=True)
def _libraries() -> None:
    require_rump()
    require_tap()
    tool("ip")


def test_much_each_way(mode: str) -> None:
    found = run("traffic", str(share(mode, 100)), "plain")
    assert GOOD.items() <= found.items()
    assert found["mtu"] == 1500
    assert found["octets a frame"] <= 1514
    assert found["send by"] == "libc"


def test_superframes(mode: str) -> None:
    found = run("traffic", str(share(mode, 64)), "superframes")
    assert GOOD.items() <= found.items()
    assert found["mtu"] == 65535
    assert found["octets a frame"] > 2000  # mostly long ones, and ACKs


def test_nothing_grows(mode: str) -> None:
    """A short turn; docs/netbsd.md tells of ten million frames."""
    found = run("soak", str(share(mode, 250_000)))
    assert found["enough"]
    assert (found["descriptors"], found["threads"]) == (0, 0)
    assert found["octets"] < 8 << 20
