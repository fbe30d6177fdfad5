"""Traces and fork(2): the child finds none in the middle of something.

A fork takes the calling thread along and nobody else. What another thread has
locked, such as the one that hands records on, would stay locked in the child.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rumphyper.hypercalls.trace import Trace

PATIENCE = 0.2
"""Seconds that a fork waits for other threads, and for sinks that are slow."""

_traces: weakref.WeakSet[Trace] = weakref.WeakSet()
_held: list[Trace] = []


def watch(trace: Trace) -> None:
    """Hold ``trace`` still during every fork from now on."""
    _traces.add(trace)


def _before() -> None:
    _held.extend(trace for trace in list(_traces) if trace.hold(PATIENCE))


def _in_parent() -> None:
    while _held:
        _held.pop().let_go()


def _in_child() -> None:
    _held.clear()
    for trace in list(_traces):
        trace.renew()


os.register_at_fork(
    before=_before, after_in_parent=_in_parent, after_in_child=_in_child
)
