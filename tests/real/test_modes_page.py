"""The example of overrides in docs/netbsd.md runs, and does what it says."""

from __future__ import annotations

import re

import pytest

from tests.hypercalls.support import run_python
from tests.real.kernel_session import ROOT
from tests.real.rump import require_rump, without_chance

MARK = "<!-- example: tests/real/test_modes_page.py runs it -->"

AFTER = """
import time
seconds = (ctypes.c_int64 * 2)()
kernel.syscall("clock_gettime", 0, seconds)
print(round((seconds[0] - time.time()) / 3600))
"""
"""The kernel's own clock, in hours ahead of the host's."""


@pytest.mark.rump
def test_overrides() -> None:
    require_rump()
    page = (ROOT / "docs/netbsd.md").read_text().split(MARK)[1]
    example = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert example is not None
    done = run_python(example[1] + AFTER)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_chance(done.stdout) == "True\n1\n"
