"""What stands before a kernel's hypercalls from its boot on: faults, recorders."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from rumphyper.errors import RumphyperError
from rumphyper.host.thunks import check_supported
from rumphyper.hypercalls.faults import Attachment, Fault, parse_fault

PATIENCE = 30.0
"""Seconds for a boot with faults; one without takes less than a tenth of one."""


def read_attachments(wanted: Iterable[str | Attachment]) -> tuple[Attachment, ...]:
    """Faults in words as objects, everything else as it is.

    Raises FaultError, and UnsupportedError where hypercalls cannot be answered
    in Python.
    """
    found = tuple(parse_fault(one) if isinstance(one, str) else one for one in wanted)
    if found:
        check_supported()
    return found


def run_init(init: Callable[[], int], attachments: Sequence[Attachment]) -> int:
    """Call rump_init and return its result.

    With attachments it runs in a thread of its own, for a fault may make the
    kernel wait for ever (for memory, as long as its page daemon does not run):
    then RumphyperError says so, and the thread is left where it is.
    """
    if not attachments:
        return init()
    results: list[int] = []
    thread = threading.Thread(
        target=lambda: results.append(init()), name="rump_init", daemon=True
    )
    began = time.monotonic()
    thread.start()
    faults = [one for one in attachments if isinstance(one, Fault)]
    while not results:
        thread.join(0.05 if time.monotonic() - began > 0.5 else 0.002)
        late = sum(fault.waited for fault in faults)
        if time.monotonic() - began > PATIENCE + late:
            injected = [fault.text for fault in faults if fault.injected]
            raise RumphyperError(
                "the rump kernel",
                f"rump_init has not come back in {PATIENCE:g} seconds; injected: "
                f"{', '.join(injected) or 'nothing'}",
                "end this process; let it fail at a later call",
            )
    return results[0]
