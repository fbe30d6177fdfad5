"""Interface requests, judged by iproute2's own view of the namespace."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import HostError
from rumphyper.host import ifreq, netns, rtnetlink
from rumphyper.host.netif import Netif
from rumphyper.host.netns import enter_new, path_of, within
from tests.judges import tool
from tests.namespace import in_namespace, isolated, other_namespace


def ip(*words: str) -> Any:
    """What ``ip -json`` says."""
    said = subprocess.check_output([tool("ip"), "-json", "-details", *words], text=True)
    return json.loads(said) if said.strip() else []


def make_bridge(name: str) -> None:
    subprocess.run([tool("ip"), "link", "add", name, "type", "bridge"], check=True)


@isolated
def test_an_interface_becomes_what_it_is_told() -> None:
    make_bridge("rh0")
    with Netif() as netif:
        assert netif.names() == ["lo", "rh0"]
        assert netif.exists("rh0")
        assert not netif.exists("rh1")
        assert not netif.is_up("rh0")
        netif.set_mac("rh0", bytes.fromhex("b2a000000001"))
        netif.set_mtu("rh0", 1400)
        netif.set_up("rh0")
        (seen,) = ip("link", "show", "rh0")
        assert seen["address"] == "b2:a0:00:00:00:01"
        assert seen["mtu"] == 1400
        assert "UP" in seen["flags"]
        assert netif.index("rh0") == seen["ifindex"]
        assert netif.mac("rh0").hex(":") == seen["address"]
        assert netif.mtu("rh0") == 1400
        assert netif.tx_queue_length("rh0") == seen["txqlen"]
        assert netif.is_up("rh0")
        netif.set_down("rh0")
        assert "UP" not in ip("link", "show", "rh0")[0]["flags"]
        netif.delete("rh0")
        assert [link["ifname"] for link in ip("link")] == ["lo"]


@isolated
def test_addresses_come_and_go() -> None:
    make_bridge("rh0")
    with open("/proc/sys/net/ipv6/conf/rh0/disable_ipv6", "w") as file:
        file.write("0")
    with Netif() as netif:
        wanted = ["10.1.2.3/24", "10.9.0.1/32", "fd00:5::1/64", "192.0.2.1/31"]
        for address in wanted:
            netif.add_address("rh0", address)
        (seen,) = ip("address", "show", "rh0")
        found = {f"{one['local']}/{one['prefixlen']}" for one in seen["addr_info"]}
        assert found == set(wanted)
        broadcasts = {one["local"]: one.get("broadcast") for one in seen["addr_info"]}
        assert broadcasts["10.1.2.3"] == "10.1.2.255"
        assert broadcasts["192.0.2.1"] is None
        assert {str(address) for address in netif.addresses("rh0")} == set(wanted)
        assert netif.addresses("lo") == []
        for address in wanted:
            netif.remove_address("rh0", address)
        assert netif.addresses("rh0") == []
        assert ip("address", "show", "rh0")[0]["addr_info"] == []


@isolated
def test_what_is_refused_says_why_and_what_to_do() -> None:
    make_bridge("rh0")
    with Netif() as netif:
        for call in (netif.mtu, netif.mac, netif.set_up, netif.delete, netif.addresses):
            with pytest.raises(HostError, match="no such interface") as caught:
                call("absent")
            assert caught.value.errno == errno.ENODEV
        netif.add_address("rh0", "10.0.0.1/24")
        with pytest.raises(HostError, match=r"10\.0\.0\.1/24 of rh0") as caught:
            netif.add_address("rh0", "10.0.0.1/24")
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(HostError) as caught:
            netif.remove_address("rh0", "10.0.0.9/24")
        assert caught.value.errno == errno.EADDRNOTAVAIL
        for bad in ("10.0.0.256/24", "10.0.0.1/33", "nonsense", ""):
            with pytest.raises(HostError, match="write it as"):
                netif.add_address("rh0", bad)
        with pytest.raises(HostError, match="does not take an MTU of 1"):
            netif.set_mtu("rh0", 1)
        with pytest.raises(HostError, match="MTU of -5"):
            netif.set_mtu("rh0", -5)
        for mac in (b"\1\0\0\0\0\0", b"\0" * 5, b""):
            with pytest.raises(HostError, match="no address of a station"):
                netif.set_mac("rh0", mac)
        with pytest.raises(HostError, match="hardware type"):
            netif.mac("lo")
        with pytest.raises(HostError, match="not supported"):
            netif.delete("lo")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\0b", "x" * 16, "ü" * 8]
)
def test_a_name_that_no_interface_can_have(name: str) -> None:
    with Netif() as netif, pytest.raises(HostError, match="use a name like") as caught:
        netif.exists(name)
    assert caught.value.errno == errno.EINVAL


def test_the_longest_name_fits() -> None:
    assert ifreq.check_name("x" * 15) == b"x" * 15
    assert ifreq.check_name("tap%d") == b"tap%d"


def test_without_the_capability_changes_are_refused_with_a_remedy() -> None:
    def body() -> None:
        make_bridge("rh0")
        with Netif() as netif:
            os.setresuid(65534, 65534, 65534)
            calls: list[Callable[[], None]] = [
                lambda: netif.set_up("rh0"),
                lambda: netif.set_mtu("rh0", 1400),
                lambda: netif.add_address("rh0", "10.0.0.1/24"),
                lambda: netif.delete("rh0"),
            ]
            for call in calls:
                with pytest.raises(HostError, match="CAP_NET_ADMIN") as caught:
                    call()
                assert caught.value.errno == errno.EPERM
            assert not netif.is_up("rh0")

    if os.geteuid():
        pytest.skip("needs root, to become somebody else")
    in_namespace(body, user=False)


@isolated
def test_requests_are_made_inside_the_namespace_that_is_named() -> None:
    child, stop = other_namespace()
    try:
        make_bridge("here")
        before = os.readlink("/proc/thread-self/ns/net")
        with (
            Netif(child) as there,
            Netif(f"/proc/{child}/ns/net") as again,
            Netif() as us,
        ):
            assert there.names() == again.names() == ["lo"]
            assert us.names() == ["lo", "here"]
            there.set_up("lo")
            assert again.is_up("lo")
            assert not us.is_up("lo")
        assert within(child, lambda: os.readlink("/proc/thread-self/ns/net")) != before
        assert os.readlink("/proc/thread-self/ns/net") == before
        with pytest.raises(ZeroDivisionError):
            within(child, lambda: 1 // 0)
        assert threading.active_count() == 1
    finally:
        os.close(stop)
        os.waitpid(child, 0)


def test_how_a_namespace_may_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "77").touch()
    monkeypatch.setattr(netns, "NAMED", str(tmp_path))
    assert path_of("blue") == f"{tmp_path}/blue"
    assert path_of("77") == f"{tmp_path}/77"
    assert path_of("78") == "/proc/78/ns/net"
    assert path_of(77) == "/proc/77/ns/net"
    assert path_of("/run/somewhere") == "/run/somewhere"
    for bad in ("", ".", "..", 0, -3):
        with pytest.raises(HostError, match="neither a name"):
            path_of(bad)


def test_a_namespace_that_is_not_there_or_is_none(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(HostError, match="ip netns list") as caught:
        Netif("no-such-namespace")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(HostError):
        Netif(2**22 + 12345)
    if not os.geteuid():
        plain = tmp_path / "plain"
        plain.touch()
        with pytest.raises(HostError, match="no network namespace"):
            Netif(str(plain))
    assert len(os.listdir("/proc/self/fd")) == before


def test_messages_of_netlink_that_are_malformed_are_not_read_past_their_end() -> None:
    good = rtnetlink.attribute(1, b"abc") + rtnetlink.attribute(2, b"")
    assert rtnetlink.attributes(good) == {1: b"abc", 2: b""}
    for length in (0, 3, 200, 0xFFFF):
        broken = rtnetlink.ATTRIBUTE.pack(length, 9) + b"zz"
        assert rtnetlink.attributes(good + broken) == {1: b"abc", 2: b""}
    for length in (0, 15, 17, 2**31):
        head = rtnetlink.HEADER.pack(length, 3, 0, 1, 0)
        assert list(rtnetlink.messages(head)) == []


@isolated
def test_user_and_network_namespace_need_no_privilege() -> None:
    """Once more inside: the first namespace's root is nobody of note."""
    child = os.fork()
    if child == 0:
        try:
            enter_new(user=True)
            with Netif() as netif:
                netif.set_up("lo")
                netif.add_address("lo", "10.0.0.1/32")
            os._exit(0)
        except HostError as error:
            os.write(2, f"{error}\n".encode())
            os._exit(3 if error.errno == errno.EPERM else 1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 3:
        pytest.skip("user namespaces are not permitted here")
    assert code == 0
    assert code != -signal.SIGKILL
