"""How a server introduces itself, and who is not one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.proxy.banner import MAX_BANNER, Banner

NETBSD = b"RUMPSP-0.4-NetBSD-7.99.34/amd64\n"


def test_the_line_of_a_stock_server() -> None:
    banner = Banner.parse(NETBSD)
    assert banner == Banner("NetBSD", "7.99.34", "amd64")
    assert banner.pack() == NETBSD
    banner.check()


def test_a_release_with_a_dash() -> None:
    banner = Banner.parse(b"RUMPSP-0.4-NetBSD-8.0-RC1/evbarm64-el\n")
    assert banner == Banner("NetBSD", "8.0-RC1", "evbarm64-el")
    banner.check()


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"\n", NETBSD[:-1], NETBSD + NETBSD, b"SSH-2.0-OpenSSH_9.2\r\n"),
        *(b"RUMPSP-0.4\n", b"RUMPSP-x.4-a-b/c\n", NETBSD.replace(b"amd64", b"\xff")),
        b"RUMPSP-0.4-NetBSD-" + b"7" * 90 + b"/amd64\n",
    ],
)
def test_what_is_no_banner(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a rump kernel's syscall proxy"):
        Banner.parse(line)


@given(st.binary(max_size=200))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        banner = Banner.parse(line)
    except ProtocolError:
        return
    assert banner.pack() == line


@given(
    st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.integers(0, 99)
)
def test_what_can_be_written_can_be_read(
    ostype: str, release: str, machine: str, minor: int
) -> None:
    try:
        line = Banner(ostype, release, machine, (0, minor)).pack()
    except ProtocolError:
        return
    assert len(line) <= MAX_BANNER
    assert Banner.parse(line).pack() == line


@pytest.mark.parametrize("protocol", [(0, 3), (0, 5), (1, 4)])
def test_another_version_is_refused(protocol: tuple[int, int]) -> None:
    with pytest.raises(ProtocolError, match=r"version {}\.{}".format(*protocol)):
        Banner("NetBSD", "9", "amd64", protocol).check()


@pytest.mark.parametrize("machine", ["i386", "sparc64", "evbearmv7hf-el", "evbppc"])
def test_another_abi_is_refused(machine: str) -> None:
    with pytest.raises(ProtocolError, match=machine):
        Banner("NetBSD", "7.99.34", machine).check()
