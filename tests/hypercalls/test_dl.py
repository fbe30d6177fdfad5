"""What loaded libraries hand over to a kernel: modules, components, symbols."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hypercalls.linksets import bootstrap, build
from tests.hypercalls.support import run_python

SYMBOLS = """
int rump_known = 1;
int RUMP_KNOWN = 2;
int __known = 3;
int ordinary = 4;
int _one = 5;
extern int rump_undefined_function(void) __attribute__((weak));
int rump_use(void) { return rump_undefined_function(); }
"""


def test_order(tmp_path: Path) -> None:
    """Symbols first, then libraries backwards, modules before components."""
    first = build(tmp_path, "first", modules=2, components=1)
    second = build(tmp_path, "second", components=3)
    third = build(tmp_path, "third", modules=1)
    neither = build(tmp_path, "neither")
    ours = bootstrap(first, second, third, neither)["ours"]
    assert ours["events"] == [
        "symbols",
        ["third modules 0"],
        *[f"second rump_components {n}" for n in range(3)],
        ["first modules 0", "first modules 1"],
        "first rump_components 0",
    ]
    assert ours["problems"] == []


def test_what_others_lead_to_comes_once(tmp_path: Path) -> None:
    """A library finds the sets of those it needs; they are not repeated."""
    inner = build(tmp_path, "inner", modules=1, components=1)
    outer = build(
        tmp_path, "outer", "-Wl,--no-as-needed", inner, f"-Wl,-rpath,{tmp_path}"
    )
    ours = bootstrap(outer)["ours"]
    assert ours["events"][1:] == [["inner modules 0"], "inner rump_components 0"]


@pytest.mark.parametrize("style", ["sysv", "gnu", "both"])
def test_symbols(tmp_path: Path, style: str) -> None:
    """Those in the kernel's name space, defined, at their addresses; no others.

    Only libraries of a rump kernel count, and the program.
    """
    flags = (f"-Wl,--hash-style={style}",)
    kernels = build(tmp_path, "rumpjudge", *flags, more=SYMBOLS)
    other = build(tmp_path, "judge", *flags, more="int rump_elsewhere = 6;")
    found = bootstrap(kernels, other)
    symbols = {row[0]: row for row in found["ours"]["symbols"]}
    assert {"rump_known", "RUMP_KNOWN", "__known", "rump_use"} <= symbols.keys()
    absent = {"ordinary", "_one", "rump_undefined_function", "rump_elsewhere"}
    assert not absent & symbols.keys()
    for name, address in found["addresses"].items():
        assert symbols[name][4] == address


def test_a_library_without_exports(tmp_path: Path) -> None:
    """Its empty hash table takes nothing away from the others."""
    kernels = build(tmp_path, "rumpjudge", more=SYMBOLS)
    flags = ("-fvisibility=hidden", "-Wl,--hash-style=gnu")
    empty = build(tmp_path, "rumpempty", *flags, more="static int x;")
    symbols = {row[0] for row in bootstrap(kernels, empty)["ours"]["symbols"]}
    assert "rump_known" in symbols


NO_SYMBOLS = """
from tests.hypercalls.linksets import Kernel
from tests.hypercalls.support import Setup
setup = Setup(python={"symbols": False})
kernel = Kernel()
setup.call("dl_bootstrap", *kernel.upcalls)
print(kernel.events, setup.reports)
"""


def test_without_symbols() -> None:
    """The switch leaves out the symbol table and nothing else."""
    done = run_python(NO_SYMBOLS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[] []\n", "")


NULL_UPCALLS = """
import ctypes, sys
from tests.hypercalls.support import Setup
ctypes.CDLL({path!r})
setup = Setup()
setup.call("dl_bootstrap", None, None, None)
print(setup.reports)
"""


def test_null_upcalls(tmp_path: Path) -> None:
    """What is not wanted is not handed over."""
    path = build(tmp_path, "some", modules=1, components=1)
    done = run_python(NULL_UPCALLS.format(path=path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
