"""What the tests of the XDP link share."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from rumphyper.link.xdp import XdpLink, open_xdp
from tests.judges import tool

both = pytest.mark.parametrize("mode", ["native", "generic"])


def open_near(mode: str = "auto", **options: Any) -> XdpLink:
    link = open_xdp("near", mode=mode, **options)  # type: ignore[arg-type]
    assert mode in (link.mode, "auto")
    return link


def program(interface: str) -> int:
    """The number of the XDP program on an interface, as the kernel tells; or 0."""
    said = subprocess.check_output(
        [tool("ip"), "-d", "-j", "link", "show", interface], text=True
    )
    found = json.loads(said)[0].get("xdp", {}).get("prog", {"id": 0})
    return int(found["id"])
