"""What the mini kernel has done so far, in figures."""

from __future__ import annotations

import attrs
from typing_extensions import Self

from rumphyper.kernel.mini.abi import ABSMONO
from rumphyper.kernel.mini.clocks import SECOND, now
from rumphyper.kernel.mini.system import System


@attrs.frozen
class Statistics:
    """What the kernel has done so far."""

    uptime: float
    """Seconds since the boot, by the host's monotonic clock."""

    allocations: int
    """Calls of rumpuser_malloc and rumpuser_anonmmap that succeeded."""

    memory: int
    """Octets of the host that the kernel holds."""

    lwps: int
    switches: int
    """How often the virtual CPU was given to an lwp."""

    waits: int
    """How often an lwp had to wait for it."""

    packets: int
    """Packets in use."""

    exhausted: int
    """Packets that were wanted and could not be had."""

    @classmethod
    def of(cls, system: System) -> Self:
        """The figures of this moment."""
        uptime = now(system.calls, ABSMONO) - system.booted
        return cls(
            uptime=uptime / SECOND,
            allocations=system.memory.allocations,
            memory=system.memory.in_use,
            lwps=len(system.lwps),
            switches=system.scheduler.switches,
            waits=system.scheduler.waits,
            packets=system.packets.in_use,
            exhausted=system.packets.exhausted,
        )
