"""Who has a device's file open, to name them when it is busy."""

from __future__ import annotations

import os
from pathlib import Path


def holders(path: str, proc: Path = Path("/proc")) -> list[str]:
    """The processes that have a file open, as ``name (pid)``; ours as such.

    Those of other users are seen by root only.
    """
    found = []
    for process in sorted(proc.glob("[0-9]*"), key=lambda each: int(each.name)):
        if _has_open(process, path):
            found.append(_name(process))
    return found


def _has_open(process: Path, path: str) -> bool:
    try:
        return any(os.readlink(fd) == path for fd in (process / "fd").iterdir())
    except OSError:  # it has ended, or is not ours to look at
        return False


def _name(process: Path) -> str:
    if process.name == str(os.getpid()):
        return "this process"
    try:
        name = (process / "comm").read_text(errors="replace").strip()
    except OSError:
        name = "a process"
    return f"{name} ({process.name})"
