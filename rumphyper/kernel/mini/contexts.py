"""Does the host keep the rules of the virtual CPU?

A hypercall that waits must give up the CPU meanwhile (or the whole kernel
stands still) and must have it back when it returns; one that does not wait
must leave it alone. The mini kernel watches each of its calls and reports
what breaks a rule: rumpuser(3), sys/rump/librump/rumpkern/scheduler.c.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rumphyper.kernel.mini.calls import Calls, Function, full_name
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.lwp import Lwps
from rumphyper.kernel.mini.scheduler import Scheduler

MUST_GIVE = ("clock_sleep", "cv_wait", "cv_timedwait", "thread_join")
"""Hypercalls that always wait."""

MAY_GIVE = (
    "mutex_enter",
    "rw_enter",
    "rw_downgrade",
    "virt_create",
    "virt_send",
    "virt_dying",
    "virt_destroy",
)
"""Hypercalls that wait sometimes."""

STALL = 2.0
"""Seconds that an lwp may sit in a hypercall with a CPU that another wants."""


class Contexts:
    """Watches the calls that may wait; ``report`` gets one line a violation."""

    def __init__(
        self,
        calls: Calls,
        scheduler: Scheduler,
        lwps: Lwps,
        report: Callable[[str], None],
    ) -> None:
        self._scheduler = scheduler
        self._lwps = lwps
        self._report = report
        for name in MUST_GIVE:
            setattr(calls, name, self._watched(name, getattr(calls, name), True))
        for name in MAY_GIVE:
            setattr(calls, name, self._watched(name, getattr(calls, name), False))
        self._stop = threading.Event()
        self._watchdog = threading.Thread(
            target=self._watch, name="mini watchdog", daemon=True
        )
        try:
            self._watchdog.start()
        except RuntimeError as error:
            raise MiniKernelError(
                "watchdog thread", str(error), "end others, or raise ulimit -u"
            ) from None

    def _watched(self, name: str, function: Function, must_give: bool) -> Function:
        scheduler, report = self._scheduler, self._report
        current = self._lwps.carried_here

        def watched(*arguments: Any) -> Any:
            lwp = current()
            if lwp is None or scheduler.owner is not lwp:
                report(f"the kernel called {full_name(name)} without the virtual CPU")
                return function(*arguments)
            given = lwp.handovers
            lwp.inside = name
            result = function(*arguments)
            lwp.inside = ""
            if scheduler.owner is not lwp:
                report(f"{full_name(name)} came back without the virtual CPU")
                lwp.away = None
                scheduler.take(lwp)
            elif must_give and lwp.handovers == given:
                report(f"{full_name(name)} waited and kept the virtual CPU")
            return result

        return watched

    def _watch(self) -> None:
        """Look twice a second whether the CPU is stuck in a hypercall.

        Python's own clock and thread, not the host's: they are what is judged.
        """
        reported = None
        while not self._stop.wait(STALL / 4):
            owner, since = self._scheduler.owner, self._scheduler.since
            if owner is None or not self._scheduler.wanted or not owner.inside:
                continue
            if time.monotonic() - since < STALL or reported == (owner, since):
                continue
            reported = owner, since
            self._report(
                f"{full_name(owner.inside)} has kept the virtual CPU for more than "
                f"{STALL:g} s while {self._scheduler.wanted} wait for it"
            )

    def close(self) -> None:
        """Stop the watchdog."""
        self._stop.set()
        self._watchdog.join()
