"""Every hypercall and every stated difference has its place in these tests."""

from __future__ import annotations

import re
from pathlib import Path

from rumphyper.hypercalls.catalogue import CATALOGUE
from tests.hypercalls.stock.sides import differences

HERE = Path(__file__).parent
FILES = (*HERE.glob("*.py"), HERE.parent / "linksets.py")
SOURCES = "\n".join(path.read_text() for path in FILES)


def test_every_hypercall() -> None:
    """All of the stock library's but the syscall proxy, which has its own tests."""
    calls = [c for name, c in CATALOGUE.items() if name.startswith("rumpuser_")]
    missing = [
        call.name
        for call in calls
        if call.family != "sysproxy"
        and not re.search(
            rf"""["'](?:rumpuser_)?(?:component_)?{call.method}["']""", SOURCES
        )
    ]
    assert missing == []


def test_every_difference() -> None:
    for stated in differences():
        if stated.startswith("rumpuser_sp_"):
            continue  # held against the stock server by clients of both
        assert f'"{stated}"' in SOURCES, stated
