"""How NetBSD counts its versions."""

from __future__ import annotations


def version_text(number: int) -> str:
    """``7.99.34`` for __NetBSD_Version__ 799003400 (NetBSD sys/sys/param.h)."""
    major, minor = number // 100000000, number // 1000000 % 100
    return f"{major}.{minor}.{number // 100 % 10000}"
