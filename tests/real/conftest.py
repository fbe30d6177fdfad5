"""The modes of answering hypercalls, for tests that shall pass in all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rumphyper.hypercalls.modes import MODES
from tests.real.rump import MODE


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """The mode in which programs that the test starts boot (see rump.boot)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODE, request.param)
        yield request.param
