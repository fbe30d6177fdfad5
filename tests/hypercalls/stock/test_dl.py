"""What libraries hand over at the bootstrap, side by side in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rumphyper.kernel.libraries import Libraries
from tests.hypercalls.linksets import bootstrap, build
from tests.hypercalls.stock.sides import differences
from tests.hypercalls.test_dl import SYMBOLS

pytestmark = pytest.mark.rump

EXPORTS = "int rump_elsewhere = 6;"


def once(events: list[Any]) -> list[Any]:
    """Without repetitions, which the kernel ignores."""
    return [event for index, event in enumerate(events) if event not in events[:index]]


@pytest.mark.parametrize("style", ["sysv", "gnu", "both"])
def test_bootstrap(stock_path: str, tmp_path: Path, style: str) -> None:
    """The same modules and components in the same order, the same symbols."""
    flags = (f"-Wl,--hash-style={style}",)
    need = ("-Wl,--no-as-needed", f"-Wl,-rpath,{tmp_path}")
    first = build(tmp_path, "first", *flags, modules=2, components=1, more=EXPORTS)
    second = build(tmp_path, "second", *flags, components=3, more=EXPORTS)
    outer = build(tmp_path, "outer", *flags, *need, second, first)
    kernels = [
        build(tmp_path, f"rump{name}", *flags, modules=1, more=SYMBOLS)
        for name in ("one", "two")
    ]
    found = bootstrap(outer, first, second, *kernels, stock=stock_path)
    stock, ours = found["stock"], found["ours"]
    assert ours["symbols"] == stock["symbols"]
    assert len({row[4] for row in ours["symbols"] if row[0] == "rump_known"}) == 2
    assert ours["events"] == once(stock["events"])
    assert len(ours["events"]) == 1 + 3 + 4


def test_a_library_without_exports(stock_path: str, tmp_path: Path) -> None:
    assert "rumpuser_dl_bootstrap with a library that exports nothing" in differences()
    kernels = build(tmp_path, "rumpjudge", modules=1, more=SYMBOLS)
    flags = ("-fvisibility=hidden", "-Wl,--hash-style=gnu")
    empty = build(tmp_path, "rumpempty", *flags, more="static int x;")
    found = bootstrap(kernels, empty, stock=stock_path)
    assert found["stock"]["symbols"] == []
    assert once(found["stock"]["events"]) == found["ours"]["events"][1:]
    assert "rump_known" in {row[0] for row in found["ours"]["symbols"]}


def test_a_whole_kernel(stock_path: str) -> None:
    """NetBSD's own libraries: thousands of symbols, all the same."""
    libraries = Libraries()
    paths = [part.path for part in libraries.plan(["net", "netinet"]).order]
    found = bootstrap(*paths, stock=stock_path)
    assert found["ours"]["symbols"] == found["stock"]["symbols"]
    assert len(found["ours"]["symbols"]) > 1000
    assert found["ours"]["events"] == once(found["stock"]["events"])
