"""NetBSD speaks with Linux over the host's own interfaces: packet: and xdp:."""

from __future__ import annotations

import os

import pytest

from tests.judges import tool
from tests.real.netbsd_cases.veth import OCTETS
from tests.real.netbsd_session import run
from tests.real.rump import require_rump

pytestmark = pytest.mark.rump


@pytest.mark.parametrize("kind", ["packet", "xdp"])
def test_netbsd_on_an_interface_of_the_host(kind: str) -> None:
    require_rump()
    if os.geteuid():
        pytest.skip("needs root: a second network namespace, and an XDP program")
    if kind == "xdp":
        tool("ethtool")
    found = run("over_a_veth", kind, inside=("unshare", "--net"))
    assert found == {"pings": True, "back": f"{OCTETS}\n", "errors": ""}
