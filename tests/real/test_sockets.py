"""The kernel's sockets against the host's: the same scenarios on both.

The host's socket.socket is the judge. Where NetBSD itself differs from Linux,
`DIFFERENCES` says what it does instead; docs/sockets.md lists the same.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real.host_net import HostNet
from tests.real.kernel_session import outcome_of, session
from tests.real.rump import require_rump
from tests.real.scenarios import SCENARIOS
from tests.real.socket_checks import CHECKS

pytestmark = [
    pytest.mark.rump,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="outcomes are those of Linux"
    ),
]

DIFFERENCES: dict[str, tuple[str, Any]] = {
    "connect_nonblocking": (
        "a connection that was made in the background is EISCONN at once",
        [True, True, 0, "EISCONN"],
    ),
    "unconnected": (
        "sending on a stream that was never connected is ENOTCONN and no EPIPE; "
        "shutting it down is no error",
        [
            ["OSError", "ENOTCONN"],
            ["OSError", "ENOTCONN"],
            ["OSError", "ENOTCONN"],
            None,
            ["OSError", "EDESTADDRREQ"],
            ["OSError", "ENOTCONN"],
            ["OSError", errno.errorcode[errno.EOPNOTSUPP]],
            ["OSError", errno.errorcode[errno.EOPNOTSUPP]],
            ["OSError", "EINVAL"],
        ],
    ),
    "keepalive_options": (
        "TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT can be set but not read",
        [None, None, None, ["OSError", "ENOPROTOOPT"]],
    ),
    "ipv6_bad": (
        "a link-local address without scope is EADDRNOTAVAIL",
        [
            ["OSError", "EADDRNOTAVAIL"],
            ["OSError", "EADDRNOTAVAIL"],
            None,
            ["::1", 9, 0, 0],
        ],
    ),
}


@pytest.fixture(scope="module")
def in_kernel(mode: str) -> dict[str, dict[str, Any]]:
    """What the scenarios come to in the kernel."""
    require_rump()
    return session("scenarios", "tests.real.scenarios")


@pytest.fixture(scope="module")
def checks(mode: str) -> dict[str, dict[str, Any]]:
    """What came of the checks that have no counterpart on the host."""
    require_rump()
    return session("checks", "tests.real.socket_checks")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", SCENARIOS)
def test_kernel_as_host(
    name: str, in_kernel: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    kernel = outcome_of(in_kernel, name)
    if name.startswith("ipv6") and not has_ipv6():
        pytest.skip("the host has no IPv6 loopback to compare with")
    host = json.loads(json.dumps(SCENARIOS[name](HostNet(tmp_path)), default=repr))
    if name in DIFFERENCES:
        why, expected = DIFFERENCES[name]
        assert kernel == expected, why
        assert host != expected, f"not a difference any more: {why}"
    else:
        assert kernel == host


def test_scenarios_leave_no_descriptor(in_kernel: dict[str, dict[str, Any]]) -> None:
    assert outcome_of(in_kernel, "descriptors left open") == []


def test_session_ends(in_kernel: dict[str, dict[str, Any]]) -> None:
    assert outcome_of(in_kernel, "the end") is None
    assert in_kernel["exit"] == {"status": 0, "stderr": ""}


@pytest.mark.parametrize("name", CHECKS)
def test_kernel_only(name: str, checks: dict[str, dict[str, Any]]) -> None:
    outcome_of(checks, name)


def test_checks_leave_no_descriptor(checks: dict[str, dict[str, Any]]) -> None:
    assert outcome_of(checks, "descriptors left open") == []
    assert checks["exit"]["status"] == 0, checks["exit"]["stderr"]
