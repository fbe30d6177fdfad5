"""Settings as people write them: ``drop=1%,by=20ms,seed=7``.

Everything here raises ValueError with the setting and what it may be; callers
add the thing that was set and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Reader = Callable[[str], Any]

SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
"""The units of a duration."""

LONGEST = 100 * 365.25 * SECONDS["d"]

_NUMBER = r"\d{1,12}(?:\.\d{0,12})?|\.\d{1,12}"


def probability(text: str) -> float:
    """``1%`` or ``0.01``: from 0 to 1."""
    match = re.fullmatch(rf"({_NUMBER})(%?)", text, re.ASCII)
    value = float(match[1]) / (100 if match[2] else 1) if match else 2.0
    if value > 1:
        raise ValueError("a probability is 0.01 or 1%, and at most 1")
    return value


def duration(text: str) -> float:
    """Seconds of ``20ms``, ``1h`` or ``-1.5`` (seconds)."""
    match = re.fullmatch(rf"([+-]?)({_NUMBER})([a-z]*)", text, re.ASCII)
    unit = SECONDS.get(match[3] or "s") if match else None
    if match is None or unit is None:
        raise ValueError(f"a time is a number and one of {', '.join(SECONDS)}")
    value = float(match[2]) * unit
    if value > LONGEST:
        raise ValueError("more than 100 years")
    return -value if match[1] == "-" else value


def delay(text: str) -> float:
    """A duration that is not negative."""
    value = duration(text)
    if value < 0:
        raise ValueError("a delay is not negative")
    return value


def count(text: str) -> int:
    """A number of at least 1."""
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < 1:
        raise ValueError("not a number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A number that is not negative."""
    return 0 if text == "0" else count(text)


def factor(text: str) -> float:
    """A factor between 0.001 and 1000."""
    if not re.fullmatch(_NUMBER, text, re.ASCII) or not 0.001 <= float(text) <= 1000:
        raise ValueError("a factor lies between 0.001 and 1000")
    return float(text)


def settings(text: str, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Read ``key=value,key=value``; each key at most once."""
    found: dict[str, Any] = {}
    for word in text.split(",") if text else ():
        key, equals, value = word.partition("=")
        reader = readers.get(key)
        if reader is None:
            raise ValueError(f"{word!r} is no setting")
        if not equals:
            raise ValueError(f"{key!r} has no value")
        if key in found:
            raise ValueError(f"{key!r} is given twice")
        try:
            found[key] = reader(value)
        except ValueError as error:
            raise ValueError(f"{word}: {error}") from None
    return found
