"""ElfFile judged by readelf, on libraries that gcc makes here."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from rumphyper.errors import HostError, RumphyperError
from rumphyper.host.elfread import ElfError, ElfFile, own_abi

SOURCE = """
int exported_data = 7;
static int hidden(void) { return 1; }
__attribute__((weak)) int weak_function(void) { return hidden(); }
extern int wanted_function(void);
extern int wanted_data;
__attribute__((weak)) extern int perhaps(void);
#include <unistd.h>
int exported_function(void)
{ return wanted_function() + wanted_data + (perhaps ? perhaps() : 0) + getpid(); }
"""

needs_gcc = pytest.mark.skipif(
    not shutil.which("gcc") or not shutil.which("readelf"),
    reason="gcc and readelf (apt install gcc binutils) are missing",
)


@pytest.fixture(scope="module", params=["sysv", "gnu", "both"])
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "a.c").write_text(SOURCE)
    path = str(folder / "liba.so")
    subprocess.run(
        [
            *("gcc", "-shared", "-fPIC", f"-Wl,--hash-style={request.param}"),
            *("-Wl,-soname,liba.so.3", "-o", path, str(folder / "a.c")),
        ],
        check=True,
    )
    return path


def readelf_symbols(path: str) -> list[list[str]]:
    text = subprocess.run(
        ["readelf", "--dyn-syms", "-W", path],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    rows = [line.split() for line in text.splitlines()]
    return [row for row in rows if len(row) >= 8 and row[4] in ("GLOBAL", "WEAK")]


@needs_gcc
def test_names_are_those_of_readelf(library: str) -> None:
    elf = ElfFile(library)
    rows = readelf_symbols(library)
    assert elf.exports == {
        row[7].partition("@")[0]: row[4] == "WEAK" for row in rows if row[6] != "UND"
    }
    assert elf.imports == {
        row[7]
        for row in rows
        if row[6] == "UND" and row[4] == "GLOBAL" and "@" not in row[7]
    }
    assert {"wanted_function", "wanted_data"} <= elf.imports
    assert "getpid" not in elf.imports  # it has a version: libc's
    assert elf.exports["weak_function"] is True
    assert elf.exports["exported_data"] is False


@needs_gcc
def test_dynamic_section_and_header(library: str) -> None:
    elf = ElfFile(library)
    assert elf.soname == "liba.so.3"
    assert any(name.startswith("libc.") for name in elf.needed)
    assert elf.abi == own_abi().abi
    header = subprocess.run(
        ["readelf", "-h", library], capture_output=True, text=True, check=False
    ).stdout
    assert f"ELF{elf.bits}" in header
    elf.close()


@needs_gcc
def test_a_damaged_file_gives_an_error_and_nothing_else(
    library: str, tmp_path: Path
) -> None:
    whole = Path(library).read_bytes()
    dice = random.Random(1)
    path = tmp_path / "broken.so"
    failed = 0
    for round in range(400):
        data = bytearray(whole)
        if round % 4 == 0:
            del data[dice.randrange(len(data)) :]
        else:  # the headers and the tables are at the front
            for _ in range(dice.randrange(1, 12)):
                data[dice.randrange(min(len(data), 0x800))] = dice.randrange(256)
        path.write_bytes(data)
        try:
            elf = ElfFile(str(path))
            _ = elf.exports, elf.imports, elf.soname, elf.needed
        except ElfError:
            failed += 1
    assert failed > 100


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 20])
def test_not_elf(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(content)
    with pytest.raises(ElfError, match=r"x\.so"):
        ElfFile(str(path))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file") as caught:
        ElfFile(str(tmp_path / "none.so"))
    assert caught.value.errno == 2
    assert isinstance(caught.value, RumphyperError)


def test_own_abi_is_pythons() -> None:
    elf = own_abi()
    assert elf.bits == 64 if os.uname().machine in ("x86_64", "aarch64") else True
    assert elf.architecture.startswith(os.uname().machine) or elf.bits == 32
