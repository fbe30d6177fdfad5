"""Opening a bus that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rumphyper.errors import RumphyperError
from tests.link.shmif_support import descriptors, open_bus

FRAME = bytes(60)


def refuse(
    path: Path, kind: type[RumphyperError], text: str, **options: object
) -> None:
    """Opening raises this error, which names the file, and leaks nothing."""
    before = descriptors()
    with pytest.raises(kind, match=text) as caught:
        open_bus(path, **options)
    assert caught.value.thing == str(path)
    assert caught.value.remedy
    assert descriptors() == before
