"""The grammar and options of ``xen:``; links that open are in tests/vm."""

from __future__ import annotations

import pytest

from rumphyper.errors import HostError, LinkstrError
from rumphyper.link import open_link
from rumphyper.xen import domain_kind


@pytest.mark.parametrize(
    "rest",
    ["vif", "vif/", "vif/x", "vif/-1", "vif/0/1", "back/1", "back/a/0", "vif/0 "],
)
def test_a_linkstr_that_names_no_vif(rest: str) -> None:
    with pytest.raises(LinkstrError, match=r"names no vif \(use xen:vif/HANDLE"):
        open_link(f"xen:{rest}")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mtu": 0}, "an MTU of 0 is not between 1 and 65517"),
        ({"mtu": 70000}, "MTU of 70000"),
        ({"tx_slots": 17}, "tx_slots=17 is not between 18 and 256"),
        ({"rx_slots": 257}, "rx_slots=257"),
        ({"mac": "01:00:00:00:00:00"}, "no address of one station"),
        ({"speed": 1}, "docs/xen.md lists the options"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], named: str) -> None:
    with pytest.raises(LinkstrError, match=named):
        open_link("xen:vif/0", **options)


@pytest.mark.parametrize("rest", ["vif/0", "vif/00:16:3e:00:00:01", "back/1/0"])
def test_without_xen_the_error_says_so(rest: str) -> None:
    if domain_kind() != "none":
        pytest.skip("this host runs on Xen")
    with pytest.raises(HostError, match="does not run on Xen"):
        open_link(f"xen:{rest}")
