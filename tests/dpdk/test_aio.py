"""DPDK links in an event loop: by a descriptor, and by a thread that looks."""

from __future__ import annotations

import asyncio

import pytest

from rumphyper.errors import LinkEndedError
from rumphyper.link import aio
from rumphyper.link.dpdk_link import DpdkLink
from tests.dpdk.support import alone, alone_in_namespace, open_dpdk
from tests.link.aio_cases import batches_until_closed, left_cancelled_and_closed
from tests.link.tap_support import ip, packet_socket
from tests.link.veth_support import veth

CASES = (batches_until_closed, left_cancelled_and_closed)
both_cases = pytest.mark.parametrize("case", range(len(CASES)))


@both_cases
@alone_in_namespace
def test_a_port_that_has_a_descriptor(case: int) -> None:
    with open_dpdk("net_tap0,iface=d0") as link, packet_socket("d0") as far:
        CASES[case](link, lambda frames: len([far.send(one) for one in frames]))


@both_cases
@alone_in_namespace
def test_a_port_that_shares_an_interface(case: int) -> None:
    veth()
    with open_dpdk("net_af_packet0,iface=near") as link, packet_socket("far") as far:
        CASES[case](link, lambda frames: len([far.send(one) for one in frames]))


@both_cases
@alone
def test_a_port_without_a_descriptor(case: int) -> None:
    with open_dpdk("net_ring0") as link:  # gives what it was sent
        CASES[case](link, link.send)


@alone_in_namespace
def test_a_tap_that_is_deleted_ends_the_wait() -> None:
    async def main(link: DpdkLink) -> None:
        asyncio.get_running_loop().call_later(0.05, ip, "link", "del", "d0")
        with pytest.raises(LinkEndedError, match="deleted the interface"):
            await aio.recv(link)
        async for _ in link:
            raise AssertionError("a port whose TAP is gone gives nothing")

    for options in ({}, {"rx_queues": 2, "tx_queues": 2}):
        with open_dpdk("net_tap0,iface=d0", **options) as link:
            asyncio.run(asyncio.wait_for(main(link), 20))
        with open_dpdk("net_tap0,iface=d0") as link:
            ip("link", "del", "d0")
            with pytest.raises(LinkEndedError, match="open it again"):
                link.recv(timeout=10)
