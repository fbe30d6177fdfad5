"""What the mark ``vm`` on a test says."""

from __future__ import annotations

import os

import pytest

from tests.vm.kinds import KINDS, Kind

INSIDE = "RUMPHYPER_VM"
"""Set in a guest, to its kind."""
KERNEL, BUSYBOX = "RUMPHYPER_VM_KERNEL", "RUMPHYPER_VM_BUSYBOX"
"""Set in a guest, to the files it was made of: for guests of its own."""


def inside() -> str | None:
    """The kind of guest that this runs in, None on the host."""
    return os.environ.get(INSIDE)


def kind_of(item: pytest.Item) -> Kind | None:
    """The kind of guest that a test wants, None for the host."""
    mark = item.get_closest_marker("vm")
    if mark is None:
        return None
    if len(mark.args) != 1 or mark.args[0] not in KINDS:
        known = ", ".join(KINDS)
        raise pytest.UsageError(f"{item.nodeid}: vm{mark.args} is none of {known}")
    return KINDS[mark.args[0]]


def limit(item: pytest.Item) -> float:
    """The seconds that a test for a guest may take."""
    mark, kind = item.get_closest_marker("vm"), kind_of(item)
    if mark is None or kind is None:
        raise ValueError(f"{item.nodeid} is not for a guest")
    return float(mark.kwargs.get("timeout", kind.timeout))
