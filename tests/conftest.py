"""What holds for all tests."""

from __future__ import annotations

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
