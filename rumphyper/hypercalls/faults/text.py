"""From words to a fault: ``malloc:nth=3``, ``clock:offset=1h``, ``bio:delay=5ms``."""

from __future__ import annotations

from typing import Any

from rumphyper.errors import FaultError, UnsupportedError
from rumphyper.hypercalls.catalogue import lookup
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.virtif import SEND
from rumphyper.hypercalls.faults import clock, frames, when
from rumphyper.hypercalls.faults.base import Fault
from rumphyper.hypercalls.faults.calls import Failing, Slow
from rumphyper.hypercalls.faults.frames import BadSend
from rumphyper.hypercalls.faults.seeded import Seeded
from rumphyper.hypercalls.faults.when import When
from rumphyper.units import Reader, delay, settings

FORM = "HYPERCALL:SETTING=VALUE,... or clock:SETTING=VALUE,..."
GETRANDOM = "rumpuser_getrandom"


def errno(text: str) -> Errno:
    """NetBSD's errno of that name."""
    try:
        return Errno[text]
    except KeyError:
        raise ValueError(f"NetBSD's have names like {', '.join(_SOME)}") from None


_SOME = ("ENOMEM", "EIO", "ENOSPC")
READERS: dict[str, Reader] = {**when.READERS, "errno": errno, "delay": delay}
"""The settings that every hypercall has."""


def parse_fault(text: str) -> Fault:
    """Make the fault that ``text`` describes; docs/faults.md has the forms.

    Raises FaultError with what is known, UnsupportedError for a hypercall that
    is not in the catalogue.
    """
    name, _, rest = text.partition(":")
    if name == "clock":
        values = _settings(text, rest, clock.READERS)
        if not values:
            raise _error(text, "nothing is set", clock.READERS)
        return clock.read_skew(values, text)
    try:
        call = lookup(name)
    except UnsupportedError as error:
        raise FaultError(
            f"fault {text!r}",
            f"{error.thing} is {error.cause}",
            f"{error.remedy}; the form is {FORM}; frames that arrive: "
            "-i virt0=faulty:drop=1%:LINKSTR",
        ) from None
    if call.name == SEND:
        values = _settings(text, rest, {**READERS, **frames.READERS})
        if values.keys() & (frames.READERS.keys() - {"seed"}):
            if values.keys() - frames.READERS.keys():
                raise _error(text, "two kinds of faults in one", frames.READERS)
            return BadSend(**values, text=text)
        if "delay" not in values:
            raise _error(text, "it cannot fail", {**frames.READERS, "delay": delay})
    values = _settings(text, rest, READERS)
    if call.name == GETRANDOM and values.keys() == {"seed"}:
        return Seeded(values["seed"], text)
    return _for_any(call.name, values, text)


def _for_any(name: str, values: dict[str, Any], text: str) -> Fault:
    """A call that fails or is slow."""
    if "seed" in values and "p" not in values:
        raise _error(text, "a seed without a probability p", READERS)
    if "errno" in values and "delay" in values:
        raise _error(text, "errno and delay are two faults", READERS)
    seconds, number = values.pop("delay", None), values.pop("errno", None)
    meant = When.of(values)
    if seconds is not None:
        return Slow(name, meant, seconds, text)
    return Failing(name, meant, number, text)


def _settings(text: str, rest: str, readers: dict[str, Reader]) -> dict[str, Any]:
    try:
        return settings(rest, readers)
    except ValueError as error:
        raise _error(text, str(error), readers) from None


def _error(text: str, cause: str, readers: dict[str, Reader]) -> FaultError:
    return FaultError(f"fault {text!r}", cause, f"settings: {', '.join(readers)}")
