"""Whether the libraries of a real rump kernel are here, and how one is booted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

import rumphyper
from rumphyper.errors import LibraryError
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.netbsd import Kernel

MODE = "RUMPHYPER_TEST_MODE"
"""Environment variable with the mode in which `boot` boots; else the default."""


THOROUGH = "hybrid"
"""The mode of the long cases; the others do a quarter of them, see `share`."""


def share(mode: str, times: int) -> int:
    """How often to do, in a mode, what is long for the sake of the interfaces.

    These are the same in every mode.
    """
    return times if mode == THOROUGH else times // 4


def require_rump(*components: str) -> None:
    """Skip the test, saying where was looked, when there is no rump kernel.

    ``components`` are those that it needs besides. A module that calls this is
    skipped as a whole.
    """
    try:
        libraries = Libraries()
        for name in components:
            libraries.find(name)
    except LibraryError as error:
        pytest.skip(f"no rump kernel: {error}", allow_module_level=True)


def boot(components: Iterable[str] | None = None, **options: Any) -> Kernel:
    """`rumphyper.boot` in the mode that the environment names."""
    options.setdefault("hypercalls", os.environ.get(MODE))
    return rumphyper.boot(components, **options)


def without_chance(text: str) -> str:
    """What a program with a kernel printed, less what the kernel says by chance.

    NetBSD tests its random numbers at times (sys/kern/subr_cprng.c, kern_rndq.c),
    and good ones fail now and then, with two lines on the console.
    """
    kept = (
        line
        for line in text.splitlines(keepends=True)
        if not line.startswith(("Kernel RNG ", "cprng ", "rnd: WARNING, "))
    )
    return "".join(kept)
