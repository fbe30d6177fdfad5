"""A DPDK port: configured with queues, started, stopped, closed.

DPDK lib/ethdev/rte_ethdev.h.
"""

from __future__ import annotations

import ctypes
import struct

import attrs

from rumphyper.dpdk import info
from rumphyper.dpdk.eal import Eal
from rumphyper.dpdk.pool import Pool
from rumphyper.errors import HostError

ETHER_OVERHEAD = 18
"""Header and FCS."""

MAX_PORTS = 32
"""RTE_MAX_ETHPORTS."""


@attrs.frozen
class Queues:
    """What a port is configured with.

    ``mtu`` 0 leaves the driver's. ``rx_ring`` and ``tx_ring`` are descriptors, of
    which the driver may take another number.
    """

    rx: int = 1
    tx: int = 1
    rx_ring: int = 512
    tx_ring: int = 512
    mtu: int = 0
    rx_offloads: int = 0
    tx_offloads: int = 0
    interrupts: bool = False


class Port:
    """One port by its number. It is stopped until `configure` and `start`."""

    def __init__(self, eal: Eal, number: int) -> None:
        self.eal = eal
        self.number = number
        self.thing = f"DPDK port {number}"
        self.started = False
        self.check()
        self.info = info.read_info(eal, number)

    def check(self) -> None:
        """Raise HostError when the port is not there any more."""
        lib = self.eal.lib
        if not lib.rte_eth_dev_is_valid_port(self.number):
            cause = f"there is no such port; there are {ports(self.eal) or 'none'}"
            raise HostError(self.thing, cause, "name a virtual device or a PCI address")
        if lib.rte_eth_dev_is_removed(self.number):
            raise HostError(self.thing, "its device is gone", "open it anew")

    def _call(self, name: str, *values: object, remedy: str = "") -> int:
        result: int = getattr(self.eal.lib, name)(self.number, *values)
        return self.eal.check(result, f"{self.thing} ({self.info.driver})", remedy)

    def configure(self, queues: Queues, pool: Pool) -> Queues:
        """Set the port up; frames are received into mbufs of ``pool``.

        Returns the queues as the driver took them. Raises HostError.
        """
        eal = self.eal
        with eal.lock:
            eal.log.forget()
            layout = eal.dpdk.layout
            conf = ctypes.create_string_buffer(info.ROOM)
            for name, form, value in (
                ("rxmode.mtu", "<I", queues.mtu),
                ("rxmode.offloads", "<Q", queues.rx_offloads),
                ("txmode.offloads", "<Q", queues.tx_offloads),
                ("intr_conf", "<I", 2 * queues.interrupts),  # bit 1 is rxq
            ):
                struct.pack_into(form, conf, layout[f"rte_eth_conf.{name}"], value)
            remedy = "see what the driver can do: Port.info"
            self._call(
                "rte_eth_dev_configure", queues.rx, queues.tx, conf, remedy=remedy
            )
            rx = ctypes.c_uint16(queues.rx_ring)
            tx = ctypes.c_uint16(queues.tx_ring)
            self._call(
                "rte_eth_dev_adjust_nb_rx_tx_desc", ctypes.byref(rx), ctypes.byref(tx)
            )
            node = eal.lib.rte_eth_dev_socket_id(self.number) & 0xFFFFFFFF
            for queue in range(queues.rx):
                at = (queue, rx.value, node, None, pool.address)
                self._call("rte_eth_rx_queue_setup", *at)
            for queue in range(queues.tx):
                self._call("rte_eth_tx_queue_setup", queue, tx.value, node, None)
            return attrs.evolve(queues, rx_ring=rx.value, tx_ring=tx.value)

    def start(self) -> None:
        """Let frames pass. Raises HostError."""
        with self.eal.lock:
            self.eal.log.forget()
            self._call("rte_eth_dev_start")
            self.started = True

    def stop(self) -> None:
        """Let no frame pass any more; nobody may be in a burst. Idempotent."""
        with self.eal.lock:
            started, self.started = self.started, False
            if started and self.eal.lib.rte_eth_dev_is_valid_port(self.number):
                self._call("rte_eth_dev_stop")

    def close(self) -> None:
        """Free what the port holds; it has to be configured anew by `Port` then."""
        with self.eal.lock:
            if self.eal.lib.rte_eth_dev_is_valid_port(self.number):
                self.stop()
                self._call("rte_eth_dev_close")

    # -- settings ------------------------------------------------------------

    @property
    def name(self) -> str:
        """The device's name: that of a virtual device, or a PCI address."""
        raw = ctypes.create_string_buffer(256)
        self._call("rte_eth_dev_get_name_by_port", raw)
        return raw.value.decode(errors="replace")

    @property
    def mac(self) -> bytes:
        """6 octets."""
        raw = ctypes.create_string_buffer(6)
        self._call("rte_eth_macaddr_get", raw)
        return raw.raw

    @mac.setter
    def mac(self, mac: bytes) -> None:
        self._call("rte_eth_dev_default_mac_addr_set", mac)

    @property
    def mtu(self) -> int:
        value = ctypes.c_uint16()
        self._call("rte_eth_dev_get_mtu", ctypes.byref(value))
        return value.value

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        remedy = f"{self.info.min_mtu} to {self.info.max_mtu}; some only when stopped"
        self._call("rte_eth_dev_set_mtu", mtu, remedy=remedy)

    @property
    def promiscuous(self) -> bool:
        """Whether frames for other stations are received, too."""
        return bool(self._call("rte_eth_promiscuous_get"))

    @promiscuous.setter
    def promiscuous(self, on: bool) -> None:
        self._call(f"rte_eth_promiscuous_{'enable' if on else 'disable'}")

    @property
    def all_multicast(self) -> bool:
        """Whether frames for all groups are received."""
        return bool(self._call("rte_eth_allmulticast_get"))

    @all_multicast.setter
    def all_multicast(self, on: bool) -> None:
        self._call(f"rte_eth_allmulticast_{'enable' if on else 'disable'}")

    def set_link(self, up: bool) -> None:
        """Switch the device's end of the cable on or off."""
        self._call(f"rte_eth_dev_set_link_{'up' if up else 'down'}")

    def link(self) -> info.LinkState:
        """The state of the link now."""
        return info.read_link(self.eal, self.number)

    def stats(self) -> dict[str, int]:
        """The counters that every driver has."""
        return info.read_stats(self.eal, self.number)

    def reset_stats(self) -> None:
        self._call("rte_eth_stats_reset")

    def xstats(self) -> dict[str, int]:
        """The counters that this driver has."""
        return info.read_xstats(self.eal, self.number)


def ports(eal: Eal) -> list[int]:
    """The numbers of all ports that there are."""
    found: list[int] = []
    at = eal.lib.rte_eth_find_next(0)
    while at < MAX_PORTS:
        found.append(at)
        at = eal.lib.rte_eth_find_next(at + 1)
    return found
