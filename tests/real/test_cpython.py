"""CPython's own test_socket, run on the kernel's sockets.

What fails is listed with the reason; anything else that fails is ours.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.real.kernel_session import PATIENCE, ROOT
from tests.real.rump import require_rump

pytestmark = pytest.mark.rump

KNOWN = {
    "GeneralModuleTests.test_socket_close": "closes descriptors of the host",
    "GeneralModuleTests.test_socket_fileno_requires_socket_fd": "as above: a file",
    "GeneralModuleTests.test__sendfile_use_sendfile": "private, for descriptors",
    "SendfileUsingSendTest.testNonRegularFile": "private, for descriptors",
    "GeneralModuleTests.test_SocketType_is_socketobject": "no subclass of _socket's",
    "GeneralModuleTests.test_socket_methods": "private methods and ioctl",
    "GeneralModuleTests.test_unknown_socket_family_repr": "NetBSD has no such family",
    "GeneralModuleTests.test_dealloc_warn": "the collector asks for no addresses",
    "NonBlockingTCPTests.testSetBlocking": "listening keeps O_NONBLOCK set",
    "NonBlockingTCPTests.testSetBlocking_overflow": "listening keeps O_NONBLOCK set",
    "NonblockConstantTest.test_SOCK_NONBLOCK": "a timeout does not set O_NONBLOCK",
}
"""Tests that fail, and why they may."""

VARYING = frozenset(("NonBlockingTCPTests.testSetBlocking_overflow",))
"""Those that listen in some versions of CPython only."""

ENOUGH = 250
"""Tests that must have passed, lest the list of the chosen ones has gone stale."""


@pytest.fixture(scope="module")
def outcomes(mode: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The outcome of each test by name."""
    require_rump()
    if importlib.util.find_spec("test.test_socket") is None:
        pytest.skip("this Python comes without its own tests (test.test_socket)")
    done = subprocess.run(
        [sys.executable, "-m", "tests.real.cpython_session"],
        cwd=tmp_path_factory.mktemp("cpython"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            one = json.loads(line)
            if found.get(one["name"], "ok") in ("ok", "skip"):
                found[one["name"]] = one["outcome"]
    assert done.returncode == 0, done.stderr
    return found


def test_cpythons_tests_pass(outcomes: dict[str, str]) -> None:
    broken = {
        name: text
        for name, text in outcomes.items()
        if text not in ("ok", "skip") and name not in KNOWN
    }
    assert not broken, "\n\n".join(f"{name}\n{text}" for name, text in broken.items())


def test_enough_of_them(outcomes: dict[str, str]) -> None:
    assert sum(text == "ok" for text in outcomes.values()) >= ENOUGH


def test_known_failures_fail(outcomes: dict[str, str]) -> None:
    """What passes by now has no place on the list."""
    fixed = {name for name in KNOWN if outcomes.get(name) == "ok"} - VARYING
    assert not fixed
