"""Faults on purpose: calls that fail or are slow, clocks, frames, random octets."""

from rumphyper.hypercalls.faults.base import Attachment, Fault
from rumphyper.hypercalls.faults.calls import Failing, Slow
from rumphyper.hypercalls.faults.clock import Course, Skew
from rumphyper.hypercalls.faults.frames import BadSend
from rumphyper.hypercalls.faults.seeded import Seeded
from rumphyper.hypercalls.faults.text import parse_fault
from rumphyper.hypercalls.faults.when import When

__all__ = [
    "Attachment",
    "BadSend",
    "Course",
    "Failing",
    "Fault",
    "Seeded",
    "Skew",
    "Slow",
    "When",
    "parse_fault",
]
