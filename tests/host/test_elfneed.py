"""A library of names only: what the dynamic loader makes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rumphyper.host.elfneed import needing
from rumphyper.host.elfread import ElfFile

pytestmark = pytest.mark.skipif(
    not shutil.which("gcc") or not shutil.which("readelf"),
    reason="gcc and readelf (apt install gcc binutils) are missing",
)

PROGRAM = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
print(*(getattr(library, name)() for name in sys.argv[2:]))
"""


def build(folder: Path, sources: Mapping[str, str]) -> dict[str, str]:
    """Compile each source into a library that names no other."""
    paths = {}
    for name, text in sources.items():
        (folder / f"{name}.c").write_text(text)
        paths[name] = str(folder / f"lib{name}.so")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-o", paths[name], str(folder / f"{name}.c")],
            check=True,
        )
    return paths


def call(library: Path, *functions: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library), *functions],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def write(folder: Path, paths: list[str]) -> Path:
    library = folder / "all.so"
    library.write_bytes(needing(ElfFile(paths[0]), "all.so", paths))
    return library


def test_a_circle_loads_with_data_and_functions(tmp_path: Path) -> None:
    paths = build(
        tmp_path,
        {
            "one": "extern int two_data; int two(void); int one_data = 1;"
            "int one(void) { return 10 * two_data + two(); }",
            "two": "extern int one_data; int two_data = 2;"
            "int two(void) { return one_data; }",
        },
    )
    assert call(Path(paths["one"]), "one").returncode != 0  # alone it cannot
    result = call(write(tmp_path, list(paths.values())), "one", "two")
    assert result.stdout.split() == ["21", "1"], result.stderr


@pytest.mark.parametrize(("order", "answer"), [("strong stub", 2), ("stub strong", 1)])
def test_the_first_definition_wins(tmp_path: Path, order: str, answer: int) -> None:
    paths = build(
        tmp_path,
        {
            "stub": "__attribute__((weak)) int f(void) { return 1; }"
            "int ask(void) { return f(); }",
            "strong": "int f(void) { return 2; }",
        },
    )
    library = write(tmp_path, [paths[name] for name in order.split()])
    assert call(library, "ask").stdout.split() == [str(answer)]


def test_readelf_reads_it(tmp_path: Path) -> None:
    paths = list(build(tmp_path, {"one": "int one;", "two": "int two;"}).values())
    library = write(tmp_path, paths)
    text = subprocess.run(
        ["readelf", "-d", "-l", "-h", str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not text.stderr
    for path in paths:
        assert f"Shared library: [{path}]" in text.stdout
    assert "soname: [all.so]" in text.stdout
    elf = ElfFile(str(library))
    assert (elf.soname, list(elf.needed)) == ("all.so", paths)
    assert not elf.exports
    assert not elf.imports


def test_a_missing_library_leaves_nothing_loaded(tmp_path: Path) -> None:
    paths = list(build(tmp_path, {"one": "int one;"}).values())
    library = write(tmp_path, [*paths, str(tmp_path / "gone.so")])
    program = (
        "import ctypes, sys\n"
        "try: ctypes.CDLL(sys.argv[1])\n"
        "except OSError as error: print(error)\n"
        "print('libone' in open('/proc/self/maps').read())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "gone.so" in result.stdout
    assert result.stdout.splitlines()[-1] == "False"
