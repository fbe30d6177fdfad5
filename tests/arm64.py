"""An arm64 Python under emulation, for tests of aarch64's machine code.

qemu-user runs it with Debian's arm64 packages unpacked in a cache as its root;
pytest and what rumphyper needs come from the running interpreter's packages, of
which only pure Python is used.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import attr
import pytest
import typing_extensions

from tests.debian import cache, unpacked
from tests.judges import tool

PACKAGES = (
    "{python}-minimal",
    "lib{python}-minimal",
    "lib{python}-stdlib",
    "libatomic1",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "zlib1g",
)


def _directory(module: ModuleType) -> Path:
    """Where Python looks to find the module."""
    here = Path(str(module.__file__)).parent
    return here.parent if hasattr(module, "__path__") else here


def python(
    arguments: Sequence[str], source: Path, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run an arm64 Python in a directory; output is text, errors go along with it.

    Skips the test without qemu-aarch64 or the packages.
    """
    emulator = tool("qemu-aarch64")
    root = unpacked("arm64", "arm64", PACKAGES)
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    (interpreter,) = (root / "usr" / "bin").glob("python3.?*")
    paths = {str(_directory(module)) for module in (pytest, attr, typing_extensions)}
    settings = {
        "PYTHONPATH": ":".join([str(source), *sorted(paths)]),
        "PYTHONPYCACHEPREFIX": str(cache() / "arm64-bytecode"),
        # Plugins found there may be of this machine's code.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    sets = [f"{name}={value}" for name, value in settings.items()]
    options = ["-L", str(root), *(word for text in sets for word in ("-E", text))]
    return subprocess.run(
        [emulator, *options, str(interpreter), *arguments],
        cwd=source,
        env={name: value for name, value in os.environ.items() if "PYTHON" not in name},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
