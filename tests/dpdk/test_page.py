"""docs/dpdk.md: its examples run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.dpdk.support import alone

PAGE = Path(__file__).parents[2] / "docs/dpdk.md"


def examples() -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )


@alone
def test_the_first_example_sends_and_receives() -> None:
    printed: list[int] = []
    exec(examples()[0], {"print": printed.append})
    assert printed == [60]


@alone
def test_the_example_of_fast_paths_forwards() -> None:
    (example,) = (text for text in examples() if "Forwarder(" in text)
    printed: list[int] = []
    exec(example, {"print": printed.append})
    assert printed == [1]
