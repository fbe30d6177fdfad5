"""What holds for all tests."""

from __future__ import annotations

from typing import Any

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:
    pass  # the tests that are run under emulation do without
else:
    # A busy machine is no failure: speed is measured in benchmarks/, as a ratio.
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``: a file's tests stay together, and so do all that need guests.

    One process boots those, one guest at a time, while the others do the rest.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, _ = nodeid.partition("::")
            return "tests/vm" if file.startswith("tests/vm/") else file

    return Scheduling(config, log)
