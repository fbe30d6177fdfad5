"""File calls that run alike on the host and on a tmpfs of the rump kernel.

As in tests/real/scenarios for sockets: the host's os and open are the judge.
"""

from __future__ import annotations

from importlib import import_module

from tests.real.file_scenarios.kit import SCENARIOS

for _topic in ("descriptors", "paths"):
    import_module(f"tests.real.file_scenarios.{_topic}")

__all__ = ["SCENARIOS"]
