"""The functions of DPDK that are called, with their C types.

Pointers are addresses (``c_void_p``) or strings. Faces for mypy are in
stubs/libdpdk.pyi. DPDK lib/*/rte_*.h.
"""

from __future__ import annotations

from ctypes import (
    c_char_p,
    c_int,
    c_uint,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

Prototype = tuple[Any, tuple[Any, ...]]
"""Type of the result, and of each argument."""

EAL: dict[str, Prototype] = {
    "rte_version": (c_char_p, ()),
    "rte_strerror": (c_char_p, (c_int,)),
    "rte_openlog_stream": (c_int, (c_void_p,)),
    "rte_eal_init": (c_int, (c_int, c_void_p)),
    "rte_eal_cleanup": (c_int, ()),
    "rte_eal_get_runtime_dir": (c_char_p, ()),
    "rte_eal_hotplug_add": (c_int, (c_char_p, c_char_p, c_char_p)),
    "rte_eal_hotplug_remove": (c_int, (c_char_p, c_char_p)),
    "rte_thread_register": (c_int, ()),
    "rte_thread_unregister": (None, ()),
}
MEMPOOL: dict[str, Prototype] = {
    "rte_mempool_free": (None, (c_void_p,)),
    "rte_mempool_avail_count": (c_uint, (c_void_p,)),
}
MBUF: dict[str, Prototype] = {
    "rte_pktmbuf_pool_create_by_ops": (
        c_void_p,
        (c_char_p, c_uint, c_uint, c_uint16, c_uint16, c_int, c_char_p),
    ),
    "rte_pktmbuf_free_bulk": (None, (c_void_p, c_uint)),
}
ETHDEV: dict[str, Prototype] = {
    "rte_eth_find_next": (c_uint16, (c_uint16,)),
    "rte_eth_dev_is_valid_port": (c_int, (c_uint16,)),
    "rte_eth_dev_is_removed": (c_int, (c_uint16,)),
    "rte_eth_dev_socket_id": (c_int, (c_uint16,)),
    "rte_eth_dev_get_port_by_name": (c_int, (c_char_p, c_void_p)),
    "rte_eth_dev_get_name_by_port": (c_int, (c_uint16, c_void_p)),
    "rte_eth_dev_info_get": (c_int, (c_uint16, c_void_p)),
    "rte_eth_dev_configure": (c_int, (c_uint16, c_uint16, c_uint16, c_void_p)),
    "rte_eth_dev_adjust_nb_rx_tx_desc": (c_int, (c_uint16, c_void_p, c_void_p)),
    "rte_eth_rx_queue_setup": (
        c_int,
        (c_uint16, c_uint16, c_uint16, c_uint, c_void_p, c_void_p),
    ),
    "rte_eth_tx_queue_setup": (
        c_int,
        (c_uint16, c_uint16, c_uint16, c_uint, c_void_p),
    ),
    "rte_eth_dev_start": (c_int, (c_uint16,)),
    "rte_eth_dev_stop": (c_int, (c_uint16,)),
    "rte_eth_dev_close": (c_int, (c_uint16,)),
    "rte_eth_promiscuous_enable": (c_int, (c_uint16,)),
    "rte_eth_promiscuous_disable": (c_int, (c_uint16,)),
    "rte_eth_promiscuous_get": (c_int, (c_uint16,)),
    "rte_eth_allmulticast_enable": (c_int, (c_uint16,)),
    "rte_eth_allmulticast_disable": (c_int, (c_uint16,)),
    "rte_eth_allmulticast_get": (c_int, (c_uint16,)),
    "rte_eth_macaddr_get": (c_int, (c_uint16, c_void_p)),
    "rte_eth_dev_default_mac_addr_set": (c_int, (c_uint16, c_void_p)),
    "rte_eth_dev_get_mtu": (c_int, (c_uint16, c_void_p)),
    "rte_eth_dev_set_mtu": (c_int, (c_uint16, c_uint16)),
    "rte_eth_link_get_nowait": (c_int, (c_uint16, c_void_p)),
    "rte_eth_dev_set_link_up": (c_int, (c_uint16,)),
    "rte_eth_dev_set_link_down": (c_int, (c_uint16,)),
    "rte_eth_stats_get": (c_int, (c_uint16, c_void_p)),
    "rte_eth_stats_reset": (c_int, (c_uint16,)),
    "rte_eth_xstats_get": (c_int, (c_uint16, c_void_p, c_uint)),
    "rte_eth_xstats_get_names": (c_int, (c_uint16, c_void_p, c_uint)),
    "rte_eth_dev_rx_offload_name": (c_char_p, (c_uint64,)),
    "rte_eth_dev_tx_offload_name": (c_char_p, (c_uint64,)),
    "rte_eth_dev_rx_intr_enable": (c_int, (c_uint16, c_uint16)),
    "rte_eth_dev_rx_intr_disable": (c_int, (c_uint16, c_uint16)),
    "rte_eth_dev_rx_intr_ctl_q_get_fd": (c_int, (c_uint16, c_uint16)),
    "rte_eth_call_rx_callbacks": (
        c_uint16,
        (c_uint16, c_uint16, c_void_p, c_uint16, c_uint16, c_void_p),
    ),
    "rte_eth_call_tx_callbacks": (
        c_uint16,
        (c_uint16, c_uint16, c_void_p, c_uint16, c_void_p),
    ),
}
BPF: dict[str, Prototype] = {
    "rte_bpf_load": (c_void_p, (c_void_p,)),
    "rte_bpf_destroy": (None, (c_void_p,)),
    "rte_bpf_exec_burst": (c_uint32, (c_void_p, c_void_p, c_void_p, c_uint32)),
    "rte_bpf_eth_rx_elf_load": (
        c_int,
        (c_uint16, c_uint16, c_void_p, c_char_p, c_char_p, c_uint32),
    ),
    "rte_bpf_eth_rx_unload": (None, (c_uint16, c_uint16)),
}

PROTOTYPES: dict[str, dict[str, Prototype]] = {
    "eal": EAL,
    "mempool": MEMPOOL,
    "mbuf": MBUF,
    "ethdev": ETHDEV,
    "bpf": BPF,
}
"""By the library, librte_NAME.so."""

BURST: Prototype = (c_uint16, (c_void_p, c_void_p, c_uint16))
"""eth_rx_burst_t and eth_tx_burst_t: queue, mbufs, their number."""

POOL_OP: Prototype = (c_int, (c_void_p, c_void_p, c_uint))
"""rte_mempool_dequeue_t and rte_mempool_enqueue_t: pool, objects, their number."""
