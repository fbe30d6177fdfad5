"""host/elf: the written file before readelf, both hash tables in use."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path

import pytest

from rumphyper.errors import HostError
from rumphyper.host import elfhash
from rumphyper.host.elf import EM_AARCH64, EM_X86_64, SharedObject, Symbol
from rumphyper.host.machine import named
from rumphyper.host.thunks import ThunkBuilder
from tests.judges import tool

RETURN_7 = bytes.fromhex("b807000000c3")  # mov $7,%eax; ret


def readelf(path: Path, *options: str) -> str:
    """What readelf prints, which has no complaint in it."""
    command = [tool("readelf"), *options, "-W", str(path)]
    ran = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", timeout=60
    )
    assert ran.stderr == ""
    assert not re.search("warning|error|corrupt|<none>|<unknown|bad", ran.stdout, re.I)
    return ran.stdout


def every_kind(machine: str) -> bytes:
    builder = ThunkBuilder("libevery.so.3", 16, named(machine))
    builder.jump("a_jump")
    builder.counted("a_count")
    builder.recorded("a_record", 12)
    builder.recorded("a_print", 2, variadic=True)
    builder.recorded("an_exit", 1, noreturn=True)
    builder.bound("a_bound", 6)
    builder.bound("a_constant", 3, result=1, keep=2)
    builder.attempt("an_attempt")
    builder.compare_and_swap("a_cas")
    builder.exchange("an_exchange")
    return builder.image().octets


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_readelf_has_no_complaint(machine: str, tmp_path: Path) -> None:
    path = tmp_path / "every.so"
    path.write_bytes(every_kind(machine))
    everything = readelf(path, "-a")
    assert "Library soname: [libevery.so.3]" in everything
    text = readelf(path, "-l")
    stack = next(line for line in text.splitlines() if "GNU_STACK" in line)
    assert stack.split()[-2] == "RW"
    rights = [line.split()[6:-1] for line in text.splitlines() if " LOAD " in line]
    assert rights == [["R"], ["R", "E"], ["RW"]]  # never writable and executable
    names = {"X86-64": "x86_64", "AArch64": "aarch64"}
    found = next(line for line in everything.splitlines() if "Machine:" in line)
    assert names[found.split()[-1]] == machine


def test_symbols_have_places_sizes_and_types(tmp_path: Path) -> None:
    path = tmp_path / "symbols.so"
    symbols = [
        Symbol("first", 0, 6),
        Symbol("second", 16, 6),
        Symbol("datum", 8, 24, in_text=False),
    ]
    shared = SharedObject("libsymbols.so", EM_X86_64, symbols, 22, 32)
    path.write_bytes(shared.write(RETURN_7.ljust(16, b"\xcc") + RETURN_7, bytes(32)))
    text = readelf(path, "--dyn-syms")
    rows = {line.split()[-1]: line.split()[1:-1] for line in text.splitlines()[4:]}
    start, data = shared.text_address, shared.data_address
    assert rows["first"] == [f"{start:016x}", "6", "FUNC", "GLOBAL", "DEFAULT", "5"]
    assert rows["second"][0] == f"{start + 16:016x}"
    assert rows["datum"] == [
        f"{data + 8:016x}",
        "24",
        "OBJECT",
        "GLOBAL",
        "DEFAULT",
        "7",
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 500])
@pytest.mark.parametrize("table", ["both", "sysv", "gnu"])
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the text is x86-64's")
def test_linker_finds_every_symbol(count: int, table: str, tmp_path: Path) -> None:
    symbols = [Symbol(f"symbol_{n}", 16 * n, 11) for n in range(count)]
    symbols.append(Symbol("datum", 0, 8, in_text=False))
    code = b"".join(
        (b"\xb8" + n.to_bytes(4, "little") + b"\xc3").ljust(16, b"\xcc")
        for n in range(count)
    )
    shared = SharedObject("libfind.so", EM_X86_64, symbols, len(code), 8)
    octets = shared.write(code, (12345).to_bytes(8, "little"))
    # Hide the other table's DT entry behind DT_DEBUG, which a library ignores.
    hidden = {"sysv": 0x6FFFFEF5, "gnu": 4}.get(table)
    if hidden is not None:
        entry = hidden.to_bytes(8, "little")
        text = readelf_dynamic_offset(octets)
        at = octets.index(entry, text)
        octets = octets[:at] + (21).to_bytes(8, "little") + octets[at + 8 :]
    path = tmp_path / "find.so"
    path.write_bytes(octets)
    handle = ctypes.CDLL(str(path))
    assert [handle[f"symbol_{n}"]() for n in range(count)] == list(range(count))
    assert ctypes.c_uint64.in_dll(handle, "datum").value == 12345
    assert not hasattr(handle, "symbol_x")
    assert not hasattr(handle, f"symbol_{count}")


def readelf_dynamic_offset(octets: bytes) -> int:
    """Where PT_DYNAMIC, the fourth program header, says its table is."""
    header = octets[64 + 3 * 56 :]
    assert int.from_bytes(header[:4], "little") == 2
    return int.from_bytes(header[8:16], "little")


def test_hash_functions_by_published_values() -> None:
    # The System V ABI's function and DT_GNU_HASH's, as commonly tabulated.
    assert [elfhash.sysv(n) for n in ("", "printf", "exit", "syscall")] == [
        0,
        0x077905A6,
        0x0006CF04,
        0x0B09985C,
    ]
    assert [elfhash.gnu(n) for n in ("", "printf", "exit", "syscall")] == [
        0x00001505,
        0x156B2BB8,
        0x7C967E3F,
        0xBAC212A0,
    ]


def test_parts_must_be_as_long_as_announced() -> None:
    shared = SharedObject("libx.so", EM_AARCH64, [Symbol("f", 0, 4)], 4, 8)
    for text, data in ((bytes(3), bytes(8)), (bytes(4), bytes(9))):
        with pytest.raises(HostError, match="octets"):
            shared.write(text, data)
