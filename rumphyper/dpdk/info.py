"""What DPDK tells of a port: capabilities, link state, counters.

DPDK lib/ethdev/rte_ethdev.h.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping

import attrs

from rumphyper.dpdk.eal import Eal

ROOM = 4096
"""Octets for a structure of DPDK's: more than any of them has."""

STATS = (
    "ipackets",
    "opackets",
    "ibytes",
    "obytes",
    "imissed",
    "ierrors",
    "oerrors",
    "rx_nombuf",
)

RX_SCATTER = 1 << 13
TX_MULTI_SEGS = 1 << 15
"""Offloads: frames of several mbufs (RTE_ETH_RX_OFFLOAD_, RTE_ETH_TX_OFFLOAD_)."""


@attrs.frozen
class Info:
    """A port's driver and what the device can do, all queues together."""

    driver: str
    min_mtu: int
    max_mtu: int
    max_frame: int
    """Octets of the longest frame that can be received, with its FCS."""
    max_rx_queues: int
    max_tx_queues: int
    rx_offloads: tuple[str, ...]
    tx_offloads: tuple[str, ...]
    rx_offload_bits: int
    tx_offload_bits: int
    rx_ring: int
    """Descriptors that the driver likes best, 0 if it does not say."""


@attrs.frozen
class LinkState:
    """Whether the cable carries anything, and how fast."""

    up: bool
    mbps: int
    """0 if it is not known."""
    full_duplex: bool
    autoneg: bool


def read_info(eal: Eal, port: int) -> Info:
    """Ask for a port's capabilities. Raises HostError (no such port)."""
    raw = ctypes.create_string_buffer(ROOM)
    eal.check(eal.lib.rte_eth_dev_info_get(port, raw), f"DPDK port {port}")
    layout = eal.dpdk.layout

    def field(name: str, form: str) -> int:
        value: int = struct.unpack_from(form, raw, layout[f"rte_eth_dev_info.{name}"])[
            0
        ]
        return value

    rx, tx = field("rx_offload_capa", "<Q"), field("tx_offload_capa", "<Q")
    ring = layout["rte_eth_dev_info.default_rxportconf"]
    ring += layout["rte_eth_dev_portconf.ring_size"]
    name = ctypes.string_at(field("driver_name", "<Q")).decode(errors="replace")
    return Info(
        driver=name,
        min_mtu=field("min_mtu", "<H"),
        max_mtu=field("max_mtu", "<H"),
        max_frame=field("max_rx_pktlen", "<I"),
        max_rx_queues=field("max_rx_queues", "<H"),
        max_tx_queues=field("max_tx_queues", "<H"),
        rx_offloads=_names(rx, eal.lib.rte_eth_dev_rx_offload_name),
        tx_offloads=_names(tx, eal.lib.rte_eth_dev_tx_offload_name),
        rx_offload_bits=rx,
        tx_offload_bits=tx,
        rx_ring=struct.unpack_from("<H", raw, ring)[0],
    )


def _names(bits: int, name: Callable[[int], bytes]) -> tuple[str, ...]:
    singles = (1 << bit for bit in range(64) if bits >> bit & 1)
    return tuple(name(single).decode() for single in singles)


def read_link(eal: Eal, port: int) -> LinkState:
    """The state of a port's link, without waiting for it."""
    raw = ctypes.create_string_buffer(ROOM)
    eal.check(eal.lib.rte_eth_link_get_nowait(port, raw), f"DPDK port {port}")
    speed, bits = struct.unpack_from("<IH", raw)
    known = 0 if speed == 0xFFFFFFFF else speed
    return LinkState(bool(bits & 4), known, bool(bits & 1), bool(bits & 2))


def read_stats(eal: Eal, port: int) -> dict[str, int]:
    """A port's counters: ipackets, opackets, ibytes, obytes, imissed and so on."""
    raw = ctypes.create_string_buffer(ROOM)
    eal.check(eal.lib.rte_eth_stats_get(port, raw), f"DPDK port {port}")
    return unpack_stats(raw.raw, eal.dpdk.layout)


def unpack_stats(raw: bytes, layout: Mapping[str, int]) -> dict[str, int]:
    """The counters in a struct rte_eth_stats."""
    return {
        name: struct.unpack_from("<Q", raw, layout[f"rte_eth_stats.{name}"])[0]
        for name in STATS
    }


def read_xstats(eal: Eal, port: int) -> dict[str, int]:
    """All counters that the driver has, by its names for them."""
    lib, layout, thing = eal.lib, eal.dpdk.layout, f"DPDK port {port}"
    count = eal.check(lib.rte_eth_xstats_get_names(port, None, 0), thing)
    width, size = layout["rte_eth_xstat_name"], layout["rte_eth_xstat"]
    names = ctypes.create_string_buffer(count * width or 1)
    values = ctypes.create_string_buffer(count * size or 1)
    count = min(
        count,
        eal.check(lib.rte_eth_xstats_get_names(port, names, count), thing),
        eal.check(lib.rte_eth_xstats_get(port, values, count), thing),
    )
    texts = [
        names.raw[at : at + width].partition(b"\0")[0].decode(errors="replace")
        for at in range(0, count * width, width)
    ]
    pairs = (struct.unpack_from("<QQ", values, at * size) for at in range(count))
    return {texts[number]: value for number, value in pairs if number < count}
