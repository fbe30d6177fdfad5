"""DPDK's libraries through ctypes: EAL, ports, mempools, mbufs, bursts, BPF.

`rumphyper.link.dpdk` makes links of it. What DPDK's headers have as inline
functions is done here over the structures themselves, whose layouts depend on
DPDK's version (`rumphyper.dpdk.layouts`).
"""
