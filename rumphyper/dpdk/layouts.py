"""Where DPDK keeps what: sizes and offsets in octets, by version of its ABI.

A name with a dot is the offset of a structure's member, one without is its size.
They are those of x86-64 builds with 64-bit IOVAs in mbufs, DPDK's default. A test
holds them against the headers that are installed; the others were taken from the
headers of releases 21.11, 22.11, 23.11, 24.11 and 25.11 by the same program.
DPDK lib/mbuf/rte_mbuf_core.h, lib/mempool/rte_mempool.h, lib/ethdev/rte_ethdev.h
and rte_ethdev_core.h, lib/bpf/rte_bpf.h.
"""

from __future__ import annotations

COMMON = {
    "rte_mbuf": 128,
    "rte_mbuf.buf_addr": 0,
    "rte_mbuf.buf_iova": 8,
    "rte_mbuf.data_off": 16,
    "rte_mbuf.refcnt": 18,
    "rte_mbuf.nb_segs": 20,
    "rte_mbuf.port": 22,
    "rte_mbuf.ol_flags": 24,
    "rte_mbuf.pkt_len": 36,
    "rte_mbuf.data_len": 40,
    "rte_mbuf.buf_len": 54,
    "rte_mbuf.pool": 56,
    "rte_mbuf.next": 64,
    "rte_mbuf.priv_size": 88,
    "rte_mempool.cache_size": 68,
    "rte_mempool.elt_size": 72,
    "rte_mempool.ops_index": 88,
    "rte_mempool_ops_table.ops": 64,
    "rte_mempool_ops": 128,
    "rte_mempool_ops.enqueue": 48,
    "rte_mempool_ops.dequeue": 56,
    "rte_eth_fp_ops": 128,
    "rte_eth_dev_info.driver_name": 8,
    "rte_eth_dev_info.min_mtu": 20,
    "rte_eth_dev_info.max_mtu": 22,
    "rte_eth_dev_info.rx_offload_capa": 72,
    "rte_eth_dev_info.tx_offload_capa": 80,
    "rte_eth_desc_lim.nb_max": 0,
    "rte_eth_desc_lim.nb_min": 2,
    "rte_eth_desc_lim.nb_align": 4,
    "rte_eth_dev_portconf.ring_size": 2,
    "rte_eth_conf.rxmode.mtu": 12,
    "rte_eth_conf.rxmode.offloads": 24,
    "rte_eth_conf.txmode.offloads": 72,
    "rte_eth_link": 8,
    "rte_eth_link.link_speed": 0,
    "rte_eth_stats.ipackets": 0,
    "rte_eth_stats.opackets": 8,
    "rte_eth_stats.ibytes": 16,
    "rte_eth_stats.obytes": 24,
    "rte_eth_stats.imissed": 32,
    "rte_eth_stats.ierrors": 40,
    "rte_eth_stats.oerrors": 48,
    "rte_eth_stats.rx_nombuf": 56,
    "rte_eth_xstat": 16,
    "rte_eth_xstat.id": 0,
    "rte_eth_xstat.value": 8,
    "rte_eth_xstat_name": 64,
    "rte_bpf_prm": 56,
    "rte_bpf_prm.ins": 0,
    "rte_bpf_prm.nb_ins": 8,
    "rte_bpf_prm.prog_arg": 32,
    "rte_bpf_arg": 24,
    "rte_bpf_arg.type": 0,
    "rte_bpf_arg.size": 8,
    "rte_bpf_arg.buf_size": 16,
}
"""The same in every version that is known."""

_22 = {
    "rte_eth_fp_ops.rx_pkt_burst": 0,
    "rte_eth_fp_ops.rxq.data": 24,
    "rte_eth_fp_ops.rxq.clbk": 32,
    "rte_eth_fp_ops.tx_pkt_burst": 64,
    "rte_eth_fp_ops.txq.data": 88,
    "rte_eth_fp_ops.txq.clbk": 96,
    "rte_eth_dev_info": 344,
    "rte_eth_dev_info.max_rx_pktlen": 36,
    "rte_eth_dev_info.max_rx_queues": 44,
    "rte_eth_dev_info.max_tx_queues": 46,
    "rte_eth_dev_info.rx_desc_lim": 246,
    "rte_eth_dev_info.tx_desc_lim": 256,
    "rte_eth_dev_info.speed_capa": 268,
    "rte_eth_dev_info.default_rxportconf": 276,
    "rte_eth_dev_info.dev_capa": 288,
    "rte_eth_conf": 3080,
    "rte_eth_conf.intr_conf": 3072,
}

_23 = {
    **_22,
    "rte_eth_dev_info": 376,
    "rte_eth_dev_info.rx_desc_lim": 262,
    "rte_eth_dev_info.tx_desc_lim": 272,
    "rte_eth_dev_info.speed_capa": 284,
    "rte_eth_dev_info.default_rxportconf": 294,
    "rte_eth_dev_info.dev_capa": 312,
    "rte_eth_conf": 2272,
    "rte_eth_conf.intr_conf": 2264,
}

_24 = {
    **_23,
    "rte_eth_fp_ops.rx_pkt_burst": 16,
    "rte_eth_fp_ops.rxq.data": 0,
    "rte_eth_fp_ops.rxq.clbk": 8,
    "rte_eth_fp_ops.tx_pkt_burst": 80,
    "rte_eth_fp_ops.txq.data": 64,
    "rte_eth_fp_ops.txq.clbk": 72,
    "rte_eth_dev_info.max_rx_pktlen": 40,
    "rte_eth_dev_info.max_rx_queues": 48,
    "rte_eth_dev_info.max_tx_queues": 50,
    "rte_eth_conf": 2280,
    "rte_eth_conf.intr_conf": 2272,
}

LAYOUTS = {
    22: {**COMMON, **_22},
    23: {**COMMON, **_23},
    24: {**COMMON, **_24},
    25: {**COMMON, **_24},
    26: {**COMMON, **_24},
}
"""By the ABI's number: 22 is that of DPDK 21.11 to 22.07, and so on."""
