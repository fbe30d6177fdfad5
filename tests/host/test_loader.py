"""host/loader: the real dynamic linker takes libraries from memory and from files.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from rumphyper.errors import HostError
from rumphyper.host import loader, thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

INT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)


def one_jump(soname: str, mode: int = ctypes.RTLD_LOCAL) -> ThunkLibrary:
    builder = ThunkBuilder(soname)
    builder.jump("the_function")
    library = builder.load(mode)
    library["the_function"].target = libc().abs
    return library


def refuse(*_: object) -> NoReturn:
    raise OSError(1, "Operation not permitted")


def forms(path: str) -> list[str]:
    """The files mapped executable here whose path holds a text."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if path in line and "x" in line.split()[1]]


def test_loads_by_memfd() -> None:
    library = one_jump("libtest-memfd-way.so")
    assert INT(library.address("the_function"))(-4) == 4
    assert len(forms("/memfd:libtest-memfd-way.so")) == 1


@pytest.mark.parametrize("how", ["missing", "refused"])
def test_loads_by_file_where_memfd_fails(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if how == "missing":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    library = one_jump("libtest-file-way.so")
    assert INT(library.address("the_function"))(-4) == 4
    assert len(forms(str(tmp_path))) == 1
    assert list(tmp_path.iterdir()) == []


def test_next_directory_where_the_first_is_no_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    library = one_jump("libtest-next-directory.so")
    assert INT(library.address("the_function"))(-4) == 4
    assert len(forms(str(tmp_path))) == 1


def test_neither_way_is_an_error_with_both_causes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    monkeypatch.setattr(loader, "_directories", lambda: iter(["/proc/none"]))
    with pytest.raises(HostError) as caught:
        one_jump("libtest-no-way.so")
    assert "not permitted" in caught.value.cause
    assert "/proc/none" in caught.value.cause
    assert "TMPDIR" in caught.value.remedy


def test_many_loads_are_many_libraries() -> None:
    # Each load gets the descriptor number of the one before: the dynamic linker
    # must not take the path for the library that it knows by it.
    libraries = [one_jump("libtest-many.so") for _ in range(100)]
    addresses = {library.address("the_function") for library in libraries}
    assert len(addresses) == 100
    libraries[0]["the_function"].target = INT(lambda value: value + 100)
    assert INT(libraries[0].address("the_function"))(-1) == 99
    assert INT(libraries[1].address("the_function"))(-1) == 1


def test_local_and_global() -> None:
    builder = ThunkBuilder("libtest-scope.so")
    builder.jump("only_in_local_scope")
    builder.load(ctypes.RTLD_LOCAL)
    builder = ThunkBuilder("libtest-scope.so")
    builder.jump("seen_in_global_scope")
    builder.load(ctypes.RTLD_GLOBAL)
    program = ctypes.CDLL(None)
    assert hasattr(program, "seen_in_global_scope")
    assert not hasattr(program, "only_in_local_scope")
