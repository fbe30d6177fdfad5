"""The end: of the process, and signals.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser.c.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

from rumphyper.host.libc import libc
from rumphyper.hypercalls.families.console import Console
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.signals import raise_in_thread, to_host

PANIC = -1


class Termination(Family):
    """Ends the process for the kernel.

    ``on_exit`` is called first with the status (-1 after a panic); what it
    raises is ignored. ``console`` is told to write its last line.
    """

    family = "termination"

    def __init__(
        self,
        console: Console | None = None,
        on_exit: Callable[[int], object] | None = None,
    ) -> None:
        self.console = console
        self.on_exit = on_exit

    def exit(self, value: int) -> None:
        """End in order, after a panic by abort(3), for the core dump.

        The kernel calls this from any of its threads, where SystemExit would
        end nothing. So Python's atexit functions run here, then everything is
        written out and the process is gone.
        """
        _quietly(lambda: self._say("halted\n"))
        on_exit = self.on_exit
        if on_exit is not None:
            _quietly(lambda: on_exit(value))
        if value == PANIC:
            flush_all()
            libc().abort()
        _quietly(atexit._run_exitfuncs)
        flush_all()
        os._exit(value & 0xFF)

    def kill(self, pid: int, sig: int) -> int:
        """Raise NetBSD's signal ``sig`` here; unknown ones are ignored."""
        host = to_host(sig)
        if host:
            raise_in_thread(host)
        return 0

    def _say(self, text: str) -> None:
        if self.console is not None:
            self.console.flush()
            self.console.write(text)


def flush_all() -> None:
    """Write out what Python's and C's standard streams hold back."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _quietly(stream.flush)
    libc().fflush(None)


def _quietly(function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException:  # nothing may stop the end
        pass
