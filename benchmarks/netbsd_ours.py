"""bench netbsd's side of rumphyper: the same kernel on our hypercalls.

Run as a program: ``netbsd_ours.py TASK ARGUMENT``; see netbsd_tasks.py. What
the link is given comes as JSON in RUMPHYPER_BENCH. Kernel and interfaces are
made by the public face; the traffic is driven by the same plain calls as the
stock side's, for it is the hypercalls that are compared.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import rumphyper
from rumphyper.hypercalls.taps import Taps
from rumphyper.hypercalls.trace import Trace
from rumphyper.kernel.tuning import set_tcp_buffers

if TYPE_CHECKING:
    from benchmarks import netbsd_tasks as tasks
    from benchmarks.netbsd_stock import COMPONENTS, StockKernel
else:
    import netbsd_tasks as tasks  # beside this program
    from netbsd_stock import COMPONENTS, StockKernel


class OurKernel(StockKernel):
    """The same components and calls on rumphyper's kernel object."""

    def __init__(self) -> None:
        settings: dict[str, Any] = json.loads(os.environ.get("RUMPHYPER_BENCH", "{}"))
        self.link_options: dict[str, Any] = settings.get("link", {})
        self.linkstr: str = settings.get("linkstr", f"tap:{tasks.TAP}")
        names = [name for name in COMPONENTS if name not in ("rumpuser", "rump")]
        traced = settings.get("trace", "")
        trace = trace_of(traced)
        self.kernel = rumphyper.boot(names, trace=trace, **settings.get("boot", {}))
        self.kernel.hypervisor.counting = traced == "count"
        self.boot_ms = self.kernel.started_in * 1e3
        self.kernel.syscall("getpid")  # this thread gets its lwp
        if "tcp_buffer" in settings:
            set_tcp_buffers(self.kernel, settings["tcp_buffer"])
        self.rump = self.kernel.library
        self.prepare()

    def interface(self, name: str, address: str, bus: str = "") -> None:
        linkstr = f"shmif:{bus}" if bus else self.linkstr
        options = {} if bus else self.link_options
        interface = self.kernel.create_interface(name, linkstr, **options)
        interface.add_address(f"{address}/24")
        interface.up()


def trace_of(kind: str) -> Trace | None:
    """The trace that bench trace asks for: see there."""
    if kind == "wrapper":
        Taps.supported = property(lambda taps: False)  # type: ignore[assignment, method-assign]
    return {"ring": Trace(), "wrapper": Trace(), "table": Trace(keep=0)}.get(kind)


if __name__ == "__main__":
    tasks.run(OurKernel, sys.argv[1:])
