"""What the kernel's sockets do that has no counterpart on the host.

Each check takes the kernel and asserts; kernel_session.py runs them.
"""

from __future__ import annotations

from importlib import import_module

from tests.real.socket_checks.kit import CHECKS

for _topic in ("protocols", "waits", "life"):
    import_module(f"tests.real.socket_checks.{_topic}")

__all__ = ["CHECKS"]
