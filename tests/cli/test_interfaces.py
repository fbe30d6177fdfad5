"""``-i`` on the command line of `rumphyper run`."""

from __future__ import annotations

import pytest

from rumphyper.cli.interfaces import InterfaceSpec, parse_all, parse_interface
from rumphyper.errors import InterfaceError


def test_everything_at_once() -> None:
    text = "virt0=tap:tap0,10.0.0.2/24,fe80::1/64,gw=10.0.0.1,mtu=1400,mac=2:0:0:0:0:1"
    assert parse_interface(text) == InterfaceSpec(
        name="virt0",
        linkstr="tap:tap0",
        addresses=["10.0.0.2/24", "fe80::1/64"],
        gateways=["10.0.0.1"],
        mtu=1400,
        mac="2:0:0:0:0:1",
    )


def test_a_linkstr_keeps_its_own_commas() -> None:
    text = "virt1=dpdk:net_tap0,iface=x,mac=fixed,10.0.0.2/24,dhcp"
    spec = parse_interface(text)
    assert spec.linkstr == "dpdk:net_tap0,iface=x,mac=fixed"
    assert spec.addresses == ["10.0.0.2/24"]
    assert spec.dhcp


def test_options_of_the_link() -> None:
    spec = parse_interface("virt0=tap:t,link.persist=true,link.mtu=9000,link.owner=me")
    assert spec.options == {"persist": True, "mtu": 9000, "owner": "me"}
    assert spec.linkstr == "tap:t"


def test_loopback_and_bridges() -> None:
    assert parse_interface("lo0=127.0.0.1/8").addresses == ["127.0.0.1/8"]
    bridge, *_ = (
        s for s in parse_all(["bridge0=virt0+shmif0", "virt0=tap:t"]) if s.members
    )
    assert bridge.members == ("virt0", "shmif0")
    names = [s.name for s in parse_all(["bridge0=virt0+shmif0", "virt0=tap:t"])]
    assert names == ["virt0", "bridge0"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("virt0", "no '='"),
        ("0virt=tap:t", "a name is"),
        ("virt=tap:t", "a name is"),
        ("virt01=tap:t", "a name is"),
        ("virt0=tap:t,10.0.0.300/24", "10.0.0.300/24"),
        ("virt0=tap:t,10.0.0.1/33", "10.0.0.1/33"),
        ("virt0=tap:t,gw=nobody", "nobody"),
        ("lo0=tap:t", "no setting"),
    ],
)
def test_what_cannot_be(text: str, cause: str) -> None:
    with pytest.raises(InterfaceError) as caught:
        parse_interface(text)
    assert cause in str(caught.value)


def test_a_name_twice() -> None:
    with pytest.raises(InterfaceError, match="twice"):
        parse_all(["virt0=tap:a", "virt0=tap:b"])
