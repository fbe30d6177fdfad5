"""Who answers what: the modes in which a kernel can be booted.

A mode names a provider for each hypercall; interfaces (virtif, shmif, pci) are
this package's in every mode. Overrides come on top. Locks ask for the calling
thread's lwp and component functions give up and take what locks hold, so these
three families have to come from one side.
"""

from __future__ import annotations

from collections.abc import Iterable

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.binding import Binding
from rumphyper.hypercalls.record import Hypercall

MODES = {
    "native": "the stock librumpuser answers",
    "hybrid": "the stock librumpuser answers what is hot, Python the rest",
    "libc": "Python answers, with libc's locks; no stock library",
    "python": "Python answers everything",
}
"""The modes and what each means."""

STOCK, PYTHON, LIBC = "stock", "python", "libc"

OURS = frozenset(("virtif", "shmif", "pci"))
"""Families of the interfaces' components: never the stock librumpuser's."""

TOGETHER = ("locks", "lwp", "component")
"""Families that have to be of one side."""

_HOT_FAMILIES = frozenset(
    (*TOGETHER, "memory", "clock", "errno", "threads", "dl"),
)
_HOT_FILES = frozenset(("bio", "iovread", "iovwrite"))
"""What hybrid leaves to the stock library: it is called thousands of times in a
boot or for a megabyte, from threads without Python, or (dl) reads a lot."""


def needs_stock(mode: str) -> bool:
    """Whether the mode needs the stock librumpuser."""
    return mode in ("native", "hybrid")


def provider(mode: str, call: Hypercall) -> str:
    """Who answers ``call`` in ``mode``: STOCK, LIBC or PYTHON.

    Raises UnsupportedError for an unknown mode.
    """
    check_mode(mode)
    if call.family in OURS:
        return PYTHON
    if mode == "native":
        return STOCK
    hot = call.family in _HOT_FAMILIES or (
        call.family == "files" and call.method in _HOT_FILES
    )
    if mode == "hybrid":
        return STOCK if hot else PYTHON
    return mode


def check_mode(mode: str) -> None:
    """Raise UnsupportedError, naming the known ones, for an unknown mode."""
    if mode not in MODES:
        raise UnsupportedError(
            f"hypercalls={mode!r}", "no such mode", f"known: {', '.join(MODES)}"
        )


def check_together(mode: str, bindings: Iterable[Binding]) -> None:
    """Raise UnsupportedError where locks, lwp and component do not fit together."""
    found: dict[str, list[str]] = {}
    for binding in bindings:
        if binding.call.family in TOGETHER:
            side = STOCK if binding.provider == STOCK else "ours"
            if binding.provider == "override":
                side = "an override"
            found.setdefault(side, []).append(binding.call.name)
    if len(found) < 2:
        return
    least = min(found, key=lambda side: len(found[side]))
    names = found[least]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    raise UnsupportedError(
        f"hypercalls={mode!r} with {names[0]}{more} by {least}",
        f"{', '.join(TOGETHER)} work on the same lwps and locks: one side must "
        "answer them all",
        "use a mode that has them all on one side, or an Around, which keeps the "
        "answer that it stands before",
    )
