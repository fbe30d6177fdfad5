"""How tests see a TAP device from outside."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.judges import tool


def seen(name: str) -> dict[str, Any]:
    """What iproute2 says of an interface."""
    said = subprocess.check_output(
        [tool("ip"), "-json", "-details", "link", "show", name], text=True
    )
    (link,) = json.loads(said)
    return dict(link)
