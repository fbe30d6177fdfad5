"""What `rumphyper demo` shows: a kernel on a bus, and a station that pings it.

Kernel, station and recorder are three users of one shared-memory bus; each has
its own link to it, as if it were another process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING

import attrs
from typing_extensions import Self

from rumphyper.net.answer import Address
from rumphyper.net.pinger import Lost, Pinger, Reply, Summary
from rumphyper.net.stack import Stack

if TYPE_CHECKING:
    from rumphyper.hypercalls.trace import Trace
    from rumphyper.link import Link
    from rumphyper.link.shmif import ShmifLink

INTERFACE = "virt0"
STATION4, STATION6 = IPv4Interface("10.0.0.1/24"), IPv6Interface("fd00::1/64")
KERNEL4, KERNEL6 = IPv4Interface("10.0.0.2/24"), IPv6Interface("fd00::2/64")
TARGETS: tuple[Address, ...] = (KERNEL4.ip, KERNEL6.ip)

GRACE = 1.0
"""Seconds that a ping under way still has when the user wants to stop."""

PATIENCE = 5.0
"""Seconds that an answer may take: a busy machine is no lost frame."""

Say = Callable[[str], object]
Starter = Callable[[str, "Trace", Say], AbstractContextManager[object]]


@contextmanager
def _mini(linkstr: str, trace: Trace, say: Say) -> Iterator[object]:
    """Boot the mini kernel over hypercalls that Python answers."""
    from rumphyper.host.thunks import supported
    from rumphyper.hypercalls.hypervisor import Hypervisor
    from rumphyper.hypercalls.python import python_families
    from rumphyper.kernel.mini import MiniKernel
    from rumphyper.kernel.mini.gate import gate

    # without symbols the family has to be told where frames go
    library = None if supported() else gate().deliver
    families = python_families(write=say, debug=say, library=library)
    with ExitStack() as stack:
        hypervisor = stack.enter_context(Hypervisor(families, trace=trace))
        kernel = stack.enter_context(MiniKernel(hypervisor))
        addresses = [str(KERNEL4), str(KERNEL6)]
        yield kernel.create_interface(INTERFACE, linkstr, addresses)


@contextmanager
def _netbsd(linkstr: str, trace: Trace, say: Say) -> Iterator[object]:
    """Boot NetBSD; its frames go through Python."""
    from rumphyper.kernel.boot import boot

    with boot(verbose=True, trace=trace, console=say) as kernel:
        interface = kernel.create_interface(INTERFACE, linkstr)
        interface.add_address(KERNEL4)
        interface.add_address(KERNEL6)
        interface.up()
        yield interface


KERNELS: Mapping[str, Starter] = {"mini": _mini, "netbsd": _netbsd}
"""The kernels that the demo can boot. A starter gets the linkstr, the trace for
the kernel's hypercalls and what takes its console's text; it returns a context
manager in which the kernel has `INTERFACE` up with `KERNEL4` and `KERNEL6`."""


def choose(name: str) -> str:
    """The kernel that ``auto`` stands for here, or ``name`` itself."""
    if name != "auto":
        return name
    from rumphyper.errors import RumphyperError
    from rumphyper.host.thunks import supported
    from rumphyper.kernel.boot import default_components
    from rumphyper.kernel.libraries import Libraries

    try:
        libraries = Libraries()
        libraries.plan(default_components(libraries))
    except RumphyperError:
        return "mini"
    return "netbsd" if supported() else "mini"


class Recorder:
    """Keeps every frame of the bus in a capture file.

    It watches the bus read-only, so it has no part in what it records. The
    times are the senders' stamps, which are coarse: where they would go back
    they stand still.
    """

    def __init__(self, path: str) -> None:
        from rumphyper.link.pcapwrite import PcapWriter

        kind = "pcapng" if path.endswith(".pcapng") else "pcap"
        self._file = PcapWriter(path, format=kind)
        self._watcher: ShmifLink | None = None
        self._uptime_began = time.time_ns() - time.monotonic_ns()
        self._last = 0

    def watch(self, bus: str) -> None:
        """Begin with the oldest frame on ``bus``, a bus that exists."""
        from rumphyper.link.shmif import open_shmif

        self._watcher = open_shmif(bus, readonly=True, from_start=True)

    @property
    def frames(self) -> int:
        """How many have been recorded."""
        return self._file.counters.sent

    @property
    def missed(self) -> int:
        """How often the bus was faster than the recorder."""
        return self._watcher.counters.dropped if self._watcher else 0

    def poll(self) -> None:
        """Take over what is new on the bus. HostError, CorruptError."""
        if self._watcher is None:
            return
        while packets := self._watcher.recv_packets(timeout=0):
            stamped = []
            for packet in packets:
                uptime = packet.seconds * 10**9 + packet.microseconds * 1000
                self._last = max(self._last, self._uptime_began + uptime)
                stamped.append((self._last, packet.frame))
            self._file.send_stamped(stamped)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._file.close()


@attrs.define(eq=False)
class Station:
    """The second station on the bus, which pings.

    ``wait(fd, seconds)`` waits for a frame and is false when the user wants to
    stop; ``after`` is called after each exchange. ``summaries`` gets the figures
    of each target.
    """

    link: Link
    wait: Callable[[int, float], bool]
    after: Callable[[], object] | None
    summaries: dict[Address, Summary]
    stopped: bool = False

    def ping(
        self, target: Address, count: int, interval: float
    ) -> Iterator[Reply | Lost]:
        """Ping ``target``; yield what happens as it happens."""
        stack = Stack(self.link.mac, [STATION4], [STATION6])
        pinger = Pinger(stack, target, count=count, interval=interval, timeout=PATIENCE)
        try:
            while (deadline := pinger.deadline()) is not None:
                self._exchange(pinger, deadline)
                if self.after is not None:
                    self.after()
                yield from pinger.events()
                if self.stopped:
                    break
        finally:
            self.summaries[target] = pinger.summary()

    def _exchange(self, pinger: Pinger, deadline: float) -> None:
        now = time.monotonic()
        if now >= deadline:
            self.link.send(pinger.poll(now))
        elif self.wait(self.link.fileno(), deadline - now):
            self._input(pinger, 0)
        else:
            self.stopped = True
            pinger.count = pinger.transmitted
            end = time.monotonic() + GRACE
            while not pinger.finished and (left := end - time.monotonic()) > 0:
                self._input(pinger, left)

    def _input(self, pinger: Pinger, timeout: float) -> None:
        for frame in self.link.recv(timeout=timeout):
            answers = pinger.input(frame, time.monotonic())
            if answers:
                self.link.send(answers)
