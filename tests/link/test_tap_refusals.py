"""TAP devices that cannot be had: names, options, permissions."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import (
    HostError,
    LinkstrError,
    UnsupportedError,
)
from rumphyper.host import tun
from rumphyper.host.netif import Netif
from rumphyper.host.syscalls import number
from rumphyper.link import open_link
from rumphyper.link.tap import open_tap
from tests.link.tap_device_support import seen
from tests.link.tap_support import (
    HOSTS,
    interfaces,
    ip,
    open_fds,
)
from tests.namespace import in_namespace, isolated
from tests.seccomp import refuse


@isolated
def test_a_busy_device_is_refused_with_a_remedy() -> None:
    with open_link("tap:rh0"):
        before = open_fds()
        for _ in range(3):
            with pytest.raises(HostError, match=r"TAP is busy.*another name"):
                open_link("tap:rh0")
        assert open_fds() == before
        assert "UP" in seen("rh0")["flags"]
    with open_link("tap:rh0"):
        pass


@isolated
def test_names_of_interfaces_that_are_no_such_tap() -> None:
    ip("link", "add", "br0", "type", "bridge")
    ip("tuntap", "add", "dev", "tun0", "mode", "tun")
    with open_link("tap:multi", queues=1), open_link("tap:single"):
        for name, options in (
            ("lo", {}),
            ("br0", {}),
            ("tun0", {}),
            ("multi", {}),
            ("single", {"queues": 1}),
        ):
            with pytest.raises(HostError) as caught:
                open_link(f"tap:{name}", **options)
            assert name in str(caught.value)
            assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("x" * 16, "16 octets"),
        ("tap/0", "slash"),
        ("tap 0", "white space"),
        ("tap\0", "null"),
        ("..", "folder"),
        ("tap%d%d", "%"),
        ("tap%s", "%"),
        ("", "empty"),
    ],
)
def test_names_that_no_device_can_have(name: str, cause: str) -> None:
    before = open_fds()
    with pytest.raises(LinkstrError, match=cause):
        open_link(f"tap:{name}")
    with pytest.raises(LinkstrError, match=cause):
        open_tap(name)
    assert open_fds() == before


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"mtu": 67}, "MTU is 67"),
        ({"mtu": 65522}, "MTU is 65522"),
        ({"queues": -1}, "-1 queues"),
        ({"queues": 257}, "257 queues"),
        ({"io": "fast"}, "io='fast'"),
        ({"mac": "nonsense"}, "Ethernet address"),
        ({"mac": b"\1" * 6}, "no address of one station"),
        ({"host_mac": b"\2" * 5}, "no address of one station"),
        ({"owner": "no-such-user"}, "no user"),
        ({"group": "no-such-group"}, "no group"),
        ({"owner": -1}, "no user"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_options_that_cannot_be_right(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(LinkstrError, match=cause):
        open_link("tap:rh0", **options)


@isolated
def test_a_failure_leaves_no_device_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(self: Netif, name: str, mtu: int) -> None:
        raise HostError(f"interface {name}", "the device does not take an MTU")

    monkeypatch.setattr(Netif, "set_mtu", too_late)
    before = open_fds()
    with pytest.raises(HostError, match="no-such"):
        open_tap("rh0", netns="no-such")
    with pytest.raises(HostError, match="does not take an MTU"):
        open_tap("rh0", mtu=1400, persistent=True, host_mac=HOSTS)
    monkeypatch.undo()
    refuse(number("io_uring_setup"), errno.EPERM)
    with pytest.raises(UnsupportedError):
        open_tap("rh0", io="uring", persistent=True, queues=2)
    assert interfaces() == ["lo"]
    with open_tap("rh0", persistent=True):
        pass
    with pytest.raises(HostError, match="another name"):
        open_tap("rh0", queues=2)
    assert interfaces() == ["lo", "rh0"]
    assert open_fds() == before


def test_without_the_device_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tun, "CLONE", str(tmp_path / "tun"))
    with pytest.raises(HostError, match=r"no .*tun.*modprobe tun.*--device"):
        open_link("tap:rh0")


def test_without_leave_to_open_the_device_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def body() -> None:
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(HostError, match="may not be opened"):
            open_link("tap:rh0")

    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    forbidden = tmp_path / "tun"
    forbidden.touch(mode=0)
    monkeypatch.setattr(tun, "CLONE", str(forbidden))
    in_namespace(body, user=False)


def test_without_the_capability_only_an_owned_device_is_to_be_had() -> None:
    def body() -> None:
        # Opened while that is allowed, as where everybody may open it.
        spare = [tun.open_clone() for _ in range(4)]
        mine = open_tap("mine", persistent=True, owner=65534)
        mine.close()
        open_tap("theirs", persistent=True, owner=12345).close()
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        opened = pytest.MonkeyPatch()
        opened.setattr(tun, "open_clone", lambda: os.dup(spare.pop()))
        for name in ("fresh", "theirs"):
            with pytest.raises(HostError, match=r"not permitted.*CAP_NET_ADMIN"):
                open_link(f"tap:{name}")
        with open_link("tap:mine") as link:
            assert link.mtu == 1500

    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    in_namespace(body, user=False)
