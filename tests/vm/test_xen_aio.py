"""Xen links in an event loop, which nothing but their descriptor wakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rumphyper.link import Link, aio, open_link
from tests.link.aio_cases import Feed, batches_until_closed, left_cancelled_and_closed
from tests.link.tap_support import packet_socket
from tests.vm.xen_support import address, load, pair, unload, vif

pytestmark = pytest.mark.vm("xen", timeout=60)

every_case = pytest.mark.parametrize(
    "case", [batches_until_closed, left_cancelled_and_closed]
)
Case = Callable[[Link, Feed], None]


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    unload("xen-netfront")
    monkeypatch.setattr(aio, "RECHECK", 1000.0)


@every_case
def test_a_front_end_in_an_event_loop(case: Case) -> None:
    load("xen-netback")
    with vif() as handle, open_link(f"xen:vif/{handle}") as link:
        address("vif0.0", "10.9.0.1/24")
        with packet_socket("vif0.0") as far:
            case(link, lambda frames: len([far.send(one) for one in frames]))


@every_case
def test_a_back_end_in_an_event_loop(case: Case) -> None:
    unload("xen-netback")
    with vif(5) as handle, pair(handle) as (front, back):
        case(back, front.send)
