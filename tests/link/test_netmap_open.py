"""netmap links where there is no module: names, options and what is missing."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import pytest

from rumphyper.errors import HostError, LinkstrError
from rumphyper.link import netmap_abi, open_link, vale

no_module = pytest.mark.skipif(
    os.path.exists(netmap_abi.DEVICE), reason="this host has a netmap module"
)


@no_module
@pytest.mark.parametrize("linkstr", ["netmap:eth0", "netmap:p{1", "vale0:a", "vale:a"])
def test_a_missing_module_is_named_and_nothing_is_left(linkstr: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(
        HostError, match=r"kernel module netmap is not loaded.*modprobe"
    ):
        open_link(linkstr)
    assert os.listdir("/proc/self/fd") == before


@no_module
def test_control_without_a_module_says_the_same() -> None:
    for call, name in (
        (vale.attach, "vale0:eth0"),
        (vale.detach, "vale0:eth0"),
        (vale.find, "vale0:eth0"),
        (vale.remove, "v0"),
        (vale.info, "v0"),
        (vale.pools, "v0"),
    ):
        with pytest.raises(HostError, match="module netmap is not loaded"):
            call(name)


@pytest.mark.parametrize(
    "call", [vale.attach, vale.detach, vale.find, vale.start_polling, vale.stop_polling]
)
def test_a_name_that_is_at_no_switch_is_refused(call: object) -> None:
    assert callable(call)
    for name in ("eth0", "vale0", "vale0:", "vale-1:x"):
        with pytest.raises(LinkstrError, match="write vale0:NAME"):
            call(name)


@pytest.mark.parametrize("name", ["", "a b", "x" * 64])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises((LinkstrError, HostError)):
        vale.remove(name)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"vnet_header": 11}, "vnet_header=11"),
        ({"slots": -1}, "negative"),
        ({"nosuch": 1}, r"docs/netmap\.md lists the options"),
        ({"mac": "01:00:00:00:00:00"}, "no address of one station"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, object], cause: str
) -> None:
    for linkstr in ("netmap:p{1", "vale0:a"):
        with pytest.raises(LinkstrError, match=cause):
            open_link(linkstr, **options)


def test_the_verb_says_why_on_one_line() -> None:
    words = [sys.executable, "-m", "rumphyper", "vale", "-a", "eth0"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "write vale0:NAME" in done.stderr


def test_the_requests_are_those_of_netmaps_header() -> None:
    """Sizes and numbers as a C compiler has them (x86-64)."""
    assert (netmap_abi.NIOCCTRL, netmap_abi.NIOCREGIF) == (0xC0586997, 0xC03C6992)
    assert (netmap_abi.NIOCTXSYNC, netmap_abi.NIOCRXSYNC) == (0x6994, 0x6995)
    sizes = {
        netmap_abi.HEADER: 88,
        netmap_abi.REGISTER: 56,
        netmap_abi.PORT_INFO: 32,
        netmap_abi.ATTACH: 64,
        netmap_abi.POOLS_INFO: 64,
        netmap_abi.LEGACY: 60,
        netmap_abi.OPT_EXTMEM: 96,
        netmap_abi.OPT_CSB: 40,
        netmap_abi.NEWIF: 16,
        netmap_abi.POLLING: 16,
        netmap_abi.LIST: 8,
    }
    assert {layout.format: layout.size for layout in sizes} == {
        layout.format: size for layout, size in sizes.items()
    }
    body = bytearray(netmap_abi.REGISTER.size)
    netmap_abi.REGISTER.pack_into(body, 0, *[0] * 12, 0x800)
    assert struct.unpack_from("=Q", body, 48) == (0x800,)
