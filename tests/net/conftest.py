"""A station for each test that wants one."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface

import pytest

from rumphyper.net.stack import Stack


@pytest.fixture
def stack() -> Stack:
    return Stack(
        bytes.fromhex("b2a000000001"),
        [IPv4Interface("10.0.0.1/24")],
        [IPv6Interface("2001:db8::1/64")],
    )
