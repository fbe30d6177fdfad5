"""Running programs: on an array of mbufs, or on all that a queue receives.

DPDK lib/bpf/rte_bpf.h, rte_bpf_ethdev.h.
"""

from __future__ import annotations

import ctypes
import os
import struct

from rumphyper.dpdk.bpf import MOST, Program
from rumphyper.dpdk.bpffile import SECTION, elf_object
from rumphyper.dpdk.eal import Eal
from rumphyper.dpdk.pool import HEADROOM
from rumphyper.dpdk.port import Port

ARG_PTR_MBUF = 17
"""RTE_BPF_ARG_PTR_MBUF: what the program gets."""

JIT = 1
"""RTE_BPF_ETH_F_JIT."""

_THING = "BPF program"


def _parameters(eal: Eal, code: bytes | None) -> ctypes.Array[ctypes.c_char]:
    """A struct rte_bpf_prm, which holds on to its instructions."""
    layout = eal.dpdk.layout
    raw = ctypes.create_string_buffer(layout["rte_bpf_prm"])
    if code is not None:
        raw.code = ctypes.create_string_buffer(code, len(code))  # type: ignore[attr-defined]
        at = ctypes.addressof(raw.code)  # type: ignore[attr-defined]
        struct.pack_into("<Q", raw, layout["rte_bpf_prm.ins"], at)
        struct.pack_into("<I", raw, layout["rte_bpf_prm.nb_ins"], len(code) // 8)
    argument = layout["rte_bpf_prm.prog_arg"]
    for name, form, value in (
        ("type", "<I", ARG_PTR_MBUF),
        ("size", "<Q", layout["rte_mbuf"]),
        ("buf_size", "<Q", HEADROOM + MOST),
    ):
        struct.pack_into(form, raw, argument + layout[f"rte_bpf_arg.{name}"], value)
    return raw


class Loaded:
    """A program that DPDK has verified, for mbufs that one holds."""

    def __init__(self, eal: Eal, program: Program) -> None:
        """Raises HostError when the verifier refuses it, with what it says."""
        self._eal = eal
        eal.log.forget()
        code = program.instructions(eal.dpdk.layout)
        self._bpf = eal.lib.rte_bpf_load(_parameters(eal, code))
        if not self._bpf:
            raise eal.failure(_THING, -1, "report the program")

    def run(self, mbufs: int, count: int) -> list[int]:
        """Run it on an array of mbufs; a list of verdicts, 0 for drop."""
        verdicts = (ctypes.c_uint64 * count)()
        self._eal.lib.rte_bpf_exec_burst(self._bpf, mbufs, verdicts, count)
        return list(verdicts)

    def close(self) -> None:
        """Free the program. Idempotent."""
        bpf, self._bpf = self._bpf, None
        if bpf and not self._eal.closed:
            self._eal.lib.rte_bpf_destroy(bpf)


class Attached:
    """A program that runs on all that a queue of a port receives, as a callback.

    It is compiled where DPDK can. What it drops nobody receives. One program at a
    time is attached to a queue: a newer one takes its place.
    """

    def __init__(self, port: Port, queue: int, program: Program) -> None:
        """Raises HostError when DPDK refuses the program."""
        self._port, self._queue = port, queue
        eal = port.eal
        octets = elf_object(program.instructions(eal.dpdk.layout))
        fd = os.memfd_create("rumphyper-bpf", os.MFD_CLOEXEC)
        try:
            os.write(fd, octets)
            path = f"/proc/self/fd/{fd}".encode()
            where = (port.number, queue, _parameters(eal, None), path, SECTION.encode())
            load = eal.lib.rte_bpf_eth_rx_elf_load
            with eal.lock:
                eal.log.forget()
                result = load(*where, JIT)
                if result == -95:  # ENOTSUP: no compiler for this machine
                    result = load(*where, 0)
                if result < 0:
                    raise eal.failure(_THING, result, "report the program")
        finally:
            os.close(fd)
        self.attached = True

    def close(self) -> None:
        """Let frames pass as they are again. Idempotent."""
        if self.attached:
            self.attached = False
            self._port.eal.lib.rte_bpf_eth_rx_unload(self._port.number, self._queue)
