"""The mini kernel on other hosts: C's own librumpuser, and the global scope."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.mini import MiniKernel
from tests.kernel.machine import ADDRESSES, needs_thunks, new_resources, resources
from tests.kernel.test_mini_boot import ARP_REQUEST
from tests.kernel.wire import wire

STRICT = os.RTLD_LOCAL | os.RTLD_DEEPBIND


@needs_thunks
@pytest.mark.rump
def test_the_stock_librumpuser_runs_it(capfd: pytest.CaptureFixture[str]) -> None:
    """C judges the kernel: it aborts on a lock or lwp that is used wrongly."""
    path = Libraries().rumpuser
    if path is None:
        pytest.skip("no librumpuser.so found: set RUMPHYPER_LIBRARY_PATH")
    stock = ctypes.CDLL(path, STRICT)
    far, near = wire()
    with near, far, Hypervisor([Virtif({"wire": far})]) as hypervisor:
        for name in CATALOGUE:
            if name.startswith("rumpuser_") and hasattr(stock, name):
                address = ctypes.cast(stock[name], ctypes.c_void_p).value
                assert address
                hypervisor.bind(name, address)
        with MiniKernel(hypervisor):
            pass  # the stock library opens /dev/urandom once
        before = resources()
        for _ in range(3):
            with MiniKernel(hypervisor) as kernel:
                links = hypervisor.families["virtif"]
                assert isinstance(links, Virtif)
                far, other = wire()
                links.links["wire"] = far
                with other:
                    kernel.create_interface("virt0", "wire", ADDRESSES)
                    kernel.sleep(0.01)
                    other.send([ARP_REQUEST] * 20)
                    answers = 0
                    while answers < 20:
                        answers += len(other.recv(timeout=5))
                    kernel.destroy_interface("virt0")
        left = {name for name in new_resources(before) if "urandom" not in name}
        assert left == set()
        assert hypervisor.reporter.problems == {}
    assert "virt0: address 10.0.0.2/24" in capfd.readouterr().err


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
