"""The mini kernel on other hosts: C's own librumpuser, and the global scope."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rumphyper.kernel.libraries import Libraries
from tests.hypercalls.support import run_python
from tests.kernel.machine import needs_thunks


@needs_thunks
@pytest.mark.rump
def test_the_stock_librumpuser_runs_it() -> None:
    """C judges the kernel: it aborts on a lock or lwp that is used wrongly."""
    if Libraries().rumpuser is None:
        pytest.skip("no librumpuser.so found: set RUMPHYPER_LIBRARY_PATH")
    run = run_python("from tests.kernel.stock_judge import main; main()")
    assert run.returncode == 0, run.stderr
    assert "virt0: address 10.0.0.2/24" in run.stderr


@needs_thunks
def test_it_finds_its_hypercalls_in_the_global_scope() -> None:
    """As a library that was linked against librumpuser does."""
    program = """
        import ctypes
        from rumphyper.hypercalls.hypervisor import Hypervisor
        from rumphyper.hypercalls.python import python_families
        from rumphyper.kernel.mini import MiniKernel, MiniKernelError

        try:
            MiniKernel().boot()
        except MiniKernelError as error:
            print(error.thing)
        with Hypervisor(python_families()) as hypervisor:
            for library in (None, ctypes.CDLL(None), hypervisor.handle):
                with MiniKernel(library) as kernel:
                    print(kernel.running)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "rumpuser_init"
    assert lines.count("True") == 3
    assert "Traceback" not in run.stderr


@needs_thunks
def test_the_example_of_its_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/mini.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "shmif:/tmp/bus" in example
    run = subprocess.run(
        [sys.executable, "-c", example.replace("/tmp/bus", str(tmp_path / "bus"))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, "Traceback" in run.stderr) == (0, False)
    assert "virt0: address 10.0.0.2/24" in run.stdout
    assert "Statistics(uptime=0." in run.stdout
