"""TAP devices: made, attached to, given away, shared, refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import (
    HostError,
    LinkstrError,
    UnsupportedError,
)
from rumphyper.host.netif import Netif
from rumphyper.link import open_link, tap_bsd
from rumphyper.link.tap import TapLink, delete_tap, open_tap
from rumphyper.link.tap_options import Options
from tests.link.tap_device_support import seen
from tests.link.tap_support import (
    both,
    frame,
    gather,
    interfaces,
    ip,
    open_io,
    packet_socket,
)
from tests.namespace import in_namespace, isolated, other_namespace


def tap_data(name: str) -> dict[str, Any]:
    return dict(seen(name)["linkinfo"]["info_data"])


@isolated
def test_a_device_is_made_as_wanted_and_goes_with_its_link() -> None:
    with open_link("tap:rh0", host_mac="b2:a0:00:00:00:77", mtu=1400) as link:
        assert isinstance(link, TapLink)
        about = seen("rh0")
        assert about["linkinfo"]["info_kind"] == "tun"
        assert tap_data("rh0")["type"] == "tap"
        assert not tap_data("rh0")["pi"]
        assert not tap_data("rh0")["persist"]
        assert not tap_data("rh0")["multi_queue"]
        assert about["address"] == "b2:a0:00:00:00:77"
        assert about["mtu"] == link.mtu == 1400
        assert "UP" in about["flags"]
        assert link.linkstr == "tap:rh0"
        assert len(link.mac) == 6
        assert link.mac.hex(":") != about["address"]
    assert interfaces() == ["lo"]


@isolated
def test_the_kernel_numbers_devices() -> None:
    with open_link("tap:rh%d") as first, open_link("tap:rh%d") as second:
        assert (first.linkstr, second.linkstr) == ("tap:rh0", "tap:rh1")
    with open_link("tap:%d", mac="b2:a0:00:00:00:05") as link:
        assert link.linkstr == "tap:0"
        assert link.mac == bytes.fromhex("b2a000000005")


@isolated
def test_a_persistent_device_stays_and_is_attached_to_as_it_is() -> None:
    me = os.geteuid()
    with open_tap("rh0", persistent=True, owner=me, group=os.getegid(), mtu=1300):
        assert tap_data("rh0")["persist"]
        assert tap_data("rh0")["user"] in (me, "root")
    assert interfaces() == ["lo", "rh0"]
    ip("link", "set", "rh0", "down")
    with open_tap("rh0") as link:  # nothing is said, nothing is changed
        assert link.mtu == 1300
        assert "UP" not in seen("rh0")["flags"]
        assert tap_data("rh0")["persist"]
    with open_tap("rh0", up=True, mtu=1500):
        assert "UP" in seen("rh0")["flags"]
    with open_tap("rh0", persistent=False):
        assert not tap_data("rh0")["persist"]
    assert interfaces() == ["lo"]
    open_tap("rh0", persistent=True).close()
    delete_tap("rh0")
    assert interfaces() == ["lo"]
    with pytest.raises(HostError, match="no such interface"):
        delete_tap("rh0")


@isolated
def test_a_device_made_by_iproute2_is_attached_to() -> None:
    ip("tuntap", "add", "dev", "rh0", "mode", "tap")
    with open_tap("rh0", up=True) as link, packet_socket("rh0") as host:
        host.send(frame(b"hello"))
        assert gather(link, 1) == [frame(b"hello")]
    ip("tuntap", "del", "dev", "rh0", "mode", "tap")


def test_inside_a_user_namespace_no_privilege_is_needed() -> None:
    def body() -> None:
        with open_link("tap:rh0", mtu=1400) as link, packet_socket("rh0") as host:
            host.send(frame(b"hello"))
            assert link.recv(timeout=5) == [frame(b"hello")]
            assert link.send([frame(b"x")] * 20) == 20

    in_namespace(body, user=True)


@isolated
def test_a_device_inside_another_namespace() -> None:
    child, stop = other_namespace()
    try:
        with open_link("tap:rh0", netns=child, host_mac="b2:a0:00:00:00:77") as link:
            assert interfaces() == ["lo"]
            with Netif(child) as there:
                assert there.names() == ["lo", "rh0"]
                assert there.mac("rh0").hex(":") == "b2:a0:00:00:00:77"
                assert there.is_up("rh0")
                assert link.send([frame(b"x")] * 20) == 20
                there.set_mtu("rh0", 1400)
            with pytest.raises(HostError, match="busy"):
                open_link("tap:rh0", netns=f"/proc/{child}/ns/net")
        with Netif(child) as there:
            assert there.names() == ["lo"]
        open_tap("rh0", netns=child, persistent=True).close()
        delete_tap("rh0", child)
    finally:
        os.close(stop)
        os.waitpid(child, 0)


def flows(count: int) -> list[bytes]:
    """UDP datagrams of different flows, which the driver spreads over queues."""
    found = []
    for n in range(count):
        packet = bytes.fromhex("45000030000040004011") + bytes(2)
        packet += socket.inet_aton("10.0.0.1") + socket.inet_aton(f"10.0.{n % 7}.{n}")
        packet += (1000 + n).to_bytes(2, "big") + (7).to_bytes(2, "big") + bytes(4)
        ends = bytes.fromhex("b2a000000001b2a0000000fe0800")
        found.append(ends + packet + n.to_bytes(20, "big"))
    return found


@both
@isolated
def test_all_queues_of_one_link_are_read(io: str) -> None:
    with open_io("rh0", io, queues=4) as link, packet_socket("rh0") as host:
        assert tap_data("rh0")["multi_queue"]
        assert tap_data("rh0")["numqueues"] == 4
        frames = flows(200)
        for octets in frames:
            host.send(octets)
        used = {os.read(fd, 2000) for fd in link._fds}
        assert len(used) == 4  # the driver did spread them
        found = [*used, *gather(link, 196)]
        assert sorted(found) == sorted(frames)
        assert link.recv(timeout=0.01) == []
        for octets in frames[:8]:
            host.send(octets)
        views = [bytes(v) for _ in range(8) for v in link.recv_views(1, timeout=0.5)]
        assert sorted(views) == sorted(frames[:8])
        assert link.send(frames) == 200
        assert link.counters.sent == 200
        assert link.counters.received == 204


@isolated
def test_several_links_share_a_device_by_its_queues() -> None:
    frames = flows(200)
    one, two = (open_tap("rh0", queues=1) for _ in range(2))
    with one, two, packet_socket("rh0") as host:
        for octets in frames:
            host.send(octets)
        apart = [gather(one, 200, 0.2), gather(two, 200, 0.2)]
        assert all(apart)
        assert sorted(apart[0] + apart[1]) == sorted(frames)
        one.close()
        for octets in frames:
            host.send(octets)
        assert sorted(gather(two, 200, 0.2)) == sorted(frames)


def test_on_the_bsds_a_device_file_is_the_tap(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The code path of NetBSD and FreeBSD up to open(2), which is not run here."""
    opened: list[str] = []

    def fake(path: str, flags: int) -> int:
        assert flags & os.O_NONBLOCK
        opened.append(path)
        return 99

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fake)
        assert tap_bsd.open_device("tap3", Options()) == (99, 1500)
    assert opened == ["/dev/tap3"]
    for name in ("rh0", "tap", "tap%d", "tap123456"):
        with pytest.raises(LinkstrError, match="tapN"):
            tap_bsd.open_device(name, Options())
    for options in (Options(netns="x"), Options(queues=2), Options(io="uring")):
        with pytest.raises(UnsupportedError, match="Linux only"):
            tap_bsd.open_device("tap3", options)
    with pytest.raises(HostError, match="ifconfig tap99 create"):
        tap_bsd.open_device("tap99", Options())


def test_importing_the_package_opens_no_back_end() -> None:
    code = "import sys, rumphyper.link; print([m for m in sys.modules if 'tap' in m])"
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.strip() == "[]"
