"""NetBSD over a DPDK port, where its libraries are found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dpdk.support import need_dpdk
from tests.judges import tool
from tests.real.netbsd_session import NAMESPACE, require_tap
from tests.real.rump import require_rump

ROOT = Path(__file__).parents[2]


@pytest.mark.rump
def test_netbsd_talks_to_linux_over_net_tap() -> None:
    require_rump()
    require_tap()
    need_dpdk()
    tool("ip")
    tool(NAMESPACE[0])
    ran = subprocess.run(
        [*NAMESPACE, sys.executable, "-m", "tests.dpdk.netbsd_case", "16"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=70,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == {
        "pings": 3,
        "pings back": 3,
        "tcp": [True, True],
        "udp": [],
        "open": 0,
    }
