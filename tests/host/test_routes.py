"""host/routes: which routes go through an interface, set by ip(8)."""

from __future__ import annotations

import subprocess

from rumphyper.host.netif import Netif
from rumphyper.host.routes import routes
from tests.judges import tool
from tests.namespace import isolated


def ip(*words: str) -> None:
    subprocess.run([tool("ip"), *words], check=True, timeout=10)


@isolated
def test_routes_of_an_interface() -> None:
    for name in ("d0", "d1"):
        ip("tuntap", "add", name, "mode", "tap")
        ip("link", "set", name, "up")
    with Netif() as netif:
        first, second = netif.index("d0"), netif.index("d1")
    assert routes(first) == routes(second) == []
    ip("address", "add", "10.1.0.1/16", "dev", "d0")
    ip("route", "add", "192.168.7.0/24", "dev", "d1")
    assert routes(first) == ["10.1.0.0/16"]  # and not the address itself
    assert routes(second) == ["192.168.7.0/24"]
    ip("route", "add", "default", "via", "10.1.0.2")
    assert sorted(routes(first)) == ["10.1.0.0/16", "default"]
    hops = ("nexthop", "dev", "d0", "weight", "1", "nexthop", "dev", "d1")
    ip("route", "add", "172.16.0.0/12", *hops)
    assert "172.16.0.0/12" in routes(first)
    assert "172.16.0.0/12" in routes(second)
    ip("route", "add", "blackhole", "10.7.0.0/16")
    ip("route", "add", "10.8.0.0/16", "dev", "d1", "table", "77")
    assert sorted(routes(second)) == ["10.8.0.0/16", "172.16.0.0/12", "192.168.7.0/24"]


@isolated
def test_link_local_addresses_do_not_count() -> None:
    ip("tuntap", "add", "d0", "mode", "tap")
    subprocess.run(
        ["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/d0/disable_ipv6"], check=True
    )
    ip("link", "set", "d0", "up")
    ip("address", "replace", "fe80::1/64", "dev", "d0", "nodad")
    with Netif() as netif:
        index = netif.index("d0")
    assert routes(index) == []
    ip("address", "add", "fd00::1/64", "dev", "d0", "nodad")
    assert routes(index) == ["fd00::/64"]
