"""docs/proxy.md: its examples run, each as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from rumphyper.kernel.remote import RemoteKernel
from tests.real.proxy_kit import ROOT, stock_server

PAGE = (ROOT / "docs/proxy.md").read_text()
URL = "unix:///tmp/rump.sock"
OUTPUT = (r"NetBSD \d+\.\d+\.\d+\n", r"b'hello'\n")


@pytest.mark.rump
def test_examples_run() -> None:
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(examples) == len(OUTPUT)
    with stock_server() as served:
        for example, output in zip(examples, OUTPUT, strict=True):
            assert URL in example
            done = subprocess.run(
                [sys.executable, "-c", example.replace(URL, served.url)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert re.fullmatch(output, done.stdout), (done.stdout, done.stderr)


def test_the_names_are_there() -> None:
    for name in re.findall(r"kernel\.(\w+)\(", PAGE):
        assert hasattr(RemoteKernel, name) or name in ("calls", "fs"), name
