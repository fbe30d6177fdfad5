"""The mini kernel: a small kernel in Python behind librump's C interface.

It asks its host for everything by the same hypercalls as a NetBSD rump kernel,
and answers ARP, pings, neighbour discovery and UDP echo. It teaches, it runs
`rumphyper demo` where no rump library is, and it judges the hypercalls.
"""

from rumphyper.kernel.mini.errors import ContextError, MiniKernelError
from rumphyper.kernel.mini.interface import Interface, InterfaceCounters
from rumphyper.kernel.mini.kernel import MiniKernel
from rumphyper.kernel.mini.statistics import Statistics

__all__ = [
    "ContextError",
    "Interface",
    "InterfaceCounters",
    "MiniKernel",
    "MiniKernelError",
    "Statistics",
]
