"""The kernel's files against the host's, and its file systems against the tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.real.file_checks import CHECKS
from tests.real.file_scenarios import SCENARIOS
from tests.real.host_net import HostNet
from tests.real.kernel_session import outcome_of, session
from tests.real.rump import require_rump

pytestmark = pytest.mark.rump

DIFFERENCES: dict[str, tuple[str, Any]] = {}


@pytest.fixture(scope="module")
def in_kernel(mode: str) -> dict[str, dict[str, Any]]:
    """What the scenarios come to in the kernel."""
    require_rump()
    return session("scenarios", "tests.real.file_scenarios")


@pytest.mark.parametrize("name", SCENARIOS)
def test_kernel_as_host(
    name: str, in_kernel: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    kernel = outcome_of(in_kernel, name)
    host = json.loads(json.dumps(SCENARIOS[name](HostNet(tmp_path)), default=repr))
    if name in DIFFERENCES:
        why, expected = DIFFERENCES[name]
        assert kernel == expected, why
        assert host != expected, f"not a difference any more: {why}"
    else:
        assert kernel == host


@pytest.fixture(scope="module")
def checks(mode: str) -> dict[str, dict[str, Any]]:
    """What came of the checks that have no counterpart on the host."""
    require_rump()
    return session("checks", "tests.real.file_checks")


@pytest.mark.parametrize("name", CHECKS)
def test_kernel_only(name: str, checks: dict[str, dict[str, Any]]) -> None:
    outcome_of(checks, name)


def test_checks_leave_no_descriptor(checks: dict[str, dict[str, Any]]) -> None:
    assert outcome_of(checks, "descriptors left open") == []
    assert checks["exit"]["status"] == 0, checks["exit"]["stderr"]


def test_no_descriptor_is_left(in_kernel: dict[str, dict[str, Any]]) -> None:
    assert outcome_of(in_kernel, "descriptors left open") == []
    assert in_kernel["exit"] == {"status": 0, "stderr": ""}
