"""Loaded libraries and their symbols, against readelf and the linker itself."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rumphyper.host import linkmap
from rumphyper.host.elfread import PT_DYNAMIC, ElfFile
from rumphyper.host.linkmap import SYMBOL, Loaded, Tables
from tests.judges import tool

SOURCE = """
#include <stdlib.h>
int exported = 5;
int twice(int x) { return 2 * x; }
static int hidden(void) { return rand(); }
int (*pointer)(void) = hidden;
"""
EMPTY = "#include <stdlib.h>\n__attribute__((constructor)) void f(void) { free(0); }"
STYLES = ("sysv", "gnu", "both")


def build(folder: Path, name: str, source: str, *flags: str) -> str:
    """Compile a library and return its path."""
    (folder / f"{name}.c").write_text(source)
    path = str(folder / f"lib{name}.so")
    command = [tool("gcc"), "-shared", "-fPIC", "-o", path, *flags]
    subprocess.run([*command, str(folder / f"{name}.c")], check=True, timeout=60)
    return path


def dynsym(path: str) -> list[tuple[str, int, int]]:
    """(name, section, value) of each dynamic symbol, as readelf has it."""
    command = [tool("readelf"), "--dyn-syms", "-W", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = []
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) >= 7 and words[0].rstrip(":").isdigit():
            name = words[7].split("@")[0] if len(words) > 7 else ""
            section = int(words[6]) if words[6].isdigit() else 0
            found.append((name, section, int(words[1], 16)))
    return found


def read(tables: Tables) -> list[tuple[str, int, int]]:
    """The same from tables in memory."""
    found = []
    for name, _, _, section, value, _ in struct.iter_unpack(SYMBOL, tables.symbols):
        end = tables.strings.index(b"\0", name)
        found.append((tables.strings[name:end].decode(), section, value))
    return found


def entry(path: str) -> Loaded:
    """The list's entry of a library that was loaded by its path."""
    return next(one for one in linkmap.loaded() if one.name == os.fsencode(path))


@pytest.mark.parametrize("style", STYLES)
def test_symbols(tmp_path: Path, style: str) -> None:
    """All of them, whichever hash table tells how many there are."""
    path = build(tmp_path, style, SOURCE, f"-Wl,--hash-style={style}")
    library = ctypes.CDLL(path)
    loaded = entry(path)
    assert read(linkmap.tables(loaded)) == dynsym(path)
    value = next(v for name, _, v in dynsym(path) if name == "exported")
    address = ctypes.addressof(ctypes.c_int.in_dll(library, "exported"))
    assert loaded.base + value == address


@pytest.mark.parametrize("style", STYLES)
def test_no_exports(tmp_path: Path, style: str) -> None:
    """An empty GNU hash table stands for the undefined symbols before it."""
    flags = ("-fvisibility=hidden", f"-Wl,--hash-style={style}")
    path = build(tmp_path, f"empty{style}", EMPTY, *flags)
    ctypes.CDLL(path)
    symbols = read(linkmap.tables(entry(path)))
    assert symbols
    assert symbols == dynsym(path)[: len(symbols)]
    assert not [name for name, section, _ in symbols if section]


@pytest.mark.parametrize("style", STYLES)
def test_offsets_in_place_of_addresses(tmp_path: Path, style: str) -> None:
    """A dynamic section that nobody has relocated, as with musl: a file's own."""
    path = build(tmp_path, style, SOURCE, f"-Wl,--hash-style={style}")
    image = ctypes.create_string_buffer(Path(path).read_bytes())
    place = next(o for kind, o, *_ in ElfFile(path)._segments if kind == PT_DYNAMIC)
    base = ctypes.addressof(image)
    loaded = Loaded(b"", base, base + place)
    assert read(linkmap.tables(loaded)) == dynsym(path)


def test_nothing_to_read() -> None:
    """A library without a dynamic section, and one with an empty one."""
    nothing = ctypes.create_string_buffer(64)
    address = ctypes.addressof(nothing)
    assert linkmap.tables(Loaded(b"", address, 0)) == Tables()
    assert linkmap.tables(Loaded(b"", address, address)) == Tables()


def test_the_list(tmp_path: Path) -> None:
    """The program comes first, then what it needs; new libraries come last."""
    before = linkmap.loaded()
    assert before[0].name == b""
    assert any(b"libc" in one.name for one in before)
    path = build(tmp_path, "last", SOURCE)
    ctypes.CDLL(path)
    assert linkmap.loaded()[: len(before)] == before
    assert linkmap.loaded()[-1].name == os.fsencode(path)
    with open("/proc/self/maps") as maps:
        starts = {int(line.split("-")[0], 16) for line in maps}
    assert {one.base for one in linkmap.loaded() if one.base} <= starts


def test_scopes(tmp_path: Path) -> None:
    """A library's own symbol, one of what it needs, one of nobody."""
    path = build(tmp_path, "scope", SOURCE)
    library = ctypes.CDLL(path)
    own = ctypes.cast(library.twice, ctypes.c_void_p).value
    with linkmap.scope(entry(path)) as handle:
        assert linkmap.symbol_address(handle, b"twice") == own
        assert linkmap.symbol_address(handle, b"rand")
        assert linkmap.symbol_address(handle, b"nobody_has_this") == 0
    with linkmap.scope(linkmap.loaded()[0]) as handle:
        assert linkmap.symbol_address(handle, b"rand")


def test_a_path_with_another_library_by_now(tmp_path: Path) -> None:
    """The one that was loaded counts; a library that is gone has no scope."""
    path = build(tmp_path, "moved", "int first = 1;")
    ctypes.CDLL(path)
    os.unlink(path)
    build(tmp_path, "moved", "int second = 2;")
    before = linkmap.loaded()
    with linkmap.scope(entry(path)) as handle:
        assert linkmap.symbol_address(handle, b"first")
        assert linkmap.symbol_address(handle, b"second") == 0
    with linkmap.scope(Loaded(os.fsencode(tmp_path / "libnone.so"), 0, 0)) as handle:
        assert handle == 0
    assert linkmap.loaded() == before


STATIC = """
from rumphyper.host import libc, linkmap
class Nothing:
    def __getattr__(self, name):
        raise AttributeError(name)
linkmap.libc = lambda: Nothing()
print(linkmap.loaded())
"""


def test_no_dynamic_linker() -> None:
    """Where nobody can be asked nothing is found."""
    command = [sys.executable, "-c", STATIC]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
