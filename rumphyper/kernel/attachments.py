"""What stands before a kernel's hypercalls from its boot on: faults, recorders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rumphyper.errors import RumphyperError
from rumphyper.host.thunks import check_supported
from rumphyper.hypercalls.faults import Attachment, Fault, parse_fault
from rumphyper.kernel.starting import Watch

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


def patience(attachments: Sequence[Attachment]) -> list[Watch]:
    """What gives up a boot with attachments; nothing without any.

    A fault may make the kernel wait for ever, for memory as long as its page
    daemon does not run.
    """
    faults = [one for one in attachments if isinstance(one, Fault)]

    def watch(elapsed: float) -> RumphyperError | None:
        if elapsed <= PATIENCE + sum(fault.waited for fault in faults):
            return None
        injected = [fault.text for fault in faults if fault.injected]
        return RumphyperError(
            "the rump kernel",
            f"rump_init has not come back in {PATIENCE:g} seconds; injected: "
            f"{', '.join(injected) or 'nothing'}",
            "end this process; let it fail at a later call",
        )

    return [watch] if attachments else []
