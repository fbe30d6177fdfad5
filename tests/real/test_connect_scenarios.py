"""The scenarios of sockets and files, over the syscall proxy.

What a kernel in the process does, the same kernel does for a client: the host
is the judge as in test_sockets.py and test_files.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real import file_scenarios, scenarios, socket_checks
from tests.real.host_net import HostNet
from tests.real.kernel_session import outcome_of, session
from tests.real.proxy_kit import SERVERS, Served
from tests.real.test_sockets import DIFFERENCES, has_ipv6

pytestmark = pytest.mark.rump

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with SERVERS[request.param]() as served:
        yield served


@pytest.fixture(scope="module")
def sockets(server: Served) -> Found:
    return session("scenarios", "tests.real.scenarios", server.url)


@pytest.fixture(scope="module")
def files(server: Served) -> Found:
    return session("scenarios", "tests.real.file_scenarios", server.url)


@pytest.fixture(scope="module")
def checks(server: Served) -> Found:
    return session("checks", "tests.real.socket_checks", server.url)


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_sockets_as_host(name: str, sockets: Found, tmp_path: Path) -> None:
    kernel = outcome_of(sockets, name)
    if name.startswith("ipv6") and not has_ipv6():
        pytest.skip("the host has no IPv6 loopback to compare with")
    if name in DIFFERENCES:
        assert kernel == DIFFERENCES[name][1], DIFFERENCES[name][0]
        return
    host = scenarios.SCENARIOS[name](HostNet(tmp_path))
    assert kernel == json.loads(json.dumps(host, default=repr))


@pytest.mark.parametrize("name", file_scenarios.SCENARIOS)
def test_files_as_host(name: str, files: Found, tmp_path: Path) -> None:
    kernel = outcome_of(files, name)
    host = file_scenarios.SCENARIOS[name](HostNet(tmp_path))
    assert kernel == json.loads(json.dumps(host, default=repr))


@pytest.mark.parametrize("name", socket_checks.CHECKS)
def test_checks_of_sockets(name: str, checks: Found) -> None:
    outcome_of(checks, name)


def test_nothing_is_left_open(sockets: Found, files: Found, checks: Found) -> None:
    for found in (sockets, files, checks):
        assert outcome_of(found, "descriptors left open") == []
        assert found["exit"] == {"status": 0, "stderr": ""}
