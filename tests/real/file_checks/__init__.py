"""File systems of the kernel that have no counterpart on the host.

Each check takes the kernel and asserts; kernel_session.py runs them.
"""

from __future__ import annotations

from importlib import import_module

from rumphyper.kernel.boot import NEEDED, WANTED
from tests.real.file_checks.kit import CHECKS

for _topic in ("mounts", "images", "waits"):
    import_module(f"tests.real.file_checks.{_topic}")

COMPONENTS = (*NEEDED, *WANTED, "disk", "ffs", "ext2fs", "msdos", "cd9660", "null")

__all__ = ["CHECKS", "COMPONENTS"]
