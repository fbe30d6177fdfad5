"""docs/proxy.md: its examples run, each as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rumphyper.kernel.netbsd import Kernel
from rumphyper.kernel.remote import RemoteKernel
from tests.real.proxy_kit import ROOT, stock_server
from tests.real.rump import require_rump

PAGE = (ROOT / "docs/proxy.md").read_text()
URL = "unix:///tmp/rump.sock"
OUTPUT = (r"NetBSD \d+\.\d+\.\d+\n", r"b'hello'\n")
SERVING, CLIENT = PAGE.split("\n## Being a client\n")


def sources(text: str) -> list[str]:
    """The Python programs on a part of the page."""
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.rump
def test_examples_run() -> None:
    examples = sources(CLIENT)
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


@pytest.mark.rump
def test_serving(tmp_path: Path) -> None:
    require_rump()
    [example] = sources(SERVING)
    url = f"unix://{tmp_path}/rump"
    done = subprocess.run(
        [sys.executable, "-c", example.replace(URL, url)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{url}\n", "")


def test_the_names_are_there() -> None:
    for name in re.findall(r"kernel\.(\w+)\(", SERVING):
        assert hasattr(Kernel, name), name
    for name in re.findall(r"kernel\.(\w+)\(", CLIENT):
        assert hasattr(RemoteKernel, name) or name in ("calls", "fs"), name
