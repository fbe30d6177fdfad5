"""The types of ``rumphyper gen``'s arguments."""

from __future__ import annotations

import argparse
import re

from rumphyper.gen.flows import Range, parse_range

_SUFFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def rate(text: str) -> float:
    """Frames a second: ``5000``, ``20k``, ``1.5M``."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,9})?)([kMG]?)", text, re.ASCII)
    value = float(match[1]) * _SUFFIXES[match[2]] if match else 0.0
    if not 0.001 <= value <= 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate such as 5000 or 20k")
    return value


def range_argument(text: str) -> Range:
    """Addresses and ports."""
    try:
        return parse_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def times(text: str) -> float:
    """How many times as fast; 0 has a meaning of its own."""
    number = float(text)
    if not 0 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no factor up to a million")
    return number
