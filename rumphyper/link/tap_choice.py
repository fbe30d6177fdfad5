"""Which way a TAP's frames go: what was asked for, or what costs less here."""

from __future__ import annotations

from rumphyper.host.batches import NEVER, cost
from rumphyper.link.tap_batch import BatchIo, UringIo, WalkIo

KINDS: dict[str, tuple[type[BatchIo], ...]] = {
    "uring": (UringIo,),
    "walk": (WalkIo,),
    "plain": (),
}


def ways(io: str) -> tuple[tuple[type[BatchIo], ...], str]:
    """What to try, in order, before plain calls; why io_uring is not the first."""
    if io != "auto":
        return KINDS[io], ""
    uring, walk = cost(UringIo.kind), cost(WalkIo.kind)
    if walk == NEVER:
        return (UringIo,), ""
    if uring == NEVER or uring < walk:
        return (UringIo, WalkIo), ""  # where it is refused, its error says why
    why = f"a system call costs {walk:.0f} ns here, by io_uring {uring:.0f} ns"
    return (WalkIo, UringIo), why
