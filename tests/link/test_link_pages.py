"""The examples of the pages of packet and xdp links run as they stand there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.link.tap_support import arrivals, frame, packet_socket
from tests.link.veth_support import veth
from tests.namespace import isolated

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["packet.md", "xdp.md"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may load an XDP program")
@isolated
def test_the_first_example_sends_and_receives(page: str) -> None:
    (example, *_) = re.findall(
        r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE
    )
    assert "open_link" in example
    veth("eth0", "far")
    sizes: list[int] = []
    with packet_socket("far") as there:
        # It is answered once it has sent something, and prints what comes.
        sending = "link.send("
        assert sending in example

        def answer() -> None:
            assert len(arrivals(there, 1)[0]) == 60
            there.send(frame(bytes(100)))

        lines = example.splitlines()
        (at,) = (n for n, line in enumerate(lines) if sending in line)
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines.insert(at + 1, f"{indent}answer()")
        exec("\n".join(lines), {"answer": answer, "print": sizes.append})
    assert sizes == [114]
