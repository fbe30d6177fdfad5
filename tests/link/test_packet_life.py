"""The packet link: how it is opened, refused, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import threading

import pytest

from rumphyper.errors import (
    HostError,
    LinkEndedError,
    LinkError,
    LinkstrError,
    RumphyperError,
    UnsupportedError,
)
from rumphyper.host.netif import Netif
from rumphyper.link import open_link
from tests.judges import tool
from tests.link.packet_support import both, open_near
from tests.link.tap_support import (
    frame,
    ip,
    open_fds,
    packet_socket,
)
from tests.link.veth_support import host, veth
from tests.link.wire_cases import (
    close_wakes_a_reader,
    kept_views_do_not_stop_the_close,
)
from tests.namespace import isolated


@isolated
def test_promiscuity_lasts_as_long_as_the_link() -> None:
    veth()

    def promiscuity() -> int:
        said = subprocess.check_output(
            [tool("ip"), "-d", "-j", "link", "show", "near"], text=True
        )
        return int(json.loads(said)[0]["promiscuity"])

    with open_near("mmsg", promiscuous=False):
        assert promiscuity() == 0
    with open_near("mmsg"):
        assert promiscuity() == 1
    assert promiscuity() == 0


@both
@isolated
def test_close_wakes_a_reader_and_leaves_nothing(io: str) -> None:
    veth()
    close_wakes_a_reader(lambda: open_near(io), turns=20)


@both
@isolated
def test_views_that_are_kept_do_not_stop_the_close(io: str) -> None:
    veth()
    with packet_socket("far") as there:
        kept_views_do_not_stop_the_close(open_near(io), there)


@both
@isolated
def test_an_interface_that_goes_down_and_comes_back(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        threading.Timer(0.05, ip, ["link", "set", "near", "down"]).start()
        with pytest.raises(LinkError, match=r"the interface is down .*near up"):
            link.recv(timeout=5)
        assert link.recv(timeout=0.02) == []
        with pytest.raises(LinkError, match="the interface is down"):
            link.send([frame(b"x")])
        ip("link", "set", "near", "up")
        there.send(frame(b"back"))
        assert link.recv(timeout=5) == [frame(b"back")]
        assert link.send([frame(b"x")]) == 1


@both
@isolated
def test_an_interface_that_is_deleted_ends_the_link(io: str) -> None:
    veth()
    with open_near(io) as link:
        threading.Timer(0.05, ip, ["link", "delete", "near"]).start()
        with pytest.raises(LinkError):  # it goes down first
            link.recv(timeout=5)
        with pytest.raises(LinkEndedError, match="was deleted"):
            link.send([frame(b"x")])


@isolated
def test_what_cannot_be_opened_says_why() -> None:
    veth()
    ip("link", "set", "near", "down")
    ip("tuntap", "add", "ip0", "mode", "tun")
    ip("link", "set", "ip0", "up")
    before = open_fds()
    cases: list[tuple[str, dict[str, object], type[RumphyperError], str]] = [
        ("nosuch", {}, HostError, "no such interface .*ip link"),
        ("near", {}, HostError, "is down .*ip link set near up.*up=True"),
        ("a b", {}, LinkstrError, "white space"),
        ("x" * 16, {}, LinkstrError, "16 octets"),
        ("ip0", {}, UnsupportedError, "not Ethernet's"),
        ("far", {"io": "carrier pigeon"}, LinkstrError, "mmsg or ring"),
        ("far", {"buffer": 1}, LinkstrError, "4 KiB to 1 GiB"),
        ("far", {"mac": "01:00:00:00:00:01"}, LinkstrError, "one station"),
        ("far", {"colour": 1}, LinkstrError, "docs/packet.md"),
        ("far", {"netns": "no such one"}, HostError, "network namespace"),
    ]
    for name, options, kind, text in cases:
        with pytest.raises(kind, match=text):
            open_link(f"packet:{name}", **options)
    assert open_fds() == before
    with open_link("packet:near", up=True) as link, Netif() as netif:
        assert netif.is_up("near")
        assert link.mac[0] & 3 == 2  # local, of one station
    with open_link("packet:lo", up=True):
        pass


@isolated
def test_without_the_right_it_names_the_capability() -> None:
    veth()
    if os.geteuid() == 0:
        os.setuid(65534)
    else:
        pytest.skip("needs root, whose rights it drops")
    with pytest.raises(HostError, match="CAP_NET_RAW") as caught:
        open_link("packet:near")
    assert "unshare" in str(caught.value)


@isolated
def test_another_namespace() -> None:
    with (
        host("near", "eth0", []) as there,
        open_near("mmsg") as link,
        open_link("packet:eth0", netns=there.pid) as far,
    ):
        far.send([frame(b"from there")])
        assert link.recv(timeout=5) == [frame(b"from there")]
