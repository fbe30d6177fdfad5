"""Whether the libraries of a real rump kernel are here."""

from __future__ import annotations

import pytest

from rumphyper.errors import LibraryError
from rumphyper.kernel.libraries import Libraries


def require_rump() -> None:
    """Skip the test, saying where was looked, when there is no rump kernel."""
    try:
        Libraries()
    except LibraryError as error:
        pytest.skip(f"no rump kernel: {error}")
