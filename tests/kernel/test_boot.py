"""Booting libraries that do not fit, on a librump of some lines of C."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rumphyper.errors import LibraryError
from rumphyper.host import thunks
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.probe import probe

pytestmark = [
    pytest.mark.skipif(
        not shutil.which("gcc"), reason="gcc (apt install gcc) is missing"
    ),
    pytest.mark.skipif(
        not thunks.supported(), reason="no machine-code templates for this host"
    ),
]

RUMP = """
int rumpuser_init(int, const void *);
void rumpuser_dprintf(const char *, ...);
static char table[256];
int rump_getversion(void) { return 799003400; }
int rump_init(void)
{
    if (rumpuser_init(VERSION, table) == 0) return 0;
    rumpuser_dprintf("rumpuser init failed\\n");
    return 22;
}
"""
RUMPUSER = """
#include <stdlib.h>
int rumpuser_init(int version, const void *table)
{ if (version != VERSION) abort(); return 0; }
void rumpuser_dprintf(const char *format, ...) {}
"""
BOOT = """
import rumphyper
for _ in range(2):
    try:
        rumphyper.boot(%s)
    except rumphyper.RumphyperError as error:
        print(type(error).__name__, error)
"""

Kernel = Callable[..., Path]


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A function that makes the libraries: version of librump, of librumpuser."""

    def make(rump: int, rumpuser: int | None) -> Path:
        sources = {"rump": (RUMP, rump), "rumpnet_net": ("int rumpns_n;", 0)}
        sources["rumpnet_netinet"] = ("int rumpns_i;", 0)
        if rumpuser is not None:
            sources["rumpuser"] = (RUMPUSER, rumpuser)
        for name, (text, version) in sources.items():
            (tmp_path / "s.c").write_text(text)
            command = ["gcc", "-shared", "-fPIC", f"-DVERSION={version}", "-o"]
            command += [str(tmp_path / f"lib{name}.so"), str(tmp_path / "s.c")]
            subprocess.run(command, check=True)
        return tmp_path

    return make


def boot(folder: Path, arguments: str = "") -> list[str]:
    """What two attempts to boot say, in a process of their own."""
    result = subprocess.run(
        [sys.executable, "-c", BOOT % arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"RUMPHYPER_LIBRARY_PATH": str(folder), "PYTHONPATH": ":".join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_kernel_of_another_version_fails_in_order(kernel: Kernel) -> None:
    first, second = boot(kernel(16, 16))
    assert first.startswith("LibraryError")
    assert "librump.so" in first
    assert "RUMPUSER_VERSION is 16" in first
    assert "speak 17" in first
    assert "boot once" in second


def test_without_the_stock_library(kernel: Kernel) -> None:
    first, second = boot(kernel(17, None), "hypercalls='native'")
    assert first.startswith("LibraryError")
    assert "librumpuser.so" in first
    assert second == first  # nothing was loaded: it may be tried again


def test_a_provider_that_is_not_there(kernel: Kernel) -> None:
    first, _ = boot(kernel(17, 17), "hypercalls='psychic'")
    assert first.startswith("UnsupportedError")
    assert "known: native" in first


@pytest.mark.parametrize("ncpu", [0, 65])
def test_numbers_of_cpus_that_cannot_be(kernel: Kernel, ncpu: int) -> None:
    first, _ = boot(kernel(17, 17), f"ncpu={ncpu}")
    assert first.startswith("UnsupportedError")


@pytest.mark.parametrize(
    ("rump", "rumpuser", "agrees", "stock"),
    [
        (17, 17, True, True),
        (17, 16, False, False),
        (16, 16, False, True),
        (17, None, True, None),
    ],
)
def test_the_probe(
    kernel: Kernel, rump: int, rumpuser: int | None, agrees: bool, stock: bool | None
) -> None:
    found = probe(Libraries([str(kernel(rump, rumpuser))]))
    assert (found.netbsd, found.rumpuser) == ("7.99.34", rump)
    assert (found.agrees, found.stock_agrees) == (agrees, stock)


def test_the_probe_of_libraries_that_do_not_load(kernel: Kernel) -> None:
    folder = kernel(17, 17)
    (folder / "s.c").write_text("extern int gone; int *p = &gone; int rump_init;")
    command = ["gcc", "-shared", "-fPIC", "-o", str(folder / "librump.so")]
    subprocess.run([*command, str(folder / "s.c")], check=True)
    with pytest.raises(LibraryError, match="gone"):
        probe(Libraries([str(folder)]))
