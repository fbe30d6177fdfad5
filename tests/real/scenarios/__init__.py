"""Scenarios that run alike on the host's loopback and in the rump kernel.

Each takes a `Net` and returns plain values: what socket.socket does on the host
is what the kernel's sockets are judged by. Errors are part of the outcome, by
class and errno. kernel_session.py runs them in a kernel.
"""

from __future__ import annotations

from importlib import import_module

from tests.real.scenarios.kit import SCENARIOS

for _topic in (
    *("making", "connecting", "waiting", "streams", "datagrams", "options"),
    *("files", "families"),
):
    import_module(f"tests.real.scenarios.{_topic}")

__all__ = ["SCENARIOS"]
